"""From a configuration to a trained run: the composition root, and how a training is recorded."""

from __future__ import annotations

from sightline.experiment.composition import (
    SPLITS_FILE,
    images_of,
    loader_for,
    read_dataset,
    train,
)

__all__ = ["SPLITS_FILE", "images_of", "loader_for", "read_dataset", "train"]
