"""Sightline: one trainer and one command line for five jobs on images and embeddings.

The public names below are imported when they are first used, so `import sightline` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.errors import SightlineError
    from sightline.tasks.model_evaluation import Evaluation, evaluate
    from sightline.training.callbacks import Callback
    from sightline.training.hooks import StepInfo, Stop
    from sightline.training.settings import TrainerConfig
    from sightline.training.trainer import BaseTrainer

__all__ = [
    "BaseTrainer",
    "Callback",
    "Evaluation",
    "SightlineError",
    "StepInfo",
    "Stop",
    "TrainerConfig",
    "evaluate",
]

_HOMES = {
    "BaseTrainer": "sightline.training.trainer",
    "Callback": "sightline.training.callbacks",
    "Evaluation": "sightline.tasks.model_evaluation",
    "SightlineError": "sightline.errors",
    "StepInfo": "sightline.training.hooks",
    "Stop": "sightline.training.hooks",
    "TrainerConfig": "sightline.training.settings",
    "evaluate": "sightline.tasks.model_evaluation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
