"""From the scores and heat maps of a split to everything that is reported of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.defect_labels import NORMAL
from sightline.data.manifest import SPLITS, Manifest
from sightline.data.masks import picture_mask
from sightline.metrics.auroc import compute_auroc, roc_curve
from sightline.metrics.conformal import expected_false_alarms
from sightline.metrics.image_scores import image_scores
from sightline.metrics.intervals import binomial_interval
from sightline.metrics.pixel_scores import PixelScores, pixel_scores
from sightline.metrics.score_histogram import thin_curve
from sightline.tasks.anomaly_config import AnomalyConfig
from sightline.tasks.anomaly_result import AnomalyResult
from sightline.tasks.masked_images import HeatMaps, MaskedImages
from sightline.tasks.task import Truth
from sightline.tasks.thresholds import Thresholds

Floats = npt.NDArray[np.floating[Any]]


def anomaly_result(rows: dict[str, Any], truth: Truth, config: AnomalyConfig) -> AnomalyResult:
    """Every score of the joined rows (ids, scores, maps) against the truth."""
    samples, thresholds = truth.samples, truth.decision
    labels = [samples.label.text(row) for row in range(len(samples))]
    scores = np.asarray(rows["scores"], np.float64)
    anomalous = np.array([label != NORMAL for label in labels], bool)
    limit = thresholds.image.value if thresholds and thresholds.image else None
    drawn: dict[str, Any] = {
        "resamples": config.eval.bootstrap,
        "confidence": config.eval.confidence,
        "seed": config.project.seed,
    }
    both = bool(anomalous.any() and not anomalous.all())
    headline = image_scores(scores, anomalous, threshold=limit, **drawn) if both else {}
    curves: dict[str, Any] = {}
    if both:
        fpr, tpr, _ = roc_curve(scores, anomalous)
        curves["roc"] = dict(zip(("fpr", "tpr"), thin_curve(fpr, tpr), strict=True))
    counts, judged = _counted(samples, anomalous)
    pixels = None
    if config.eval.pixels and counts["with_mask"]:
        pixels = pixel_scores(
            MaskedImages(HeatMaps(samples, rows["maps"], judged, config.data.fit)),
            defect_types=[labels[row] for row in judged],
            limit=config.eval.aupro_limit,
            **drawn,
        )
        of_pixels = {
            "pixel_auroc": pixels.auroc,
            "pixel_ap": pixels.average_precision,
            "pixel_aupro": pixels.aupro,
        }
        # Masks may leave no normal pixel, and what is undefined is left out.
        headline |= {name: one for name, one in of_pixels.items() if one.value == one.value}
        curves |= {
            "pro": {**pixels.pro_curve, "limit": pixels.limit},
            "pixel_roc": pixels.roc_curve,
        }
    # Pictures of val set the threshold: that few of them are above it shows nothing.
    new = ~anomalous & (samples.split != SPLITS.index("val"))
    return AnomalyResult(
        ids=list(rows["ids"]),
        labels=labels,
        scores=scores,
        masks=[str((samples.root / str(one)).resolve()) if one else "" for one in samples.mask],
        thresholds=thresholds,
        headline=headline,
        counts=counts,
        per_defect=_per_defect(labels, scores, limit=limit, pixels=pixels),
        curves=curves,
        false_alarms=_false_alarms(scores[new], thresholds),
        pixel_false_alarms=_pixel_false_alarms(
            HeatMaps(samples, rows["maps"], np.flatnonzero(new), config.data.fit), thresholds
        ),
        examples=_examples(rows, scores, anomalous, config),
    )


def _counted(
    samples: Manifest, anomalous: npt.NDArray[np.bool_]
) -> tuple[dict[str, int], npt.NDArray[np.int64]]:
    """How many pictures of each kind there are, and the rows whose pixels can be judged.

    A defect that nobody marked would count as normal pixels, so its picture is left out.
    """
    kinds = Counter({"with_mask": 0, "empty_mask": 0, "without_mask": 0})
    judged = []
    for row in range(len(samples)):
        if not anomalous[row]:
            judged.append(row)
            continue
        mask = picture_mask(samples, row)
        kind = "without_mask" if mask is None else "with_mask" if mask.any() else "empty_mask"
        kinds[kind] += 1
        if kind == "with_mask":
            judged.append(row)
    counts = {"normal": int((~anomalous).sum()), "anomalous": int(anomalous.sum()), **kinds}
    return counts, np.array(judged, np.int64)


def _per_defect(
    labels: Sequence[str], scores: Floats, *, limit: float | None, pixels: PixelScores | None
) -> list[dict[str, Any]]:
    """Each defect type against all normal pictures."""
    kinds = np.array(labels)
    normal = kinds == NORMAL
    found = []
    for name in sorted(set(labels) - {NORMAL}):
        mine = kinds == name
        both = normal | mine
        of_pixels = (pixels.per_defect if pixels else {}).get(name, {})
        found.append(
            {
                "name": name,
                "n": int(mine.sum()),
                "image_auroc": compute_auroc(scores[both], mine[both]) if normal.any() else None,
                "pixel_auroc": _known(of_pixels.get("pixel_auroc")),
                "pixel_aupro": _known(of_pixels.get("pixel_aupro")),
                "detected": None if limit is None else float((scores[mine] > limit).mean()),
            }
        )
    return found


def _known(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or np.isnan(value) else value


def _false_alarms(scores: Floats, thresholds: Thresholds | None) -> dict[str, Any] | None:
    """How often normal pictures raised an alarm, beside what was promised."""
    if thresholds is None or thresholds.image is None or not len(scores):
        return None
    one, n = thresholds.image, len(scores)
    count = int((scores > one.value).sum())
    low, high = binomial_interval(count, n)
    expected: tuple[int | None, int | None] = (None, None)
    if one.rank is not None and one.n is not None:
        expected = expected_false_alarms(one.n, one.rank, n)
    return {
        "count": count,
        "n": n,
        "rate": count / n,
        "low": low,
        "high": high,
        "budget": one.budget,
        "expected_low": expected[0],
        "expected_high": expected[1],
    }


def _pixel_false_alarms(maps: HeatMaps, thresholds: Thresholds | None) -> dict[str, Any] | None:
    """The mean share of normal pictures' pixels above the pixel threshold."""
    if thresholds is None or thresholds.pixel is None or not len(maps):
        return None
    one = thresholds.pixel
    shares = [float((maps[place] > one.value).mean()) for place in range(len(maps))]
    return {"rate": float(np.mean(shares)), "budget": one.budget, "n": len(maps)}


def _examples(
    rows: dict[str, Any], scores: Floats, anomalous: npt.NDArray[np.bool_], config: AnomalyConfig
) -> dict[str, npt.NDArray[Any]]:
    """Heat maps of the quietest defects, the loudest normal pictures and the loudest defects."""
    if not config.eval.examples:
        return {}
    order = np.argsort(scores, kind="stable")
    defects, normals = order[anomalous[order]], order[~anomalous[order]]
    most = config.eval.examples
    chosen = list(dict.fromkeys([*defects[:most], *normals[::-1][:most], *defects[::-1][:most]]))
    return {
        "ids": np.array([rows["ids"][row] for row in chosen]),
        "maps": np.stack([np.asarray(rows["maps"][row], np.float32) for row in chosen]),
        "fit": np.array(config.data.fit),
    }
