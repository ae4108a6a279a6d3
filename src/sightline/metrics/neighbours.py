"""Whether neighbours found in one space are neighbours in another: recall, and how sure it is.

Q queries, K neighbours that are known of each, k of them that count. A query is itself no
neighbour: it is known by its row, never by its distance, because vectors may be repeated.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats
from sightline.metrics.distance_blocks import Rows
from sightline.metrics.grouped_means import mean_estimate
from sightline.metrics.intervals import Estimate
from sightline.metrics.paired import paired_difference
from sightline.metrics.resampling import check_resampling
from sightline.metrics.vectors import whole_numbers

TOLERANCE = 1e-6
"""Distances that differ by less than this share of them are equal."""

_LARGEST_BET = 0.75
_HALVINGS = 40
_ORDERS = 16


def neighbour_recall(
    reference_distances: npt.ArrayLike, found_distances: npt.ArrayLike, *, k: int
) -> Floats:
    """Return the share of each query's first k found neighbours that are among its k nearest.

    ``reference_distances`` (Q, K) are those of the true neighbours, ascending; ``found_distances``
    (Q, K') those of the found ones in the same space, in the order in which they were found,
    infinite for none (``row_distances``). Both without the query itself, K and K' at least k.
    A found neighbour is right if it is not farther than the k-th nearest, so where several are
    equally far each of them is right: the recall of ann-benchmarks (Aumueller, Bernhardsson &
    Faithfull 2018, quality measures, with epsilon = 1e-6). (Q,) in 0..1.

    >>> neighbour_recall([[1.0, 2.0]], [[2.0, 3.0]], k=2).tolist()
    [0.5]
    """
    reference = np.asarray(reference_distances, dtype=np.float64)
    found = np.asarray(found_distances, dtype=np.float64)
    _check_lists(reference, found, k)
    farthest = reference[:, k - 1 : k]
    return np.asarray((found[:, :k] <= farthest + TOLERANCE * np.abs(farthest)).mean(axis=1))


def without_self(
    rows: npt.ArrayLike, distances: npt.ArrayLike, *, self_rows: npt.ArrayLike, k: int
) -> tuple[Rows, Floats]:
    """Return the first k neighbours of each query that are not the query itself.

    ``rows`` and ``distances`` (Q, K) are what a search found, K at least k + 1 for queries that
    are in the pool. ``self_rows`` (Q,) is the query's own row, -1 for none. Where it is not among
    the K, because K others are as near, there is nothing to leave out.

    >>> without_self([[7, 3, 5]], [[0.0, 0.0, 1.0]], self_rows=[3], k=2)[0].tolist()
    [[7, 5]]
    """
    found, far = np.asarray(rows), np.asarray(distances)
    own = whole_numbers(self_rows, len(found))
    kept = (found != own[:, None]) | (own[:, None] < 0)
    if found.shape != far.shape or (len(found) and not 1 <= k <= kept.sum(axis=1).min()):
        raise DataError(
            f"There are no {k} neighbours besides the query itself.",
            expected="rows and distances of one shape (Q, K), K at least k + 1, and k at least 1",
            got=f"shapes {found.shape} and {far.shape}, k={k}",
        )
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    taken = (np.take_along_axis(one, order, axis=1) for one in (found, far))
    return next(taken).astype(np.int64), next(taken)


def recall_estimate(
    recalls: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return the mean recall (Q,) with its bootstrap interval over queries, or groups of them.

    ``groups`` (Q,) should hold one name for queries that are copies of each other or of one
    document. All queries share the pool: the interval is about other queries in this pool.

    >>> print(recall_estimate([1.0, 1.0, 1.0]))
    1.000 [1.000, 1.000] (n=3 queries)
    """
    found = mean_estimate(
        recalls, groups=groups, resamples=resamples, confidence=confidence, seed=seed
    )
    return replace(found, unit="query" if groups is None else "group")


def recall_difference(
    recalls: npt.ArrayLike,
    others: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return how much larger the mean of one recall (Q,) is than of another, of the same queries.

    The interval is that of ``paired.paired_difference``.

    >>> print(recall_difference([1.0, 0.5], [0.5, 0.0]))
    0.500 [0.500, 0.500] (n=2 queries)
    """
    found = paired_difference(
        others, recalls, groups=groups, resamples=resamples, confidence=confidence, seed=seed
    )
    return replace(found, unit="query" if groups is None else "group")


def mean_lower_bound(
    values: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> float:
    """Return a number that the mean behind values in 0..1 exceeds, at a confidence.

    One-sided, by betting: Waudby-Smith & Ramdas, Estimating means of bounded random variables by
    betting (JRSS B 86, 2024), section 4: a gambler who bets on values (Q,) above m, each stake
    fixed by the values before, multiplies the capital by 1 / (1 - confidence) with at most that
    probability if m is the mean; the bound is the largest m at which it happens. It holds for
    every Q and every distribution. Recalls near 1 have a long tail to the left that a sample may
    miss: the bounds of Student and of the bootstrap then hold in 53 to 96 of 100 samples where 95
    are promised, and all ones would promise exactly 1. The price is a distance from the mean that
    is about 1.5 times theirs for thousands of queries.

    The capital is the mean over 16 random orders of the values, which depend on the seed and Q
    alone: of one order it would be right as well, and luck (Vovk & Wang, E-values, Annals of
    Statistics 49, 2021, section 4: means of e-values are e-values). 0 for no values. Those of one
    group (Q,), such as copies, say less than as many independent ones: the distance from the mean
    grows with the square root of the design effect (Kish, Survey Sampling, 1965).

    >>> round(mean_lower_bound(np.ones(1000)), 4), round(mean_lower_bound(np.ones(20)), 2)
    (0.996, 0.82)
    """
    check_resampling(1, confidence)
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not ((sample >= 0) & (sample <= 1)).all():
        raise DataError(
            "A bound of the mean needs values of a known range.",
            expected="finite numbers in 0..1, shape (Q,)",
            got=f"shape {sample.shape}, {sample.min(initial=0):g} to {sample.max(initial=0):g}",
        )
    if not len(sample):
        return 0.0
    generator = np.random.default_rng(seed)
    orders = np.stack([generator.permutation(sample) for _ in range(_ORDERS)])
    stakes = np.stack([_stakes(one, confidence) for one in orders])
    mean = float(sample.mean())
    low, high = 0.0, mean
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # The capital falls with m, and so the m that are refuted are those below the bound.
        refuted = middle > 0 and _is_refuted(orders, stakes, middle, confidence)
        low, high = (middle, high) if refuted else (low, middle)
    effect = 1.0 if groups is None else _design_effect(sample, groups)
    return max(0.0, mean - (mean - low) * float(np.sqrt(effect)))


def _design_effect(sample: Floats, groups: npt.ArrayLike) -> float:
    """How much larger the variance of the mean is than that of as many independent values."""
    names = np.asarray(groups)
    if names.shape != sample.shape:
        raise DataError(
            "Values and their groups do not belong together.",
            expected=f"{len(sample)} names, one for each value",
            got=f"shape {names.shape}",
        )
    apart = sample - sample.mean()
    sums = np.bincount(np.unique(names, return_inverse=True)[1], weights=apart)
    alone = float(np.square(apart).sum())
    return max(1.0, float(np.square(sums).sum()) / alone) if alone > 0 else 1.0


def _stakes(sample: Floats, confidence: float) -> Floats:
    """What is bet on each value, from the mean and the variance of those before it."""
    n = len(sample)
    seen = np.arange(1, n + 1) + 1
    means = (0.5 + np.cumsum(sample)) / seen
    variances = (0.25 + np.cumsum(np.square(sample - means))) / seen
    before = np.concatenate([[0.25], variances])[:n]
    return np.asarray(np.sqrt(2 * np.log(1 / (1 - confidence)) / (n * before)))


def _is_refuted(orders: Floats, stakes: Floats, mean: float, confidence: float) -> bool:
    """Whether the capital, the mean of that of each order (R, Q), is large enough."""
    bets = np.minimum(stakes, _LARGEST_BET / mean)
    logs = np.log1p(bets * (orders - mean)).sum(axis=1)
    capital = np.logaddexp.reduce(logs) - np.log(len(orders))
    return bool(capital >= np.log(1 / (1 - confidence)))


def _check_lists(reference: Floats, found: Floats, k: int) -> None:
    shapes = reference.shape, found.shape
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][0] != shapes[1][0]:
        raise DataError(
            "True and found neighbours do not belong together.",
            expected="distances of shapes (Q, K) and (Q, K')",
            got=f"shapes {shapes[0]} and {shapes[1]}",
        )
    if not 1 <= k <= min(shapes[0][1], shapes[1][1]):
        raise DataError(
            f"Recall@{k} needs {k} true and {k} found neighbours of each query.",
            expected=f"k from 1 to {min(shapes[0][1], shapes[1][1])}",
            got=k,
        )
    if np.isnan(reference).any() or np.isnan(found).any() or (np.diff(reference) < 0).any():
        raise DataError(
            "Distances of neighbours are not in order.",
            expected="numbers, those of the true neighbours ascending",
            got="NaN" if np.isnan(reference).any() or np.isnan(found).any() else "a descent",
        )
