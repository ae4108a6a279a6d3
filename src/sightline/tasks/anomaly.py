"""Anomaly detection: learn what normal pictures look like, and say where others differ.

B images of side S; scores are (B,), heat maps (B, S, S), higher where more is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sightline.data.dataset import Dataset
from sightline.data.defect_labels import is_normal
from sightline.data.manifest import Manifest
from sightline.losses.feature_matching import FeatureMatchingLoss
from sightline.metrics.conformal import needed_normals
from sightline.models.freezing import freeze_matching
from sightline.models.patchcore import PatchCore, create_patchcore
from sightline.models.stfpm import Stfpm, create_stfpm
from sightline.tasks.anomaly_config import AnomalyConfig
from sightline.tasks.anomaly_result import AnomalyResult
from sightline.tasks.anomaly_scoring import anomaly_result
from sightline.tasks.anomaly_trainers import AnomalyTrainer, PatchCoreTrainer, StfpmTrainer
from sightline.tasks.config import TaskConfig
from sightline.tasks.task import Calibrator, Part, Truth
from sightline.tasks.thresholds import Thresholds, read_thresholds, require_both_kinds
from sightline.training.callbacks import Callback
from sightline.training.evaluator import join_by_id
from sightline.training.settings import trainer_config


class AnomalyTask:
    """Anomaly detection, as the workflows see it."""

    config: type[TaskConfig] = AnomalyConfig
    answers: Literal["probabilities", "scores", "neighbours", "vectors"] = "scores"
    stages: tuple[str, ...] = ("threshold", "val")
    test_splits: tuple[str, ...] = ("test",)

    def resolve(self, dataset: Dataset, config: AnomalyConfig) -> AnomalyConfig:
        """The configuration as it is."""
        return config

    def check_data(self, dataset: Dataset, config: AnomalyConfig) -> list[str]:
        """Whether the held-out pictures will do for the threshold; DataError where they cannot."""
        val = dataset.part("val")
        normals = int(is_normal(val).sum())
        budget, wanted = config.threshold.false_alarm_budget, config.threshold.method
        if wanted == "f1":
            require_both_kinds(normals, len(val) - normals)
        if wanted != "conformal" or config.eval.protocol == "published":
            return []
        halved = config.train.epochs > 0
        needed = needed_normals(budget, config.threshold.confidence) * (2 if halved else 1)
        if normals >= needed:
            return []
        return [
            f"there will be no threshold: {budget:.0%} false alarms need about {needed} held-out "
            f"normal pictures{', half of which choose the epoch' if halved else ''}, and there are "
            f"{normals}; raise data.val_fraction or threshold.false_alarm_budget"
        ]

    def batch_plan(self, samples: Manifest, config: AnomalyConfig) -> None:
        """Every picture once in each epoch."""

    def batch_unit(self, config: AnomalyConfig) -> int:
        """Batches are of single pictures."""
        return 1

    def validation_splits(self, dataset: Dataset, config: AnomalyConfig) -> tuple[str, ...]:
        """Validation alone."""
        return ("val",)

    def companions(self, dataset: Dataset, splits: Sequence[str], config: AnomalyConfig) -> None:
        """Nobody."""
        return

    def create_model(
        self, config: AnomalyConfig, class_names: Sequence[str], *, trained: bool
    ) -> Stfpm | PatchCore:
        """A detector over the backbone's layers; class names do not matter."""
        settings, size = config.model, config.train.img_size
        if trained:
            unused = {"pretrained": False, "weights": None, "weights_partial": False}
            settings = settings.model_copy(update=unused)
        if settings.method == "stfpm":
            stfpm = create_stfpm(
                settings, settings.used_layers, img_size=size, combine=settings.map_combination
            )
            freeze_matching(stfpm, config.train.freeze)
            return stfpm
        return create_patchcore(
            settings,
            settings.used_layers,
            img_size=size,
            neighbours=settings.neighbours,
            sigma=settings.blur_sigma,
        )

    def create_trainer(
        self,
        config: AnomalyConfig,
        model: torch.nn.Module,
        *,
        dataset: Dataset,
        steps_per_epoch: int,
        checkpoint_dir: Path,
        callbacks: Sequence[Callback],
    ) -> AnomalyTrainer:
        """A trainer for the method; all pictures to fit are normal."""
        made: type[AnomalyTrainer] = StfpmTrainer if isinstance(model, Stfpm) else PatchCoreTrainer
        trainer = made(
            model,
            FeatureMatchingLoss() if isinstance(model, Stfpm) else None,
            config.train.device,
            checkpoint_dir,
            config=trainer_config(config.train, config.output),
            callbacks=callbacks,
        )
        trainer.settings = config
        counts = dataset.class_counts("fit")
        trainer.normal, trainer.images = int(np.argmax(counts)), sum(counts)
        if isinstance(trainer, StfpmTrainer):
            trainer.steps_per_epoch = steps_per_epoch
        return trainer

    def forward(self, model: torch.nn.Module, batch: Any) -> dict[str, Any]:
        """Ids, targets (B,), scores (B,) and maps (B, S, S) of a batch."""
        output = model(batch.images)
        return {
            "ids": batch.ids,
            "targets": batch.labels,
            "scores": output.score.float(),
            "maps": output.map.float(),
        }

    def combine(
        self, parts: Sequence[Part], ids: Sequence[str], *, calibrator: Calibrator | None
    ) -> dict[str, Any]:
        """The rows of the one detector, in the order of the ids; scores of several do not add."""
        (part,) = parts
        return join_by_id([part.rows], ids)

    def evaluate(
        self, outputs: Sequence[dict[str, Any]], truth: Truth, config: AnomalyConfig
    ) -> AnomalyResult:
        """Scores of pictures, and of pixels where there are masks, at the pictures' own size."""
        return anomaly_result(
            join_by_id(outputs, [str(one) for one in truth.samples.id]), truth, config
        )

    def predict(
        self,
        outputs: Sequence[dict[str, Any]],
        class_names: Sequence[str],
        decision: Thresholds | None = None,
    ) -> tuple[list[str], list[list[Any]]]:
        """The score, and 1 for an alarm, 0 for none, nothing without a threshold or a number."""
        rows = join_by_id(outputs)
        limit = None if decision is None or decision.image is None else decision.image.value
        table = [
            [one, score, "" if limit is None or isnan(score) else int(score > limit)]
            for one, score in zip(rows["ids"], rows["scores"].tolist(), strict=True)
        ]
        return ["id", "score", "alarm"], table

    def read_decision(
        self, run_folder: Path, checkpoint: str, config: AnomalyConfig
    ) -> Thresholds | None:
        """The run's thresholds; None before they were set, or for another checkpoint."""
        return read_thresholds(run_folder, checkpoint)
