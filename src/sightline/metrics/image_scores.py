"""AUROC, average precision and F1 of image scores, with intervals over images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.metrics.auroc import (
    average_precision,
    compute_auroc,
    f1_score_at,
    split_scores,
)
from sightline.metrics.classification import Counts, Floats
from sightline.metrics.intervals import Estimate
from sightline.metrics.resampling import centred_estimate, check_resampling, draw_times
from sightline.metrics.score_histogram import histogram_auroc, histogram_average_precision


def image_scores(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    threshold: float | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return image_auroc, image_ap and, with a threshold, image_f1, each with its interval.

    ``scores`` (N,), higher is more anomalous, and ``labels`` (N,), 1 for anomalous. Resamples
    draw normal and anomalous images apart, so none lacks a class. A single class gives NaN, with
    a warning for each score; F1 needs anomalous images only.

    >>> found = image_scores([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], threshold=0.5, resamples=50)
    >>> print(found["image_f1"])
    1.000 [1.000, 1.000] (n=4 images)
    """
    check_resampling(resamples, confidence)
    values = {
        "image_auroc": compute_auroc(scores, labels),
        "image_ap": average_precision(scores, labels),
    }
    if threshold is not None:
        values["image_f1"] = f1_score_at(scores, labels, threshold)
    ranked = _ranked(scores, labels, threshold)
    parts = [
        ranked.replicates(times)
        for times in draw_times(
            ranked.anomalous, width=ranked.groups, resamples=resamples, seed=seed
        )
    ]
    return {
        name: centred_estimate(
            value,
            np.concatenate([part[name] for part in parts]),
            value,
            n=len(ranked.anomalous),
            confidence=confidence,
        )
        for name, value in values.items()
    }


@dataclass(frozen=True)
class _Ranked:
    """Images in rising order of score; `first` is where each distinct score starts."""

    anomalous: npt.NDArray[np.bool_]
    first: Counts
    alarm: npt.NDArray[np.bool_]

    @property
    def groups(self) -> int:
        return len(self.first)

    def replicates(self, times: npt.NDArray[np.float32]) -> dict[str, Floats]:
        """The scores of resamples, from how often each image was drawn (R, N)."""
        hits, others = times * self.anomalous, times * ~self.anomalous
        if not self.groups:
            none = np.full(len(times), np.nan)
            return {"image_auroc": none, "image_ap": none, "image_f1": none}
        found = hits[:, self.alarm].sum(axis=1, dtype=np.float64)
        false = others[:, self.alarm].sum(axis=1, dtype=np.float64)
        called = found + false + hits.sum(axis=1, dtype=np.float64)
        anomalous = np.add.reduceat(hits, self.first, axis=1)
        normal = np.add.reduceat(others, self.first, axis=1)
        return {
            "image_auroc": histogram_auroc(anomalous, normal),
            "image_ap": histogram_average_precision(anomalous, normal),
            "image_f1": np.divide(
                2 * found, called, out=np.full(len(times), np.nan), where=called > 0
            ),
        }


def _ranked(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float | None) -> _Ranked:
    anomalous, normal = split_scores(scores, labels)
    values = np.concatenate([anomalous, normal])
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.ones(len(ordered), dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    alarm = ordered > (np.inf if threshold is None else threshold)
    return _Ranked(order < len(anomalous), np.flatnonzero(starts), alarm)
