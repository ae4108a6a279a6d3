"""Means of per-image scores with intervals over what is independent, and means of classes.

Q images with one score each, U independent units (images, or the groups they come in), C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts, Floats
from sightline.metrics.intervals import Estimate, bootstrap_interval


def mean_estimate(
    values: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    classes: npt.ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return the mean of scores (Q,) with its interval over images, or over groups of them.

    A NaN is an image without a score and is left out; n counts the units that have one. With
    ``groups`` (Q,), any names, whole groups are drawn, because images of one object resemble each
    other; the value is the mean over images all the same.

    With ``classes`` (Q,) the value is the mean over classes of the mean of each: every class
    counts the same. A class that a resample does not hold is left out of that resample. Groups
    as ``classes`` too give the mean over groups.

    >>> print(mean_estimate([1.0, 1.0, 0.0, 1.0], classes=["a", "a", "b", "b"]).value)
    0.75
    """
    scores = _checked(values)
    has_one = np.isfinite(scores)
    units = np.arange(len(scores)) if groups is None else _numbered(groups, len(scores))
    parts = np.zeros_like(units) if classes is None else _numbered(classes, len(scores))
    units, parts = (_numbered(one[has_one], int(has_one.sum())) for one in (units, parts))
    # Images of one unit and one class are only ever drawn together: one cell.
    width = int(parts.max(initial=0)) + 1
    cells, cell_of = np.unique(units * width + parts, return_inverse=True)
    cell_unit, cell_part = np.divmod(cells, width)
    sums = np.bincount(cell_of, weights=scores[has_one], minlength=len(cells))
    counts = np.bincount(cell_of, minlength=len(cells))

    def statistic(drawn: npt.NDArray[Any]) -> float:
        times = np.bincount(drawn, minlength=int(cell_unit[-1]) + 1)[cell_unit]
        totals, n = (np.bincount(cell_part, weights=times * one) for one in (sums, counts))
        held = n > 0
        return float((totals[held] / n[held]).mean())

    return bootstrap_interval(
        statistic,
        np.unique(units),
        resamples=resamples,
        confidence=confidence,
        seed=seed,
        unit="image" if groups is None else "group",
    )


@dataclass(frozen=True, slots=True)
class ClassMeans:
    """The mean of each class that has a score, in the sorted order of the classes; (C,) each."""

    classes: npt.NDArray[Any]
    means: Floats
    counts: Counts


def class_means(values: npt.ArrayLike, classes: npt.ArrayLike) -> ClassMeans:
    """Return the mean score of each class; NaN scores are left out, as in ``mean_estimate``.

    >>> class_means([1.0, 0.0, 1.0], ["b", "a", "b"]).means.tolist()
    [0.0, 1.0]
    """
    scores = _checked(values)
    _numbered(classes, len(scores))
    has_one = np.isfinite(scores)
    names, place, counts = np.unique(
        np.asarray(classes)[has_one], return_inverse=True, return_counts=True
    )
    sums = np.bincount(place, weights=scores[has_one], minlength=len(names))
    return ClassMeans(names, sums / counts, counts.astype(np.int64))


def _checked(values: npt.ArrayLike) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or np.isinf(scores).any():
        raise DataError(
            "Scores are no list of numbers.",
            expected="finite numbers, or NaN for none, shape (Q,)",
            got=f"shape {scores.shape}, {int(np.isinf(scores).sum())} infinite",
        )
    return scores


def _numbered(names: npt.ArrayLike, n: int) -> Counts:
    found = np.asarray(names)
    if found.shape != (n,):
        raise DataError(
            "Scores and their groups or classes do not belong together.",
            expected=f"{n} names, one for each score",
            got=f"shape {found.shape}",
        )
    return np.unique(found, return_inverse=True)[1].astype(np.int64)
