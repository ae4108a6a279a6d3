"""Metrics: pure functions from arrays to numbers, each with a reference it was checked against.

The public names below are imported when they are first used, so importing the package is free.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.metrics.auroc import (
        average_precision,
        compute_auroc,
        compute_auroc_per_class,
    )
    from sightline.metrics.grouped_means import mean_estimate
    from sightline.metrics.pixel_scores import compute_aupro, compute_pixel_auroc
    from sightline.metrics.query_expansion import expand_queries
    from sightline.metrics.ranking import rank_relevant
    from sightline.metrics.reid import reid_scores
    from sightline.metrics.reliability import fit_reliability
    from sightline.metrics.reranking import rerank
    from sightline.metrics.retrieval import retrieval_scores
    from sightline.metrics.same_camera import camera_rule
    from sightline.metrics.visualization import plot_confusion_matrix, plot_roc_curve
    from sightline.metrics.voting import weighted_vote

__all__ = [
    "average_precision",
    "camera_rule",
    "compute_aupro",
    "compute_auroc",
    "compute_auroc_per_class",
    "compute_pixel_auroc",
    "expand_queries",
    "fit_reliability",
    "mean_estimate",
    "plot_confusion_matrix",
    "plot_roc_curve",
    "rank_relevant",
    "reid_scores",
    "rerank",
    "retrieval_scores",
    "weighted_vote",
]

_HOMES = {
    "average_precision": "sightline.metrics.auroc",
    "compute_aupro": "sightline.metrics.pixel_scores",
    "compute_auroc": "sightline.metrics.auroc",
    "compute_auroc_per_class": "sightline.metrics.auroc",
    "compute_pixel_auroc": "sightline.metrics.pixel_scores",
    "expand_queries": "sightline.metrics.query_expansion",
    "fit_reliability": "sightline.metrics.reliability",
    "mean_estimate": "sightline.metrics.grouped_means",
    "plot_confusion_matrix": "sightline.metrics.visualization",
    "plot_roc_curve": "sightline.metrics.visualization",
    "rank_relevant": "sightline.metrics.ranking",
    "camera_rule": "sightline.metrics.same_camera",
    "reid_scores": "sightline.metrics.reid",
    "rerank": "sightline.metrics.reranking",
    "retrieval_scores": "sightline.metrics.retrieval",
    "weighted_vote": "sightline.metrics.voting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline.metrics' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
