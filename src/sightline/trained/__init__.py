"""Trained runs as they are applied: one model, folds, ensembles, calibration, saved answers."""

from __future__ import annotations

from sightline.trained.model import (
    TASK_CONFIGS,
    TrainedModel,
    best_checkpoints,
    load_trained,
    require_answers,
    run_config,
)

__all__ = [
    "TASK_CONFIGS",
    "TrainedModel",
    "best_checkpoints",
    "load_trained",
    "require_answers",
    "run_config",
]
