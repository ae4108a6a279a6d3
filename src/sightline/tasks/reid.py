"""Re-identification: pictures of one identity find each other over cameras, days or sightings.

B images, D embedding size.
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
from sightline.losses.center import CenterLoss
from sightline.models.freezing import freeze_matching
from sightline.models.reid_model import ReidModel, create_reid_model
from sightline.search.neighbours import Metric
from sightline.tasks.config import TaskConfig
from sightline.tasks.reid_config import ReidConfig
from sightline.tasks.reid_judging import judge, require_monitored_rank
from sightline.tasks.reid_result import ReidResult
from sightline.tasks.reid_scoring import reid_result
from sightline.tasks.reid_trainer import ReidTrainer
from sightline.tasks.retrieval_decision import INDEX_FOLDER, RetrievalDecision, read_decision
from sightline.tasks.retrieval_table import answers_table
from sightline.tasks.task import Calibrator, Part, Truth
from sightline.training.callbacks import Callback
from sightline.training.evaluator import join_by_id
from sightline.training.settings import trainer_config


class ReidTask:
    """Re-identification, as the workflows see it."""

    config: type[TaskConfig] = ReidConfig
    answers: Literal["probabilities", "scores", "neighbours", "vectors"] = "neighbours"
    stages: tuple[str, ...] = ("index", "val")
    test_splits: tuple[str, ...] = ("query", "gallery", "test")

    def resolve(self, dataset: Dataset, config: ReidConfig) -> ReidConfig:
        """The configuration as it is."""
        return config

    def check_data(self, dataset: Dataset, config: ReidConfig) -> list[str]:
        """What is remarkable about identities and batches; DataError where nothing can be found."""
        _require_identities(dataset.part("fit"), config)
        notes = []
        for split, parts in (("validation", ("val",)), ("test", self.test_splits)):
            samples = dataset.part(*parts)
            if len(samples):
                # Before hours of training: would the test that ends them have an answer?
                judged = judge(samples, config)
                if split == "validation":
                    require_monitored_rank(judged, config)
                notes.append(f"{split}: {judged.protocol.said}")
        return [*notes, *self._batch_notes(dataset.part("fit"), config)]

    def _batch_notes(self, samples: Manifest, config: ReidConfig) -> list[str]:
        # `auto` is settled later, by measuring.
        plan = None if config.train.batch_size == "auto" else self.batch_plan(samples, config)
        if plan is None:
            return []
        notes, pictures = [], config.sampler.images_per_identity * _identities(samples)
        if pictures < config.train.samples_per_batch:
            notes.append(
                f"training has {_identities(samples)} identities, so a batch has {pictures} "
                f"pictures and not {config.train.samples_per_batch}"
            )
        if plan.repeating:
            notes.append(
                f"{len(plan.repeating)} identities have fewer pictures than a batch has of each "
                f"(sampler.images_per_identity) and repeat them: {shortened(plan.repeating)}"
            )
        return notes

    def batch_plan(self, samples: Manifest, config: ReidConfig) -> BalancedPlan | None:
        """P identities with K pictures each; None: all pictures, shuffled."""
        if config.sampler.kind == "shuffled":
            return None
        pictures = config.sampler.images_per_identity
        most = config.train.samples_per_batch // pictures
        return BalancedPlan(
            samples,
            classes_per_batch=min(most, _identities(samples)),
            samples_per_class=pictures,
            seed=config.project.seed,
        )

    def batch_unit(self, config: ReidConfig) -> int:
        """Pictures of each identity; 1 where they are shuffled."""
        return 1 if config.sampler.kind == "shuffled" else config.sampler.images_per_identity

    def validation_splits(self, dataset: Dataset, config: ReidConfig) -> tuple[str, ...]:
        """Validation, whose identities training never sees."""
        return ("val",)

    def companions(self, dataset: Dataset, splits: Sequence[str], config: ReidConfig) -> None:
        """Nobody."""
        return

    def create_model(
        self, config: ReidConfig, class_names: Sequence[str], *, trained: bool
    ) -> ReidModel:
        """A backbone with its neck and a classifier, frozen as `train.freeze` says."""
        settings = config.model
        if trained:
            unused = {"pretrained": False, "weights": None, "weights_partial": False}
            settings = settings.model_copy(update=unused)
        model = create_reid_model(
            settings,
            identities=len(class_names),
            feature=config.eval.feature,
            unit_length=config.eval.normalize,
            img_size=config.train.img_size,
        )
        freeze_matching(model, config.train.freeze)
        return model

    def create_trainer(
        self,
        config: ReidConfig,
        model: Any,
        *,
        dataset: Dataset,
        steps_per_epoch: int,
        checkpoint_dir: Path,
        callbacks: Sequence[Callback],
    ) -> ReidTrainer:
        """A trainer of the losses that are configured, judged by search."""
        learnt = sum(count > 0 for count in dataset.class_counts("fit"))
        has_centers = config.loss.center.weight > 0
        trainer = ReidTrainer(
            model,
            CenterLoss(learnt, model.embedding_dim) if has_centers else None,
            config.train.device,
            checkpoint_dir,
            config=trainer_config(config.train, config.output),
            callbacks=callbacks,
        )
        trainer.take(config, dataset, steps_per_epoch=steps_per_epoch)
        return trainer

    def forward(self, model: torch.nn.Module, batch: Any) -> dict[str, Any]:
        """Ids, embeddings, and the features after and before the neck, (B, D) in float32."""
        assert isinstance(model, ReidModel)
        features = model.features(batch.images)
        found = {"ids": batch.ids, "embeddings": model.answer(features), "after": features.after}
        return found if features.after is features.before else {**found, "before": features.before}

    def combine(
        self, parts: Sequence[Part], ids: Sequence[str], *, calibrator: Calibrator | None
    ) -> dict[str, Any]:
        """The rows of the one model, in the order of the ids."""
        (part,) = parts
        return join_by_id([part.rows], ids)

    def evaluate(
        self, outputs: Sequence[dict[str, Any]], truth: Truth, config: ReidConfig
    ) -> ReidResult:
        """Scores of the queries in their gallery."""
        rows = join_by_id(outputs, [str(one) for one in truth.samples.id])
        return reid_result(rows, truth, config)

    def predict(
        self,
        outputs: Sequence[dict[str, Any]],
        class_names: Sequence[str],
        decision: RetrievalDecision | None = None,
    ) -> tuple[list[str], list[list[Any]]]:
        """The identity of the nearest pictures of the gallery, which are the evidence."""
        return answers_table(join_by_id(outputs), decision)

    def gallery_splits(self, dataset: Dataset, config: ReidConfig) -> tuple[str, ...]:
        """The gallery that the data names; without one, the pictures of training."""
        return ("gallery",) if len(dataset.manifest.rows("gallery")) else ("fit", "val")

    def gallery_metric(self, config: ReidConfig) -> Metric:
        """Cosine, or with eval.normalize=false the Euclidean distance."""
        return "cosine" if config.eval.normalize else "euclidean"

    def read_decision(
        self, run_folder: Path, checkpoint: str, config: ReidConfig
    ) -> RetrievalDecision | None:
        """The run's index, if there is one; RunError for one of other weights."""
        if not (run_folder / INDEX_FOLDER).is_dir():
            return None
        return read_decision(run_folder, checkpoint, config.answer)


def _identities(samples: Manifest) -> int:
    return len(set(samples.label.codes.tolist()) - {-1})


def _require_identities(samples: Manifest, config: ReidConfig) -> None:
    """Raise DataError where training has too little to tell identities apart by."""
    codes, counts = np.unique(samples.label.codes[samples.label.codes >= 0], return_counts=True)
    if len(codes) < 2:
        raise DataError(
            "Training needs at least two identities.",
            expected="pictures of several identities in train",
            got=f"{len(codes)}",
            where=samples.root,
            remedy="add identities, or correct the folder or column that names them",
        )
    if config.loss.compares_pictures and counts.max() < 2:
        raise DataError(
            "Every identity of training has one picture, so no loss can bring two together.",
            expected="identities with several pictures, by several cameras or on several days",
            got=f"{len(samples)} pictures of {len(codes)} identities",
            where=samples.root,
            remedy="correct the folder, column or pattern that names identities; to learn from "
            "single pictures all the same: reid/softmax, whose loss compares none",
        )
