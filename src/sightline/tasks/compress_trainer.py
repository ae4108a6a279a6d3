"""Training an encoder of vectors: its loss, and validation by the neighbours it keeps.

B vectors in a batch, D numbers before and d after.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sightline.data.vector_samples import VectorRows
from sightline.losses.rank_distance import RankDistanceLoss
from sightline.models.vector_encoder import VectorEncoder
from sightline.tasks.compress_config import CompressConfig
from sightline.tasks.compress_judging import recalls_of
from sightline.training.evaluator import join_by_id
from sightline.training.recipe import optimizer_and_schedule
from sightline.training.trainer import BaseTrainer


class CompressTrainer(BaseTrainer):
    """Trains a VectorEncoder; its loss_fn compares a batch before and after."""

    model: VectorEncoder
    loss_fn: RankDistanceLoss
    settings: CompressConfig
    steps_per_epoch: int
    companions: VectorRows
    """What fills the pool of validation."""
    filled: dict[str, Tensor]
    """The companions' vectors and embeddings, by the weights that are being judged."""

    def take(self, config: CompressConfig, companions: VectorRows, *, steps_per_epoch: int) -> None:
        """Take in what the trainer must know of its configuration and its samples."""
        self.settings, self.steps_per_epoch = config, steps_per_epoch
        self.companions, self.filled = companions, {}

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """The loss of a batch, and its two terms."""
        total, rank, pairdist = self.loss_fn(batch.vectors, self.model(batch.vectors))
        parts = {"rank": rank.detach(), "pairdist": pairdist.detach()}
        return {"loss": total, "parts": parts}

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Ids, vectors (B, D) and embeddings (B, d), and the loss of the batch with its weight."""
        if batch_idx == 0:
            # Here, where the averaged weights are in place if there are any.
            self.filled = self._encode_companions()
        embeddings = self.model(batch.vectors)
        total, _, _ = self.loss_fn(batch.vectors, embeddings)
        return {
            "ids": batch.ids,
            "vectors": batch.vectors,
            "embeddings": embeddings,
            "loss": total.detach(),
        }

    def configure_optimizers(self) -> Any:
        """The optimizer and schedule of the `train` section."""
        return optimizer_and_schedule(
            self.model, self.settings.train, steps_per_epoch=self.steps_per_epoch
        )

    def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
        """The loss, and recall@k of the validation rows in their pool."""
        rows = join_by_id(outputs)
        sizes = [len(output["ids"]) for output in outputs]
        weighed = sum(float(o["loss"]) * n for o, n in zip(outputs, sizes, strict=True))
        recalls, _ = recalls_of(
            (rows["vectors"], rows["embeddings"]),
            (self.filled["vectors"].numpy(), self.filled["embeddings"].numpy()),
            self.settings,
        )
        means = {f"recall_at_{k}": float(values.mean()) for k, values in recalls.items()}
        return {"loss": weighed / sum(sizes), **means}

    def _encode_companions(self) -> dict[str, Tensor]:
        vectors = [torch.from_numpy(block) for block in self.companions.blocks()]
        if not vectors:
            width = self.settings.model.latent_dim
            dimension = self.companions.dimension
            return {"vectors": torch.empty(0, dimension), "embeddings": torch.empty(0, width)}
        found = [self.model(block.to(self.device)).float().cpu() for block in vectors]
        return {"vectors": torch.cat(vectors), "embeddings": torch.cat(found)}
