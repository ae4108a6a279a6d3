"""Areas under curves from histograms of scores, for whole stacks of them.

K bins in rising order of score on the last axis, ... any number of leading axes (resamples, for
example). Scores in one bin count as tied: exact where a bin holds one value, else the curve runs
straight through the bin. A stack member that lacks what is needed is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.metrics.classification import Floats


def histogram_auroc(anomalous: npt.ArrayLike, normal: npt.ArrayLike) -> Floats:
    """Return the area under the ROC curve of counts (..., K), shape (...); ties count half.

    >>> float(histogram_auroc([0, 1, 1], [1, 1, 0]))
    0.875
    """
    hits, others = _numbers(anomalous), _numbers(normal)
    below = np.cumsum(others, axis=-1)
    below -= 0.5 * others
    below *= hits
    return _divide(below.sum(axis=-1), hits.sum(axis=-1) * others.sum(axis=-1))


def histogram_average_precision(anomalous: npt.ArrayLike, normal: npt.ArrayLike) -> Floats:
    """Return the average precision of counts (..., K), shape (...); a bin is one threshold.

    >>> round(float(histogram_average_precision([0, 1, 0, 1], [1, 0, 1, 0])), 4)
    0.8333
    """
    hits, others = _numbers(anomalous), _numbers(normal)
    found = _from_above(hits)
    alarms = _from_above(others)
    alarms += found
    np.divide(found, alarms, out=found, where=alarms > 0)
    found *= hits
    value = _divide(found.sum(axis=-1), hits.sum(axis=-1))
    return np.where(others.sum(axis=-1) > 0, value, np.nan)


def histogram_aupro(overlap: npt.ArrayLike, normal: npt.ArrayLike, *, limit: float) -> Floats:
    """Return the area under the per-region overlap curve up to an FPR of ``limit``, over ``limit``.

    Bergmann et al., The MVTec Anomaly Detection Dataset (2021), section 5.2.2: at each threshold
    the mean over regions of the share of the region that is found, against the share of normal
    pixels that raise an alarm. ``overlap`` (..., K) holds those shares as a histogram: each pixel
    of a region weighs one over the region's area, so that a region adds 1 in all. Between two
    thresholds, and at the limit, the curve is a straight line.

    >>> float(histogram_aupro([0.5, 0.5, 1.0], [2, 2, 0], limit=0.5))
    0.625
    """
    parts, others = _numbers(overlap), _numbers(normal)
    regions, pixels = parts.sum(axis=-1), others.sum(axis=-1)
    rates = _divide(_from_above(others)[..., ::-1], pixels[..., None])
    found = _divide(_from_above(parts)[..., ::-1], regions[..., None])
    return _area_up_to(rates, found, limit) / limit


def curve(counts: npt.ArrayLike) -> Floats:
    """Return the share of the total at or above each bin, from above, after a first 0: (K + 1,).

    >>> curve([1, 1, 2]).tolist()
    [0.0, 0.5, 0.75, 1.0]
    """
    shares = _from_above(_numbers(counts))[::-1]
    return np.concatenate([[0.0], _divide(shares, shares[-1])])


def thin_curve(
    across: Floats, up: Floats, *, points: int = 200, limit: float = 1.0
) -> tuple[list[float], list[float]]:
    """Return at most ``points`` of a rising curve, evenly along its length, cut at ``limit``.

    ``across`` and ``up`` are (K,) in rising order. The first point is kept, and the last is the
    curve at ``limit``. Even steps along the curve keep its bends, wherever they are.
    """
    if np.isnan(across).any() or np.isnan(up).any():
        return [], []
    inside = int(np.searchsorted(across, limit, side="right"))
    across, up, beyond = across[:inside], up[:inside], (across[inside:], up[inside:])
    if across[-1] < limit and len(beyond[0]):
        share = (limit - across[-1]) / (beyond[0][0] - across[-1])
        last = up[-1] + share * (beyond[1][0] - up[-1])
        across, up = np.append(across, limit), np.append(up, last)
    length = across / limit + up
    wanted = np.linspace(length[0], length[-1], points)
    kept = np.unique(np.clip(np.searchsorted(length, wanted), 0, len(length) - 1))
    if len(across) <= points:
        kept = np.arange(len(across))
    return across[kept].tolist(), up[kept].tolist()


def _area_up_to(across: Floats, up: Floats, limit: float) -> Floats:
    """Area under straight lines from (0, 0) through the points, up to ``limit`` on the x axis."""
    left, low = _after_zero(across), _after_zero(up)
    width = across - left
    taken = np.minimum(across, limit) - left
    # Past the limit nothing is taken; the bin that crosses it is taken in part.
    share = np.divide(np.maximum(taken, 0.0), width, out=np.zeros_like(width), where=width > 0)
    share[np.isnan(width)] = np.nan
    height = low + 0.5 * share * (up - low)
    height *= share
    height *= width
    total: Floats = height.sum(axis=-1)
    return total


def _after_zero(values: Floats) -> Floats:
    shifted = np.empty_like(values)
    shifted[..., 0] = 0.0
    shifted[..., 1:] = values[..., :-1]
    return shifted


def _from_above(values: Floats) -> Floats:
    total: Floats = np.cumsum(values[..., ::-1], axis=-1)[..., ::-1]
    return total


def _numbers(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _divide(above: Any, below: Any) -> Floats:
    shape = np.broadcast_shapes(np.shape(above), np.shape(below))
    filled = np.full(shape, np.nan)
    np.divide(above, below, out=filled, where=np.asarray(below) > 0)
    return filled
