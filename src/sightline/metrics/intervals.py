"""Confidence intervals by the bootstrap, over the unit that is independent.

The percentile interval of Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13:
draw n units with replacement from the n that were observed, compute the statistic anew, repeat, and
take quantiles of the results. The unit is whatever was sampled independently: an image, or all
images of one person, page or object where those resemble each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts, Floats, checked_codes

MatrixStatistic = Callable[[npt.NDArray[Any]], Floats]
"""Scores a stack of confusion matrices (R, C, C) at once and returns (R,)."""

_CELLS_AT_ONCE = 2_000_000
"""Resampled matrices are scored in slices of about this many cells: 16 MB of counts."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, the number of independent units behind it, and what a unit is.

    All three numbers are NaN for n = 0. A resample of one unit is that unit: n = 1 gives an
    interval without width, which says nothing about how sure the value is.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str = "image"
    confidence: float = 0.95

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold: a NaN becomes None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        plain: dict[str, Any] = {k: v if isfinite(v) else None for k, v in numbers.items()}
        return plain | {"n": self.n, "unit": self.unit, "confidence": self.confidence}

    def __str__(self) -> str:
        """Return it as people read it.

        >>> str(Estimate(0.912, 0.881, 0.940, n=380))
        '0.912 [0.881, 0.940] (n=380 images)'
        """
        interval = f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{interval} (n={self.n} {plural(self.unit, self.n)})"


def plural(unit: str, n: int) -> str:
    """Return the unit's name for n of them.

    >>> plural("image", 1), plural("query identity", 2), plural("box", 0)
    ('image', 'query identities', 'boxes')
    """
    if n == 1:
        return unit
    if unit.endswith("y") and unit[-2:-1] not in tuple("aeiou"):
        return unit[:-1] + "ies"
    hisses = unit.endswith(("s", "x", "ch", "sh")) and unit != "epoch"
    return unit + ("es" if hisses else "s")


def bootstrap_interval(
    statistic: Callable[[npt.NDArray[Any]], float],
    units: npt.ArrayLike,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    unit: str = "image",
) -> Estimate:
    """Return the statistic of ``units`` (N, ...) with its interval; rows are the independent units.

    ``statistic`` gets an array of N rows, some of them repeated. It must not depend on their order.

    >>> print(bootstrap_interval(np.mean, np.ones(20), unit="query"))
    1.000 [1.000, 1.000] (n=20 queries)
    """
    _check(resamples, confidence)
    rows = np.asarray(units)
    if not len(rows):
        return Estimate(np.nan, np.nan, np.nan, 0, unit, confidence)
    generator = np.random.default_rng(seed)
    draws = (generator.integers(len(rows), size=len(rows)) for _ in range(resamples))
    replicates = np.array([statistic(rows[draw]) for draw in draws], dtype=np.float64)
    value = float(statistic(rows))
    low, high = _percentiles(replicates, confidence, value=value)
    return Estimate(value, low, high, len(rows), unit, confidence)


def bootstrap_confusion(
    confusion: npt.ArrayLike,
    statistic: MatrixStatistic,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    unit: str = "image",
) -> Estimate:
    """Return a score of a confusion matrix with its interval over images, or over groups of them.

    (C, C): drawing N images with replacement fills the cells like a multinomial with the observed
    fractions, so the matrices are drawn directly: the same distribution, without touching images.
    (G, C, C), see ``group_confusions``: whole groups are drawn, n counts groups that hold an image,
    and ``unit`` should say what a group is.

    >>> from sightline.metrics.classification import accuracy
    >>> print(bootstrap_confusion([[50, 0], [0, 30]], accuracy))
    1.000 [1.000, 1.000] (n=80 images)
    """
    _check(resamples, confidence)
    matrix = np.asarray(confusion, dtype=np.int64)
    grouped = matrix.ndim == 3
    parts = matrix[matrix.any(axis=(1, 2))] if grouped else matrix[None]
    total = parts.sum(axis=0)
    n = len(parts) if grouped else int(total.sum())
    if not n:
        return Estimate(np.nan, np.nan, np.nan, 0, unit, confidence)
    cells = np.flatnonzero(total)
    filled = parts.reshape(len(parts), -1)[:, cells].astype(np.float64)
    generator = np.random.default_rng(seed)
    replicates = []
    for size in _slices(resamples, max(total.size, n if grouped else 0)):
        drawn = np.zeros((size, total.size), dtype=np.int64)
        if grouped:
            # Sums of whole numbers: exact in float64, and a matrix product is fast.
            times = generator.multinomial(n, np.full(n, 1 / n), size=size)
            drawn[:, cells] = np.rint(times.astype(np.float64) @ filled)
        else:
            drawn[:, cells] = generator.multinomial(n, filled[0] / n, size=size)
        replicates.append(statistic(drawn.reshape(size, *total.shape)))
    value = float(statistic(total[None])[0])
    low, high = _percentiles(np.concatenate(replicates), confidence, value=value)
    return Estimate(value, low, high, n, unit, confidence)


def bootstrap_sums(
    sums: npt.ArrayLike,
    statistics: Mapping[str, Callable[[Floats], Floats]],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    unit: str = "image",
) -> dict[str, Estimate]:
    """Return statistics of column sums with their intervals, all from the same resamples.

    ``sums`` (U, K) holds what each independent unit adds to K totals; a statistic takes a stack of
    totals (R, K) and returns (R,). Drawing units only changes how often each is added.
    """
    _check(resamples, confidence)
    rows = np.asarray(sums, dtype=np.float64)
    n = len(rows)
    if not n:
        return {name: Estimate(np.nan, np.nan, np.nan, 0, unit, confidence) for name in statistics}
    generator = np.random.default_rng(seed)
    totals = []
    for size in _slices(resamples, n):
        drawn = generator.integers(n, size=(size, n), dtype=np.uint32)
        times = np.stack([np.bincount(one, minlength=n) for one in drawn])
        totals.append(times.astype(np.float64) @ rows)
    replicates = np.concatenate(totals)
    estimates = {}
    for name, statistic in statistics.items():
        value = float(statistic(rows.sum(axis=0, keepdims=True))[0])
        low, high = _percentiles(statistic(replicates), confidence, value=value)
        estimates[name] = Estimate(value, low, high, n, unit, confidence)
    return estimates


def binomial_interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share of which `count` of `n` independent trials are known.

    Clopper & Pearson, The use of confidence or fiducial limits (1934): it covers the true share
    with at least the confidence, whatever that share is. NaN for n = 0.

    >>> [round(end, 3) for end in binomial_interval(0, 10)]
    [0.0, 0.308]
    """
    from scipy.stats import beta

    if not n:
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, n - count)) if count < n else 1.0
    return low, high


def group_confusions(
    targets: npt.ArrayLike, predictions: npt.ArrayLike, *, groups: npt.ArrayLike, classes: int
) -> Counts:
    """Return one confusion matrix for each group in sorted order: (G, C, C), rows are the truth.

    ``groups`` (N,) names the group of each row by a number or a text.

    >>> group_confusions([0, 1, 1], [0, 1, 0], groups=["a", "b", "a"], classes=2).tolist()
    [[[1, 0], [1, 0]], [[0, 0], [0, 1]]]
    """
    truth = checked_codes(targets, classes, name="targets")
    guess = checked_codes(predictions, classes, name="predictions")
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    if not len(truth) == len(guess) == codes.size:
        raise DataError(
            "Targets, predictions and groups do not belong together.",
            expected="three columns of one length",
            got=f"{len(truth)}, {len(guess)} and {codes.size} rows",
            remedy="join them by sample id before scoring",
        )
    place = (codes.reshape(-1) * classes + truth) * classes + guess
    counts = np.bincount(place, minlength=len(names) * classes**2)
    return counts.reshape(len(names), classes, classes).astype(np.int64, copy=False)


def _percentiles(replicates: Floats, confidence: float, *, value: float) -> tuple[float, float]:
    """The percentiles, widened to hold the value itself.

    Resamples lose rare classes, so with a few images a class a mean over classes is biased down,
    and its percentiles may all lie below the value.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return min(float(low), value), max(float(high), value)


def _slices(resamples: int, cells: int) -> list[int]:
    size = max(1, min(resamples, _CELLS_AT_ONCE // cells))
    full, rest = divmod(resamples, size)
    return [size] * full + [rest] * bool(rest)


def _check(resamples: int, confidence: float) -> None:
    if resamples < 1 or not 0 < confidence < 1:
        raise DataError(
            "The bootstrap cannot be drawn like this.",
            expected="resamples >= 1 and 0 < confidence < 1",
            got=f"resamples={resamples}, confidence={confidence}",
        )
