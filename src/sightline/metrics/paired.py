"""Two models judged on the same samples: the difference, and whether chance explains it.

N samples that both models answered, in one order. What both get right or wrong says nothing about
the difference, so a paired test sees smaller differences than two intervals side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.auroc import compute_auroc
from sightline.metrics.grouped_means import mean_estimate
from sightline.metrics.intervals import Estimate
from sightline.metrics.resampling import check_resampling


def mcnemar_exact(lost: int, won: int) -> float:
    """Return the two-sided p of McNemar's test, exact, from the samples that only one got right.

    ``lost``: only the first model was right; ``won``: only the second. Where the models are
    equally good each of these samples is a fair coin (McNemar, Psychometrika 12, 1947; exact
    binomial form of Edwards 1948 without the correction). No such sample gives 1.

    >>> round(mcnemar_exact(1, 9), 6), mcnemar_exact(3, 3), mcnemar_exact(0, 0)
    (0.021484, 1.0, 1.0)
    """
    if lost < 0 or won < 0:
        raise DataError("A count is negative.", expected="counts >= 0", got=(lost, won))
    from scipy.special import bdtr

    n = lost + won
    return min(1.0, 2.0 * float(bdtr(min(lost, won), n, 0.5))) if n else 1.0


def paired_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return the mean of ``second - first`` (N,) with its interval, by drawing samples anew.

    The bootstrap of the paired differences (Efron & Tibshirani 1993, chapter 13); with ``groups``
    (N,) whole groups are drawn. A sample that either has no score for (NaN) is left out.

    >>> print(paired_difference([0.0, 0.5, 1.0], [0.5, 1.0, 1.5]))
    0.500 [0.500, 0.500] (n=3 images)
    """
    before, after = np.asarray(first, np.float64), np.asarray(second, np.float64)
    _check_one_length(before, after)
    return mean_estimate(
        after - before, groups=groups, resamples=resamples, confidence=confidence, seed=seed
    )


def auroc_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return how much higher the AUROC of the second scores (N,) is, with its interval.

    ``labels`` (N,) are 1 for anomalous samples. Each resample draws as many normal and as many
    anomalous samples as there are (Efron & Tibshirani 1993, chapter 8), the same for both scores.
    A single kind of sample has no AUROC: all three numbers are NaN.

    >>> auroc_difference([0.1, 0.2, 0.3, 0.4], [0.1, 0.3, 0.2, 0.4], [0, 1, 0, 1]).value
    0.25
    """
    check_resampling(resamples, 0.95)
    before, after = np.asarray(first, np.float64), np.asarray(second, np.float64)
    flags = np.asarray(labels).astype(np.bool_)
    _check_one_length(before, after, flags)
    kinds = [np.flatnonzero(flags), np.flatnonzero(~flags)]
    if not all(len(one) for one in kinds):
        return Estimate(np.nan, np.nan, np.nan, len(flags))

    def difference(rows: npt.NDArray[Any]) -> float:
        truth = flags[rows]
        return compute_auroc(after[rows], truth) - compute_auroc(before[rows], truth)

    generator = np.random.default_rng(seed)
    drawn = [
        difference(np.concatenate([generator.choice(one, len(one)) for one in kinds]))
        for _ in range(resamples)
    ]
    value = difference(np.arange(len(flags)))
    low, high = (float(one) for one in np.quantile(drawn, [0.025, 0.975]))
    return Estimate(value, min(low, value), max(high, value), len(flags))


def _check_one_length(*columns: npt.NDArray[Any]) -> None:
    shapes = [one.shape for one in columns]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise DataError(
            "The scores of two models do not belong together.",
            expected="one score of each model for each sample, shape (N,)",
            got=", ".join(map(str, shapes)),
            remedy="join them by sample id before comparing",
        )
