"""The evaluation of an anomaly detector: every score of a split, and the rows behind them.

N pictures; a score is higher where a picture is more anomalous, an alarm is a score above the
threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.defect_labels import NORMAL
from sightline.metrics.auroc import best_f1
from sightline.metrics.intervals import Estimate
from sightline.tasks.thresholds import Thresholds

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class AnomalyResult:
    """Rows in the order of the samples, and every score of them."""

    ids: list[str]
    labels: list[str]
    """Defect types, NORMAL for normal pictures."""
    scores: Floats
    masks: list[str]
    """Mask files, empty where there is none."""
    thresholds: Thresholds | None
    headline: dict[str, Estimate]
    counts: dict[str, int]
    per_defect: list[dict[str, Any]]
    curves: dict[str, Any]
    false_alarms: dict[str, Any] | None = None
    pixel_false_alarms: dict[str, Any] | None = None
    examples: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def is_normal(self) -> npt.NDArray[np.bool_]:
        """(N,)."""
        return np.array([label == NORMAL for label in self.labels], bool)

    def as_dict(self) -> dict[str, Any]:
        """Every score as plain data."""
        both = self.counts["normal"] and self.counts["anomalous"]
        return {
            "n": len(self.ids),
            "headline": {name: one.as_dict() for name, one in self.headline.items()},
            "image_f1_max": best_f1(self.scores, ~self.is_normal) if both else None,
            "counts": self.counts,
            "per_defect": self.per_defect,
            "threshold": self.thresholds.as_dict() if self.thresholds else None,
            "false_alarms": self.false_alarms,
            "pixel_false_alarms": self.pixel_false_alarms,
            "curves": self.curves,
            "class_names": sorted(set(self.labels)),
        }

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and one row per sample: id, target, score, alarm and mask."""
        limit = self._limit
        rows = [
            [one, label, score, "" if limit is None or isnan(score) else int(score > limit), mask]
            for one, label, score, mask in zip(
                self.ids, self.labels, self.scores.tolist(), self.masks, strict=True
            )
        ]
        return ["id", "target", "score", "alarm", "mask"], rows

    def summary(self) -> list[str]:
        """One line per headline score, and what became of the false-alarm budget."""
        lines = [f"{name} {estimate}" for name, estimate in self.headline.items()]
        if not (self.counts["normal"] and self.counts["anomalous"]):
            lines.append(
                f"image_auroc is undefined: {self.counts['normal']} normal and "
                f"{self.counts['anomalous']} anomalous pictures"
            )
        if self.false_alarms is not None:
            lines.append(_false_alarms_in_words(self.false_alarms))
        elif self.thresholds is not None and self.thresholds.reason:
            lines.append(f"no threshold: {self.thresholds.reason}")
        return lines

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The heat maps (K, S, S) of the pictures that are most worth seeing, with their ids."""
        return self.examples

    @property
    def _limit(self) -> float | None:
        found = self.thresholds.image if self.thresholds else None
        return None if found is None else found.value


def _false_alarms_in_words(found: dict[str, Any]) -> str:
    words = (
        f"false alarms {found['count']} of {found['n']} normal pictures "
        f"({found['rate']:.3f} [{found['low']:.3f}, {found['high']:.3f}])"
    )
    if found["budget"] is None:
        return words
    words += f", budget {found['budget']:g}"
    if found["expected_high"] is not None:
        words += (
            f"; by chance {found['expected_low']} to {found['expected_high']} are to be expected"
        )
    return words
