"""What a task must offer so that the workflows can train, evaluate and apply it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from sightline.data.batch_plans import BatchPlan
from sightline.data.dataset import Dataset
from sightline.data.manifest import Manifest
from sightline.search.neighbours import Metric
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

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What else a page shows and a table cannot hold (heat maps), by name; mostly nothing."""


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


class Truth(NamedTuple):
    """What the answers for a split are judged by."""

    samples: Manifest
    """Its N samples, with labels and masks."""
    class_names: tuple[str, ...]
    groups: Any = None
    """Codes (N,) of the groups that intervals resample; None: samples."""
    decision: Any = None
    """What Task.read_decision gave for the run."""
    companions: Manifest | None = None
    """What Task.companions gave for the samples; their answers come after the samples' own."""


class Task(Protocol):
    """One of the five jobs; an instance holds no state."""

    config: type[TaskConfig]
    answers: Literal["probabilities", "scores", "neighbours", "vectors"]
    """Probabilities of classes can be averaged over folds, views and runs, and calibrated."""
    stages: tuple[str, ...]
    """What follows every training, in this order, before what was asked for."""
    test_splits: tuple[str, ...]
    """What of the manifest is the sealed test."""

    def resolve(self, dataset: Dataset, config: Any) -> Any:
        """The configuration with what only the samples can tell; what is saved and trained."""

    def check_data(self, dataset: Dataset, config: Any) -> list[str]:
        """Sentences worth logging about the samples; DataError where they cannot be used."""

    def batch_plan(self, samples: Manifest, config: Any) -> BatchPlan | None:
        """What is in each batch of an epoch over the samples; None: all of them, in a new order."""

    def batch_unit(self, config: Any) -> int:
        """So many images of one class belong together in a batch; 1 where classes do not matter."""

    def validation_splits(self, dataset: Dataset, config: Any) -> tuple[str, ...]:
        """The splits that are looked at after each epoch; none where nothing can be judged."""

    def companions(self, dataset: Dataset, splits: Sequence[str], config: Any) -> Manifest | None:
        """Samples that are answered for too where some splits are judged; mostly none."""

    def create_model(self, config: Any, class_names: Sequence[str], *, trained: bool) -> nn.Module:
        """The model; with `trained` its weights will come from a checkpoint, so none are read."""

    def create_trainer(
        self,
        config: Any,
        model: nn.Module,
        *,
        dataset: Dataset,
        steps_per_epoch: int,
        checkpoint_dir: Path,
        callbacks: Sequence[Callback],
    ) -> BaseTrainer:
        """The trainer; `dataset` is what it is to learn from and be judged by."""

    def forward(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        """What `evaluate` needs of one batch, with the samples' `ids`."""

    def combine(
        self, parts: Sequence[Part], ids: Sequence[str], *, calibrator: Calibrator | None
    ) -> dict[str, Any]:
        """One output, rows in the order of the ids, of what several models or views say."""

    def evaluate(
        self,
        outputs: Sequence[dict[str, Any]],
        truth: Truth,
        config: Any,
    ) -> Result:
        """The scores of a whole split; pure."""

    def predict(
        self,
        outputs: Sequence[dict[str, Any]],
        class_names: Sequence[str],
        decision: Any = None,
    ) -> tuple[list[str], list[list[Any]]]:
        """Column names and one row per sample for inputs without truth, the id first."""

    def read_decision(self, run_folder: Path, checkpoint: str, config: Any) -> Any:
        """What was made after training to decide by (thresholds, a gallery), or None."""


class GalleryTask(Task, Protocol):
    """A task whose answers are neighbours in a gallery."""

    def gallery_splits(self, dataset: Dataset, config: Any) -> tuple[str, ...]:
        """What of the run's samples new pictures are compared with."""

    def gallery_metric(self, config: Any) -> Metric:
        """By which metric its embeddings are compared."""
