"""One training under way: what was configured, and the pieces made from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sightline.data.dataset import Dataset
from sightline.runs import RunFolder
from sightline.tasks.config import TaskConfig
from sightline.tasks.task import Task


@dataclass(frozen=True)
class Session:
    """A training, or one fold of it."""

    config: TaskConfig
    task: Task
    dataset: Dataset
    run: RunFolder
    device: torch.device
    fold: int | None = None
    """The fold that is held out for validation; None without folds."""

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints go; with every fold in turn, a folder for each."""
        if self.fold is None or not self.config.data.trains_every_fold:
            return self.run.ckpt
        return self.run.ckpt / f"fold{self.fold}"

    def parts(self) -> list[Session]:
        """What is trained one after the other: every fold, or the whole."""
        data = self.config.data
        if data.held_out_fold is None:
            return [self]
        if data.held_out_fold != "all":
            return [replace(self, fold=data.held_out_fold)]
        return [
            replace(self, fold=fold, dataset=self.dataset.holding_out(fold))
            for fold in range(data.fold_count)
        ]
