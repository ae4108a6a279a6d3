"""Image and pixel scores of any detector over any loader: what a model's author calls.

B images of H x W; scores (B,) and maps (B, H, W) are higher where more is wrong; labels (B,) are 0
for normal and anything else for anomalous; masks (B, H, W) are not 0 where there is a defect.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    ValuesView,
)
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from sightline.errors import DataError, UsageError
from sightline.metrics.auroc import average_precision, best_f1, compute_auroc, f1_score_at
from sightline.metrics.conformal import conformal_threshold
from sightline.metrics.pixel_scores import compute_aupro, compute_pixel_auroc
from sightline.tasks.model_rows import Scored, rows_of, scored
from sightline.training.runtime import resolve_device


@dataclass(frozen=True)
class Evaluation:
    """Metrics with what they are made of.

    It unpacks, `metrics, scores, labels, predictions = evaluation`, and it reads as a mapping of
    the metrics: `evaluation["image_auroc"]`, `dict(evaluation)`, `"image_f1" in evaluation`.
    """

    metrics: dict[str, float]
    scores: npt.NDArray[np.float64]
    """(N,)"""
    labels: npt.NDArray[np.int64]
    """(N,), 1 for anomalous."""
    predictions: dict[str, Any]
    """`alarms` (N,) where there is a threshold, `maps` (N, H, W) where the model gives maps."""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.metrics, self.scores, self.labels, self.predictions))

    def __getitem__(self, name: str) -> float:
        return self.metrics[name]

    def __contains__(self, name: object) -> bool:
        return name in self.metrics

    def __len__(self) -> int:
        return len(self.metrics)

    def keys(self) -> KeysView[str]:
        """Names of the metrics."""
        return self.metrics.keys()

    def values(self) -> ValuesView[float]:
        """Values of the metrics."""
        return self.metrics.values()

    def items(self) -> ItemsView[str, float]:
        """Names and values of the metrics."""
        return self.metrics.items()

    def get(self, name: str, default: float | None = None) -> float | None:
        """The value of a metric, or the default."""
        return self.metrics.get(name, default)


def evaluate(  # noqa: PLR0913 (keywords that have nothing in common)
    model: nn.Module,
    dataloader: Iterable[Any],
    device: str = "auto",
    *,
    threshold: float | None = None,
    calibration: Iterable[Any] | None = None,
    budget: float = 0.05,
    adapter: Callable[[Any], Scored] | None = None,
    strict: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Metrics of a detector over a whole loader, in eval mode and without gradients.

    A batch is a tuple (images, labels[, masks]), a mapping or an object with these names. A model
    may return scores (B,) or (B, 1), maps (B, H, W) or (B, 1, H, W) whose maximum is then the
    score, or a mapping or object that names them (SCORE_NAMES, MAP_NAMES); `adapter` turns
    anything else into Scored.

    The threshold is never taken from the data that is judged: `threshold` is a number, or
    `calibration` is a loader of other, normal images for a share of `budget` false alarms
    (split-conformal). Without either, `threshold` and `image_f1` are NaN. `image_f1_max` is the
    best F1 that any threshold could have reached on these very labels: it bounds, it is no result.

    Metrics: image_auroc, image_ap, image_f1, image_f1_max, threshold; with maps and masks also
    pixel_auroc and pixel_aupro. Where all images are of one kind, what compares the two is NaN,
    with a warning that names their numbers; `strict` makes it a DataError. The model stays on the
    device; every part of it is left in the mode it came in, also by an error.
    """
    place = resolve_device(device)
    read = adapter or scored
    _check_threshold(threshold, given=calibration is not None)
    rows = rows_of(model, dataloader, place, read, progress=progress)
    if not len(rows.scores):
        raise DataError("The loader is empty, so there is nothing to evaluate.")
    if calibration is not None:
        normal = rows_of(model, calibration, place, read, progress=progress)
        if normal.labels.any():
            raise DataError(
                f"{int(normal.labels.sum())} of {len(normal.labels)} calibration images are "
                "anomalous.",
                expected="normal images only",
                where="evaluate(calibration=...)",
            )
        threshold = conformal_threshold(normal.scores, budget).value
    labels = rows.labels
    metrics = {
        "image_auroc": compute_auroc(rows.scores, labels, strict=strict),
        "image_ap": np.nan,
        "image_f1": np.nan,
        "image_f1_max": np.nan,
        "threshold": np.nan if threshold is None else float(threshold),
    }
    if labels.any() and not labels.all():
        metrics["image_ap"] = average_precision(rows.scores, labels)
        metrics["image_f1_max"] = best_f1(rows.scores, labels)
    predictions: dict[str, Any] = {}
    if threshold is not None:
        predictions["alarms"] = rows.scores > threshold
        if labels.any():
            metrics["image_f1"] = f1_score_at(rows.scores, labels, threshold)
    if rows.maps is not None:
        predictions["maps"] = rows.maps
    if rows.maps is not None and rows.masks is not None and rows.masks.any():
        metrics["pixel_auroc"] = compute_pixel_auroc(rows.maps, rows.masks)
        metrics["pixel_aupro"] = compute_aupro(rows.maps, rows.masks)
    return Evaluation(metrics, rows.scores, labels, predictions)


def _check_threshold(threshold: float | None, *, given: bool) -> None:
    """Raise UsageError for a threshold that is no number, or beside images to find one by."""
    if threshold is not None and given:
        raise UsageError(
            "A threshold is given, and images to find one by.",
            remedy="leave out threshold or calibration",
        )
    if threshold is not None and not np.isfinite(threshold):
        raise UsageError("The threshold is no finite number.", got=threshold)
