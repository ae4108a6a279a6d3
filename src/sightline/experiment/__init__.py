"""From a configuration to a trained run: the composition root, and how a training is recorded."""

from __future__ import annotations

from sightline.experiment.composition import create_run, train
from sightline.experiment.samples import (
    SPLITS_FILE,
    find_samples,
    images_of,
    loader_for,
    open_samples,
    read_dataset,
)

__all__ = [
    "SPLITS_FILE",
    "create_run",
    "find_samples",
    "images_of",
    "loader_for",
    "open_samples",
    "read_dataset",
    "train",
]
