"""Compression of vectors: an encoder to fewer numbers that keeps distances and neighbours.

B vectors, D numbers before and d after.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sightline.data.dataset import Dataset
from sightline.data.manifest import Manifest
from sightline.data.vector_samples import VectorRows, open_table, read_row_splits
from sightline.errors import ConfigError, DataError
from sightline.losses.rank_distance import LOSSES, RankDistanceLoss
from sightline.models.freezing import freeze_matching
from sightline.models.pca import PrincipalComponents, principal_components
from sightline.models.vector_encoder import VectorEncoder
from sightline.tasks.compress_config import HARD, CompressConfig
from sightline.tasks.compress_judging import compress_result
from sightline.tasks.compress_pool import companions, require_held_out
from sightline.tasks.compress_result import CompressResult
from sightline.tasks.compress_trainer import CompressTrainer
from sightline.tasks.config import TaskConfig
from sightline.tasks.task import Calibrator, Part, Truth
from sightline.training.callbacks import Callback
from sightline.training.evaluator import join_by_id
from sightline.training.runtime import cache_folder
from sightline.training.settings import trainer_config


class CompressionTask:
    """Compression, as the workflows see it."""

    config: type[TaskConfig] = CompressConfig
    answers: Literal["probabilities", "scores", "neighbours", "vectors"] = "vectors"
    stages: tuple[str, ...] = ("val",)
    test_splits: tuple[str, ...] = ("test",)

    def resolve(self, dataset: Dataset, config: CompressConfig) -> CompressConfig:
        """The configuration with the size of the vectors; ConfigError where it names another."""
        found = int(open_table(config.data, cache_dir=cache_folder()).values.shape[1])
        model = config.model
        if model.input_dim not in (None, found):
            raise ConfigError(
                "The vectors have another size than the model.",
                expected=f"{model.input_dim} numbers, as model.input_dim says",
                got=f"{found} numbers",
                where=config.data.vectors or config.data.digits,
                remedy="leave model.input_dim out, or name the right file",
            )
        if model.latent_dim > found:
            raise ConfigError(
                "The encoder would make vectors longer, not shorter.",
                expected=f"model.latent_dim of at most {found}, the numbers of the vectors",
                got=f"model.latent_dim={model.latent_dim}",
                where=config.data.vectors or config.data.digits,
                remedy=f"for example model.latent_dim={max(found // 4, 1)}",
            )
        changed = model.model_copy(update={"input_dim": found})
        return config.model_copy(update={"model": changed})

    def check_data(self, dataset: Dataset, config: CompressConfig) -> list[str]:
        """What is remarkable about the rows; DataError where too few are held out for recall@k."""
        notes = []
        most = max(config.eval.recall_k)
        for split in ("val", "test"):
            asked = dataset.part(split)
            if getattr(config.data, f"{split}_fraction"):
                require_held_out(dataset, split)
            if not len(asked):
                continue
            others = self.companions(dataset, (split,), config)
            pool = len(asked) + len(others)
            if isinstance(config.eval.pool, int):
                pool = min(pool, config.eval.pool)
            if pool <= most + 1:
                raise DataError(
                    f"Recall@{most} needs more rows than there are to look among.",
                    expected=f"more than {most + 1} rows",
                    got=f"{pool}, of {len(asked)} of {split} and {len(others)} others, "
                    f"with eval.pool={config.eval.pool}",
                    remedy=f"lower eval.recall_k, raise eval.pool or data.{split}_fraction",
                )
        if config.loss.function in HARD:
            notes.append(
                f"the rank term of {config.loss.function} counts by sorting and has no gradient: "
                "only the differences of distances train; the term is reported"
            )
        fit = len(dataset.part("fit"))
        if fit < config.train.batch_size:
            notes.append(
                f"there are {fit} rows to learn from, so each batch has all of them "
                f"(train.batch_size={config.train.batch_size})"
            )
        return notes

    def batch_plan(self, samples: Manifest, config: CompressConfig) -> None:
        """Nothing: every row once, in a new order."""
        return

    def batch_unit(self, config: CompressConfig) -> int:
        """Rows have no classes."""
        return 1

    def validation_splits(self, dataset: Dataset, config: CompressConfig) -> tuple[str, ...]:
        """Validation alone; what fills its pool the trainer encodes by itself."""
        return ("val",)

    def companions(
        self, dataset: Dataset, splits: Sequence[str], config: CompressConfig
    ) -> Manifest:
        """The rows that fill the pool of some splits up."""
        return companions(dataset.manifest, splits, pool=config.eval.pool, seed=config.project.seed)

    def create_model(
        self, config: CompressConfig, class_names: Sequence[str], *, trained: bool
    ) -> VectorEncoder:
        """An encoder with random weights; the trainer lets it start from its samples."""
        model = VectorEncoder(config.model)
        freeze_matching(model, config.train.freeze)
        return model

    def create_trainer(
        self,
        config: CompressConfig,
        model: Any,
        *,
        dataset: Dataset,
        steps_per_epoch: int,
        checkpoint_dir: Path,
        callbacks: Sequence[Callback],
    ) -> CompressTrainer:
        """A trainer of the loss that is configured; the model starts from the rows to fit."""
        table = open_table(config.data, cache_dir=cache_folder())
        normalize = config.data.normalize
        model.start_from(VectorRows(dataset.part("fit"), table, normalize).blocks())
        trainer = CompressTrainer(
            model,
            create_loss(config),
            config.train.device,
            checkpoint_dir,
            config=trainer_config(config.train, config.output),
            callbacks=callbacks,
        )
        others = VectorRows(self.companions(dataset, ("val",), config), table, normalize)
        trainer.take(config, others, steps_per_epoch=steps_per_epoch)
        return trainer

    def forward(self, model: torch.nn.Module, batch: Any) -> dict[str, Any]:
        """Ids, vectors (B, D) and embeddings (B, d) of a batch, float32."""
        return {
            "ids": batch.ids,
            "vectors": batch.vectors,
            "embeddings": model(batch.vectors).float(),
        }

    def combine(
        self, parts: Sequence[Part], ids: Sequence[str], *, calibrator: Calibrator | None
    ) -> dict[str, Any]:
        """The rows of the one model, in the order of the ids."""
        (part,) = parts
        return join_by_id([part.rows], ids)

    def evaluate(
        self, outputs: Sequence[dict[str, Any]], truth: Truth, config: CompressConfig
    ) -> CompressResult:
        """Recall of the samples in their pool, beside PCA where the decision holds components."""
        ids = [str(one) for one in truth.samples.id]
        others = [] if truth.companions is None else [str(one) for one in truth.companions.id]
        rows = join_by_id(outputs, [*ids, *others])
        n = len(ids)
        groups = truth.samples.group.codes
        return compress_result(
            ids,
            (rows["vectors"][:n], rows["embeddings"][:n]),
            (rows["vectors"][n:], rows["embeddings"][n:]),
            config,
            components=truth.decision,
            codes=groups if (groups >= 0).any() else None,
        )

    def predict(
        self,
        outputs: Sequence[dict[str, Any]],
        class_names: Sequence[str],
        decision: Any = None,
    ) -> tuple[list[str], list[list[Any]]]:
        """The numbers of each shorter vector."""
        rows = join_by_id(outputs)
        embeddings = np.asarray(rows["embeddings"], np.float32)
        columns = ["id", *(f"z{number}" for number in range(embeddings.shape[1]))]
        return columns, [
            [one, *values] for one, values in zip(rows["ids"], embeddings.tolist(), strict=True)
        ]

    def read_decision(
        self, run_folder: Path, checkpoint: str, config: CompressConfig
    ) -> PrincipalComponents:
        """The principal components of the rows to fit, to compare with."""
        splits = read_row_splits(run_folder / "splits.csv", verify=False)
        table = open_table(config.data, cache_dir=cache_folder())
        fit = splits.select(splits.rows("fit"))
        of_unit = config.data.normalize or config.loss.geometry == "cosine"
        return principal_components(VectorRows(fit, table, of_unit).blocks())


def create_loss(config: CompressConfig) -> RankDistanceLoss:
    """The loss that the `loss` section describes."""
    settings = config.loss.model_dump(exclude={"function"})
    return LOSSES[config.loss.function](**settings)
