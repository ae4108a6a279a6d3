"""What a task must offer so that the workflows can train, evaluate and apply it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import nn

from sightline.tasks.config import TaskConfig
from sightline.training.callbacks import Callback
from sightline.training.trainer import BaseTrainer


class Result(Protocol):
    """The evaluation of one split."""

    def as_dict(self) -> dict[str, Any]:
        """Scores as plain data: `n`, `headline` and what else the task reports."""

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and one row per sample, in the order of the samples."""

    def summary(self) -> list[str]:
        """The headline in words, one line per score, each with n and interval."""


class Calibrator(Protocol):
    """Makes probabilities say how often they are right."""

    def apply(self, logits: Any) -> Any:
        """Calibrated logits (N, C)."""


class Part(NamedTuple):
    """What one model says, of all samples or of some."""

    rows: dict[str, Any]
    """Joined rows, as join_by_id returns them."""
    weight: float
    calibrator: Calibrator | None


class Task(Protocol):
    """One of the five jobs; an instance holds no state."""

    config: type[TaskConfig]

    def create_model(self, config: Any, class_names: Sequence[str], *, trained: bool) -> nn.Module:
        """The model; with `trained` its weights will come from a checkpoint, so none are read."""

    def create_trainer(
        self,
        config: Any,
        model: nn.Module,
        *,
        class_counts: Sequence[int],
        steps_per_epoch: int,
        checkpoint_dir: Path,
        callbacks: Sequence[Callback],
    ) -> BaseTrainer:
        """The trainer; `class_counts` are those of the fit split."""

    def forward(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        """What `evaluate` needs of one batch, with the samples' `ids`."""

    def combine(
        self, parts: Sequence[Part], ids: Sequence[str], *, calibrator: Calibrator | None
    ) -> dict[str, Any]:
        """One output, rows in the order of the ids, of what several models or views say."""

    def evaluate(
        self,
        outputs: Sequence[dict[str, Any]],
        *,
        ids: Sequence[str],
        groups: Any,
        class_names: Sequence[str],
        config: Any,
    ) -> Result:
        """The scores of a whole split; pure."""

    def predict(
        self, outputs: Sequence[dict[str, Any]], class_names: Sequence[str]
    ) -> tuple[list[str], list[list[Any]]]:
        """Column names and one row per sample for inputs without truth, the id first."""
