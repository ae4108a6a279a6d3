"""Image classification: its configuration, its trainer, its scores and its files.

B images, C classes; logits are (B, C), probabilities their softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sightline.data.dataset import (
    Dataset,
    require_known_labels,
    require_validated_classes,
    unvalidated_classes,
)
from sightline.data.manifest import Manifest
from sightline.losses.smoothed_cross_entropy import SmoothedCrossEntropy, class_weights
from sightline.metrics.classification import (
    confusion_matrix,
    mean_cross_entropy,
)
from sightline.models.classifier import Classifier, create_classifier
from sightline.models.freezing import freeze_matching
from sightline.models.mixing import Mix, Mixing
from sightline.random_numbers import generator
from sightline.tasks.classification_result import (
    HEADLINE,
    ClassificationResult,
    classification_result,
    prediction_rows,
    softmax,
)
from sightline.tasks.classify_config import ClassifyConfig, ClassifyTrainConfig
from sightline.tasks.config import TaskConfig
from sightline.tasks.task import Calibrator, Part, Truth
from sightline.training.callbacks import Callback
from sightline.training.evaluator import join_by_id
from sightline.training.recipe import optimizer_and_schedule
from sightline.training.runtime import process
from sightline.training.settings import trainer_config
from sightline.training.trainer import BaseTrainer


class ClassificationTrainer(BaseTrainer):
    """Trains a Classifier with smoothed, weighted cross-entropy."""

    train: ClassifyTrainConfig
    steps_per_epoch: int
    seed: int = 0

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """The loss of a batch of augmented, perhaps mixed images."""
        mix = self._mix_of(batch, batch_idx)
        if mix is None:
            logits = self.model(batch.images, batch.colour)
            return {"loss": self.loss_fn(logits, batch.labels)}
        logits = self.model(batch.images, batch.colour, mix.shares)
        return {"loss": self.loss_fn(logits, mix.targets(batch.labels, logits.shape[1]))}

    def _mix_of(self, batch: Any, batch_idx: int) -> Mix | None:
        """How the batch is mixed: a function of the seed, the epoch, and its number and process."""
        train = self.train
        if not (train.mixup or train.cutmix) or len(batch.images) < 2:
            return None
        name = f"mixing of batch {batch_idx} in process {process().rank}"
        random = generator(self.seed, self.progress.epoch + 1, name)
        mixing = Mixing(train.mixup, train.cutmix, train.mix_probability)
        return mixing.draw(random, batch.images.shape[-2:])

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Ids, logits (B, C) in float32 and targets (B,) of a batch."""
        return _forward(self.model, batch)

    def configure_optimizers(self) -> Any:
        """The optimizer and schedule of the `train` section."""
        return optimizer_and_schedule(self.model, self.train, steps_per_epoch=self.steps_per_epoch)

    def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
        """Loss, macro-F1 and accuracy of the whole split."""
        rows = join_by_id(outputs)
        logits, targets = rows["logits"], rows["targets"]
        matrix = confusion_matrix(targets, logits.argmax(axis=1), logits.shape[1])
        scores = {name: float(score(matrix)) for name, score in HEADLINE.items()}
        return {"loss": mean_cross_entropy(logits, targets), **scores}


class ClassificationTask:
    """Image classification, as the workflows see it."""

    config: type[TaskConfig] = ClassifyConfig
    answers: Literal["probabilities", "scores", "neighbours", "vectors"] = "probabilities"
    stages: tuple[str, ...] = ("val",)
    test_splits: tuple[str, ...] = ("test",)

    def resolve(self, dataset: Dataset, config: ClassifyConfig) -> ClassifyConfig:
        """The configuration as it is."""
        return config

    def check_data(self, dataset: Dataset, config: ClassifyConfig) -> list[str]:
        """What validation has no sample of; DataError for samples without label, or unseen ones."""
        require_known_labels(dataset)
        require_validated_classes(dataset, config.data)
        unvalidated = unvalidated_classes(dataset)
        return [f"validation has no sample of: {', '.join(unvalidated)}"] if unvalidated else []

    def batch_plan(self, samples: Manifest, config: ClassifyConfig) -> None:
        """Every picture once in each epoch."""

    def batch_unit(self, config: ClassifyConfig) -> int:
        """Batches are of single pictures."""
        return 1

    def validation_splits(self, dataset: Dataset, config: ClassifyConfig) -> tuple[str, ...]:
        """Validation alone."""
        return ("val",)

    def companions(self, dataset: Dataset, splits: Sequence[str], config: ClassifyConfig) -> None:
        """Nobody."""
        return

    def create_model(
        self, config: ClassifyConfig, class_names: Sequence[str], *, trained: bool
    ) -> Classifier:
        """A backbone with a linear head, frozen as `train.freeze` says."""
        settings = config.model
        if trained:
            unused = {"pretrained": False, "weights": None, "weights_partial": False}
            settings = settings.model_copy(update=unused)
        model = create_classifier(settings, len(class_names), img_size=config.train.img_size)
        freeze_matching(model, config.train.freeze)
        return model

    def create_trainer(
        self,
        config: ClassifyConfig,
        model: torch.nn.Module,
        *,
        dataset: Dataset,
        steps_per_epoch: int,
        checkpoint_dir: Path,
        callbacks: Sequence[Callback],
    ) -> ClassificationTrainer:
        """A trainer whose class weights come from the counts of the fit split."""
        train = config.train
        scheme = train.class_weights
        weights = None if scheme == "none" else class_weights(dataset.class_counts("fit"), scheme)
        trainer = ClassificationTrainer(
            model,
            SmoothedCrossEntropy(train.label_smoothing, weights),
            train.device,
            checkpoint_dir,
            config=trainer_config(train, config.output),
            callbacks=callbacks,
        )
        trainer.train, trainer.steps_per_epoch = train, steps_per_epoch
        trainer.seed = config.project.seed
        return trainer

    def forward(self, model: torch.nn.Module, batch: Any) -> dict[str, Any]:
        """Ids, logits (B, C) in float32 and targets (B,) of a batch."""
        return _forward(model, batch)

    def combine(
        self, parts: Sequence[Part], ids: Sequence[str], *, calibrator: Calibrator | None
    ) -> dict[str, Any]:
        """Logits (N, C) whose softmax is the weighted mean of the parts' probabilities.

        Those of a single part stay as they are. A sample counts the parts that have it, and each
        has at least one; targets (N,) are the same in all.
        """
        place = {one: row for row, one in enumerate(ids)}
        total, weights = np.zeros((len(ids), 0)), np.zeros(len(ids))
        targets = np.full(len(ids), -1, np.int64)
        for part in parts:
            rows = np.array([place[one] for one in part.rows["ids"]], np.int64)
            logits = _calibrated(part.rows["logits"].astype(np.float64), part.calibrator)
            if not total.shape[1]:
                total = np.zeros((len(ids), logits.shape[1]))
            single = len(parts) == 1
            total[rows] += logits if single else part.weight * softmax(logits)
            weights[rows] += part.weight
            targets[rows] = part.rows["targets"]
        if len(parts) > 1:
            # The smallest float keeps the logarithm finite where every part says 0.
            total = np.log(np.maximum(total / weights[:, None], np.finfo(np.float64).tiny))
        return {"ids": list(ids), "logits": _calibrated(total, calibrator), "targets": targets}

    def evaluate(
        self,
        outputs: Sequence[dict[str, Any]],
        truth: Truth,
        config: ClassifyConfig,
    ) -> ClassificationResult:
        """Scores with intervals over images, or over groups (N,) where they are given."""
        rows = join_by_id(outputs, [str(one) for one in truth.samples.id])
        return classification_result(
            rows["ids"],
            rows["logits"].astype(np.float64),
            rows["targets"],
            class_names=truth.class_names,
            groups=truth.groups,
            config=config,
        )

    def predict(
        self,
        outputs: Sequence[dict[str, Any]],
        class_names: Sequence[str],
        decision: Any = None,
    ) -> tuple[list[str], list[list[Any]]]:
        """The most probable class, its probability, and every class's probability."""
        rows = join_by_id(outputs)
        return prediction_rows(rows["ids"], rows["logits"].astype(np.float64), class_names)

    def read_decision(self, run_folder: Path, checkpoint: str, config: ClassifyConfig) -> None:
        """Nothing: the most probable class is the answer."""


def _calibrated(logits: Any, calibrator: Calibrator | None) -> Any:
    return logits if calibrator is None else calibrator.apply(logits)


def _forward(model: torch.nn.Module, batch: Any) -> dict[str, Any]:
    return {"ids": batch.ids, "logits": model(batch.images).float(), "targets": batch.labels}
