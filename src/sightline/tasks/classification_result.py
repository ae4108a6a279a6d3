"""The evaluation of a classifier: scores with intervals, and the rows behind them.

N images, C classes; probabilities are the softmax of logits (N, C).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.metrics.calibration import CalibrationScores, calibration_scores
from sightline.metrics.classification import (
    absent_classes,
    accuracy,
    classification_scores,
    confusion_matrix,
    macro_f1,
    mean_cross_entropy,
)
from sightline.metrics.intervals import Estimate, bootstrap_confusion, group_confusions
from sightline.tasks.config import TaskConfig

Floats = npt.NDArray[np.float64]

HEADLINE = {"macro_f1": macro_f1, "accuracy": accuracy}
"""The scores that are reported with an interval, the first one first."""


@dataclass(frozen=True)
class ClassificationResult:
    """Rows in the order of the samples, and every score of them."""

    ids: list[str]
    targets: npt.NDArray[np.int64]
    probabilities: Floats
    """(N, C)."""
    class_names: tuple[str, ...]
    headline: dict[str, Estimate]
    loss: float
    """Mean cross-entropy in nats, without smoothing or weights."""
    calibration: CalibrationScores
    """How far the probabilities can be believed, as they are used."""

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(C, C) counts, rows are the truth."""
        predictions = self.probabilities.argmax(axis=1)
        return confusion_matrix(self.targets, predictions, len(self.class_names))

    def as_dict(self) -> dict[str, Any]:
        """Every score as plain data."""
        confusion = self.confusion
        return {
            "n": len(self.ids),
            "loss": self.loss,
            "headline": {name: one.as_dict() for name, one in self.headline.items()},
            "per_class": classification_scores(confusion).per_class(self.class_names),
            "absent_classes": [self.class_names[code] for code in absent_classes(confusion)],
            "confusion": confusion.tolist(),
            "class_names": list(self.class_names),
            "calibration": self.calibration.as_dict(),
        }

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and one row per sample: id, target, prediction and probabilities."""
        columns, rows = _table(self.ids, self.probabilities, self.class_names)
        for row, target in zip(rows, self.targets, strict=True):
            row.insert(1, self.class_names[target])
        return [columns[0], "target", *columns[1:]], rows

    def summary(self) -> list[str]:
        """One line per headline score and one for the ECE, with interval and n."""
        lines = [f"{name} {estimate}" for name, estimate in self.headline.items()]
        return [*lines, f"ece {self.calibration.ece}"]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Nothing: the rows hold everything."""
        return {}


def classification_result(
    ids: list[str],
    logits: Floats,
    targets: npt.NDArray[np.int64],
    *,
    class_names: Sequence[str],
    groups: npt.ArrayLike | None,
    config: TaskConfig,
) -> ClassificationResult:
    """Scores of logits (N, C) against targets (N,); intervals resample images, or whole groups."""
    predictions, classes = logits.argmax(axis=1), len(class_names)
    if groups is None:
        matrix, unit = confusion_matrix(targets, predictions, classes), "image"
    else:
        matrix = group_confusions(targets, predictions, groups=groups, classes=classes)
        unit = "group"
    headline = {
        name: bootstrap_confusion(
            matrix,
            score,
            resamples=config.eval.bootstrap,
            confidence=config.eval.confidence,
            seed=config.project.seed,
            unit=unit,
        )
        for name, score in HEADLINE.items()
    }
    loss = mean_cross_entropy(logits, targets)
    calibration = calibration_scores(
        logits,
        targets,
        groups=groups,
        resamples=config.eval.bootstrap,
        confidence=config.eval.confidence,
        seed=config.project.seed,
    )
    return ClassificationResult(
        ids, targets, softmax(logits), tuple(class_names), headline, loss, calibration
    )


def prediction_rows(
    ids: list[str], logits: Floats, class_names: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Column names and one row per sample: id, prediction, confidence and every probability."""
    return _table(ids, softmax(logits), class_names)


def softmax(logits: Floats) -> Floats:
    """(N, C) probabilities; each row sums to one.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def _table(
    ids: Sequence[str], probabilities: Floats, class_names: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    columns = ["id", "prediction", "confidence", *(f"prob_{name}" for name in class_names)]
    best = probabilities.argmax(axis=1)
    rows = [
        [one, class_names[code], *(round(value, 6) for value in (row[code], *row))]
        for one, code, row in zip(ids, best, probabilities.tolist(), strict=True)
    ]
    return columns, rows
