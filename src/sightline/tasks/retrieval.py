"""Retrieval: an embedding in which pictures of a class are near, a gallery, and answers from it.

B images, D embedding size; embeddings (B, D) have length one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sightline.data.batch_plans import BalancedPlan
from sightline.data.dataset import Dataset
from sightline.data.manifest import Manifest, shortened
from sightline.errors import DataError
from sightline.losses.cross_batch_memory import CrossBatchMemory
from sightline.models.embedder import Embedder, create_embedder
from sightline.models.freezing import freeze_matching
from sightline.search.neighbours import Metric
from sightline.tasks.config import TaskConfig
from sightline.tasks.retrieval_decision import RetrievalDecision, read_decision
from sightline.tasks.retrieval_protocol import (
    choose_protocol,
    labels_of,
    left_out,
)
from sightline.tasks.retrieval_result import RetrievalResult
from sightline.tasks.retrieval_scoring import retrieval_result
from sightline.tasks.retrieval_table import answers_table
from sightline.tasks.retrieval_trainer import (
    RetrievalTrainer,
    embed_batch,
)
from sightline.tasks.retrieve_config import (
    FEW_CLASSES,
    PAIRED_PICTURES,
    WITH_HEAD,
    RetrieveConfig,
)
from sightline.tasks.task import Calibrator, Part, Truth
from sightline.training.callbacks import Callback
from sightline.training.evaluator import join_by_id
from sightline.training.settings import trainer_config


class RetrievalTask:
    """Retrieval, as the workflows see it."""

    config: type[TaskConfig] = RetrieveConfig
    answers: Literal["probabilities", "scores", "neighbours", "vectors"] = "neighbours"
    stages: tuple[str, ...] = ("index", "threshold", "val")
    test_splits: tuple[str, ...] = ("test",)

    def resolve(self, dataset: Dataset, config: RetrieveConfig) -> RetrieveConfig:
        """The configuration as it is."""
        return config

    def check_data(self, dataset: Dataset, config: RetrieveConfig) -> list[str]:
        """What is remarkable about classes and batches; DataError or ConfigError if they fail."""
        _require_labels(dataset.manifest)
        notes = []
        # `auto` is settled later, by measuring; the plan is then made for the first time.
        automatic = config.train.batch_size == "auto"
        plan = None if automatic else self.batch_plan(dataset.part("fit"), config)
        repeating = () if plan is None else plan.repeating
        if repeating:
            notes.append(
                f"{len(repeating)} classes have fewer pictures than a batch has of each class "
                f"(sampler.samples_per_class) and repeat them: {shortened(repeating)}"
            )
        known = labels_of(dataset.part("fit"))
        for split in ("val", "test"):
            asked = labels_of(dataset.part(split))
            if asked and not asked & known:
                _require_pairs(dataset.part(split), split, config.eval.leave_out)
                notes.append(
                    f"{split} has {len(asked)} classes that training never sees: its pictures are "
                    "each other's gallery"
                )
            elif asked - known:
                notes.append(
                    f"{len(asked - known)} classes of {split} are not in training, so their "
                    f"pictures count as unknown: {shortened(sorted(asked - known))}"
                )
        loss = config.loss
        wide = (loss.kind, loss.scale, loss.used_margin) == ("arcface", 64.0, 0.5)
        if wide and len(known) < FEW_CLASSES:
            notes.append(
                f"with {len(known)} classes loss.scale=48 loss.margin=0.3 is recommended "
                "(recipe retrieve/arcface-small)"
            )
        return notes

    def batch_plan(self, samples: Manifest, config: RetrieveConfig) -> BalancedPlan | None:
        """Classes alike, and of each as many pictures as `sampler` says; None: all, shuffled."""
        if config.sampler.kind == "shuffled":
            return None
        sampler, size = config.sampler, config.train.samples_per_batch
        counts = np.unique(samples.label.codes, return_counts=True)[1]
        pictures = sampler.samples_per_class
        if pictures is None:
            least = 1 if config.loss.kind in WITH_HEAD else PAIRED_PICTURES
            pictures = min(max(least, size // len(counts)), int(counts.max()))
        classes = sampler.classes_per_batch or max(1, min(size // pictures, len(counts)))
        return BalancedPlan(
            samples,
            classes_per_batch=classes,
            samples_per_class=pictures,
            seed=config.project.seed,
        )

    def batch_unit(self, config: RetrieveConfig) -> int:
        """Pictures of each class; where the batch decides that, the fewest the loss can use."""
        if config.sampler.kind == "shuffled":
            return 1
        least = 1 if config.loss.kind in WITH_HEAD else PAIRED_PICTURES
        return config.sampler.samples_per_class or least

    def validation_splits(self, dataset: Dataset, config: RetrieveConfig) -> tuple[str, ...]:
        """Validation with its gallery."""
        if not len(dataset.part("val")):
            return ("val",)
        return choose_protocol(dataset, "val", leave_out=config.eval.leave_out).splits

    def companions(self, dataset: Dataset, splits: Sequence[str], config: RetrieveConfig) -> None:
        """Nobody."""
        return

    def create_model(
        self, config: RetrieveConfig, class_names: Sequence[str], *, trained: bool
    ) -> Embedder:
        """An embedder, with a head where the loss has one, frozen as `train.freeze` says."""
        settings = config.model
        if trained:
            unused = {"pretrained": False, "weights": None, "weights_partial": False}
            settings = settings.model_copy(update=unused)
        model = create_embedder(
            settings,
            classes=len(class_names) if config.loss.kind in WITH_HEAD else 0,
            sub_centers=config.loss.sub_centers,
            img_size=config.train.img_size,
        )
        freeze_matching(model, config.train.freeze)
        return model

    def create_trainer(
        self,
        config: RetrieveConfig,
        model: Any,
        *,
        dataset: Dataset,
        steps_per_epoch: int,
        checkpoint_dir: Path,
        callbacks: Sequence[Callback],
    ) -> RetrievalTrainer:
        """A trainer of the loss that is configured, judged by search."""
        size = config.loss.memory
        trainer = RetrievalTrainer(
            model,
            CrossBatchMemory(size, model.embedding_dim) if size else None,
            config.train.device,
            checkpoint_dir,
            config=trainer_config(config.train, config.output),
            callbacks=callbacks,
        )
        trainer.take(config, dataset, steps_per_epoch=steps_per_epoch)
        return trainer

    def forward(self, model: torch.nn.Module, batch: Any) -> dict[str, Any]:
        """Ids, embeddings (B, D) in float32 and targets (B,) of a batch."""
        return embed_batch(model, batch)

    def combine(
        self, parts: Sequence[Part], ids: Sequence[str], *, calibrator: Calibrator | None
    ) -> dict[str, Any]:
        """The rows of the one model, in the order of the ids."""
        (part,) = parts
        return join_by_id([part.rows], ids)

    def evaluate(
        self, outputs: Sequence[dict[str, Any]], truth: Truth, config: RetrieveConfig
    ) -> RetrievalResult:
        """Scores of the queries in the decision's gallery, or among themselves."""
        rows = join_by_id(outputs, [str(one) for one in truth.samples.id])
        return retrieval_result(rows, truth, config)

    def predict(
        self,
        outputs: Sequence[dict[str, Any]],
        class_names: Sequence[str],
        decision: RetrievalDecision | None = None,
    ) -> tuple[list[str], list[list[Any]]]:
        """The class by a vote of neighbours, whether to ask again, and the nearest as evidence."""
        return answers_table(join_by_id(outputs), decision)

    def gallery_splits(self, dataset: Dataset, config: RetrieveConfig) -> tuple[str, ...]:
        """Train, or with eval.gallery=train+val validation too."""
        return ("fit",) if config.eval.gallery == "train" else ("fit", "val")

    def gallery_metric(self, config: RetrieveConfig) -> Metric:
        """Cosine: embeddings have length one."""
        return "cosine"

    def read_decision(
        self, run_folder: Path, checkpoint: str, config: RetrieveConfig
    ) -> RetrievalDecision:
        """The run's index with its thresholds; RunError without an index of these weights."""
        return read_decision(run_folder, checkpoint, config.answer)


def _require_pairs(samples: Manifest, split: str, leave_out: str) -> None:
    """Raise DataError where no picture of a split that is its own gallery sees one of its class."""
    seen = np.unique(np.stack([samples.label.codes, left_out(samples, leave_out)], 1), axis=0)
    if (np.bincount(seen[:, 0]) > 1).any():
        return
    raise DataError(
        f"No picture of {split} has another one of its class to find.",
        expected="classes with pictures of several objects, since a query does not see its own "
        "object (eval.leave_out=object)"
        if leave_out == "object"
        else "classes with several pictures",
        got=f"{len(samples)} pictures of {len(labels_of(samples))} classes, one object in each",
        remedy="set eval.leave_out=picture, data.objects=picture, or data.group_pattern",
    )


def _require_labels(manifest: Manifest) -> None:
    unlabelled = manifest.select(manifest.label.codes < 0)
    if len(unlabelled):
        raise DataError(
            f"{len(unlabelled)} samples have no label.",
            expected="a label for every sample",
            got=shortened(unlabelled.id),
            remedy="fill in the label column, or remove these rows",
        )
