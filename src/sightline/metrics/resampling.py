"""Intervals by drawing images anew, normal and anomalous ones apart.

A resample that happens to hold no anomalous image has no AUROC. Drawing as many of each kind as
there are keeps every resample defined: the two-sample bootstrap of Efron & Tibshirani, An
Introduction to the Bootstrap (1993), chapter 8.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats
from sightline.metrics.intervals import Estimate

_CELLS_AT_ONCE = 1 << 17


def draw_times(
    anomalous: npt.NDArray[np.bool_], *, width: int, resamples: int, seed: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield how often each image was drawn, (R, N) for a few resamples R at a time.

    ``anomalous`` (N,) parts the images into two kinds; each resample draws as many of a kind as
    there are. ``width`` is how many numbers the caller needs for one resample: the more, the
    fewer come at a time. The draws depend on the seed alone, not on the width.
    """
    n = len(anomalous)
    kinds = [places for places in map(np.flatnonzero, (anomalous, ~anomalous)) if len(places)]
    generator = np.random.default_rng(seed)
    size = max(1, min(resamples, _CELLS_AT_ONCE // max(width, n, 1)))
    for start in range(0, resamples, size):
        times = np.zeros((min(size, resamples - start), n), dtype=np.float32)
        for row in times:
            for places in kinds:
                drawn = generator.integers(len(places), size=len(places))
                row[places] = np.bincount(drawn, minlength=len(places))
        yield times


def centred_estimate(
    value: float, replicates: Floats, plain: float, *, n: int, confidence: float
) -> Estimate:
    """Return a value with the percentiles of its replicates (R,), moved and widened to hold it.

    ``plain`` is the value as the replicates compute it, on coarser bins perhaps: the replicates
    are moved by the difference. They stay in 0..1. NaN replicates are left out.
    """
    moved = np.clip(replicates[~np.isnan(replicates)] + (value - plain), 0.0, 1.0)
    if np.isnan(value) or not len(moved):
        return Estimate(value, np.nan, np.nan, n, "image", confidence)
    tail = (1 - confidence) / 2
    low, high = (float(one) for one in np.quantile(moved, [tail, 1 - tail]))
    return Estimate(value, min(low, value), max(high, value), n, "image", confidence)


def check_resampling(resamples: int, confidence: float) -> None:
    """Raise a DataError for a number of resamples or a confidence that makes no interval."""
    if resamples < 1 or not 0 < confidence < 1:
        raise DataError(
            "The bootstrap cannot be drawn like this.",
            expected="resamples >= 1 and 0 < confidence < 1",
            got=f"resamples={resamples}, confidence={confidence}",
        )
