"""Pixel AUROC, average precision and AUPRO of heat maps, at full resolution in bounded memory.

The images are read twice: once to see where the scores lie, once to count them in bins that fit
(``score_bins``). No list of pixels is kept, and no loop runs over thresholds: the overlap of a
region is a histogram too, in which each of its pixels weighs one over its area.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.intervals import Estimate
from sightline.metrics.pixel_counts import PixelCounts, PixelImages, count_pixels
from sightline.metrics.resampling import centred_estimate, check_resampling, draw_times
from sightline.metrics.score_histogram import (
    curve,
    histogram_aupro,
    histogram_auroc,
    histogram_average_precision,
    thin_curve,
)

NORMAL = "good"
LIMIT = 0.3
"""Highest false-positive rate of the AUPRO, as in Bergmann et al. 2021."""


@dataclass(frozen=True)
class PixelScores:
    """The three scores with intervals over images, by defect type, and two curves.

    ``per_defect`` maps a defect type to n_images, n_regions, pixel_auroc and pixel_aupro; NaN
    where it has no anomalous pixel. ``roc_curve`` has the lists fpr and tpr, ``pro_curve`` fpr
    (up to ``limit``) and pro; both are empty where they are undefined.
    """

    auroc: Estimate
    average_precision: Estimate
    aupro: Estimate
    per_defect: dict[str, dict[str, float]]
    roc_curve: dict[str, list[float]]
    pro_curve: dict[str, list[float]]
    limit: float
    n_images: int
    n_regions: int


def pixel_scores(
    images: PixelImages,
    *,
    defect_types: Sequence[str],
    limit: float = LIMIT,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PixelScores:
    """Return pixel AUROC, average precision and AUPRO with intervals, and each defect type's.

    Item i of ``images`` is a map (H, W) float32, higher is more anomalous, and a mask (H, W),
    True for defect; sizes may differ between images, and each item is read twice. Values are
    those of the exact curves to about 1e-5, whatever the range of the maps, and exact for few
    levels; only plateaus with noise below 1/10,000 of their height, many of them, can cost up to
    about 3e-3 of average precision. ``defect_types`` names the type of each image, ``good`` for a
    normal one; a type is scored on its own images and the normal ones.

    AUPRO (Bergmann et al., The MVTec Anomaly Detection Dataset, 2021, section 5.2.2) is the mean
    over regions of what is found of each, integrated over the false-positive rate up to ``limit``
    and divided by it; regions are 8-connected. The intervals draw whole images, those with a
    defect and those without apart, from histograms of at most 1,024 bins, moved so that they
    hold the value. Without an anomalous or without a normal pixel everything is NaN, with a
    warning that names the counts. A NaN in a map is a DataError.

    Memory, beside one image: about 8 MiB, half a MiB for each defect type and 1 KiB an image.
    """
    check_resampling(resamples, confidence)
    _check_limit(limit)
    if len(defect_types) != len(images):
        raise DataError(
            "Images and defect types do not belong together.",
            expected=f"{len(images)} defect types, one for each image",
            got=len(defect_types),
        )
    kinds = sorted({*defect_types} | {NORMAL})
    codes = np.array([kinds.index(one) for one in defect_types], dtype=np.int64)
    counts = count_pixels(images, kinds=codes, n_kinds=len(kinds), by_image=True)
    _warn_if_undefined(counts)
    values = _values(counts.anomalous, counts.normal, counts.overlap, limit)
    estimates = _intervals(
        counts, values, limit, resamples=resamples, confidence=confidence, seed=seed
    )
    false, found = curve(counts.normal), curve(counts.overlap)
    fpr, tpr = thin_curve(false, curve(counts.anomalous))
    pro_fpr, pro = thin_curve(false, found, limit=limit)
    return PixelScores(
        auroc=estimates["auroc"],
        average_precision=estimates["average_precision"],
        aupro=estimates["aupro"],
        per_defect=_per_defect(counts, codes, kinds, limit),
        roc_curve={"fpr": fpr, "tpr": tpr},
        pro_curve={"fpr": pro_fpr, "pro": pro},
        limit=limit,
        n_images=len(images),
        n_regions=counts.n_regions,
    )


def compute_aupro(maps: npt.ArrayLike, masks: npt.ArrayLike, *, limit: float = LIMIT) -> float:
    """Return the area under the per-region overlap curve of maps and masks (N, H, W).

    See ``pixel_scores``. NaN with a warning without an anomalous or without a normal pixel.

    >>> compute_aupro([[[0.1, 0.2], [0.3, 0.9]]], [[[0, 0], [0, 1]]])
    1.0
    """
    _check_limit(limit)
    counts = count_pixels(_pairs(maps, masks))
    _warn_if_undefined(counts)
    return float(histogram_aupro(counts.overlap, counts.normal, limit=limit))


def compute_pixel_auroc(maps: npt.ArrayLike, masks: npt.ArrayLike) -> float:
    """Return the AUROC over all pixels of maps and masks (N, H, W), to about 1e-5.

    NaN with a warning without an anomalous or without a normal pixel.

    >>> compute_pixel_auroc([[[0.1, 0.2], [0.3, 0.9]]], [[[0, 0], [0, 1]]])
    1.0
    """
    counts = count_pixels(_pairs(maps, masks), regions=False)
    _warn_if_undefined(counts)
    return float(histogram_auroc(counts.anomalous, counts.normal))


def _values(anomalous: Any, normal: Any, overlap: Any, limit: float) -> dict[str, Any]:
    return {
        "auroc": histogram_auroc(anomalous, normal),
        "average_precision": histogram_average_precision(anomalous, normal),
        "aupro": histogram_aupro(overlap, normal, limit=limit),
    }


def _intervals(
    counts: PixelCounts,
    values: dict[str, Any],
    limit: float,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Estimate]:
    """Intervals from the coarse histograms of each image, (N, 3, K)."""
    n, _, width = counts.by_image.shape
    rows = counts.by_image.reshape(n, 3 * width)
    whole = counts.by_image.sum(axis=0, dtype=np.float64)
    plain = _values(whole[0], whole[1], whole[2], limit)
    parts = []
    defective = np.asarray(counts.by_image[:, 0].sum(axis=1) > 0)
    for times in draw_times(defective, width=3 * width, resamples=resamples, seed=seed):
        drawn = (times @ rows).reshape(len(times), 3, width)
        parts.append(_values(drawn[:, 0], drawn[:, 1], drawn[:, 2], limit))
    return {
        name: centred_estimate(
            float(value),
            np.concatenate([part[name] for part in parts]),
            float(plain[name]),
            n=n,
            confidence=confidence,
        )
        for name, value in values.items()
    }


def _per_defect(
    counts: PixelCounts, codes: npt.NDArray[np.int64], kinds: list[str], limit: float
) -> dict[str, dict[str, float]]:
    good = counts.by_kind[kinds.index(NORMAL)]
    found = {}
    for code, name in enumerate(kinds):
        if name == NORMAL:
            continue
        anomalous, normal, overlap = counts.by_kind[code] + good
        found[name] = {
            "n_images": int((codes == code).sum()),
            "n_regions": round(float(counts.by_kind[code][2].sum())),
            "pixel_auroc": float(histogram_auroc(anomalous, normal)),
            "pixel_aupro": float(histogram_aupro(overlap, normal, limit=limit)),
        }
    return found


def _pairs(maps: npt.ArrayLike, masks: npt.ArrayLike) -> PixelImages:
    scores, flags = np.asarray(maps), np.asarray(masks)
    if scores.ndim != 3 or scores.shape != flags.shape:
        raise DataError(
            "Maps and masks do not belong together.",
            expected="two arrays of one shape (N, H, W)",
            got=f"shapes {scores.shape} and {flags.shape}",
        )
    return list(zip(scores, flags, strict=True))


def _check_limit(limit: float) -> None:
    if not 0 < limit <= 1:
        raise DataError(
            "The AUPRO cannot be integrated so far.",
            expected="a false-positive rate above 0 and at most 1",
            got=limit,
        )


def _warn_if_undefined(counts: PixelCounts) -> None:
    normal, anomalous = int(counts.normal.sum()), int(counts.anomalous.sum())
    if not (normal and anomalous):
        warnings.warn(
            "The pixel scores are undefined: "
            f"the masks mark {anomalous} pixels as anomalous and {normal} as normal.",
            stacklevel=3,
        )
