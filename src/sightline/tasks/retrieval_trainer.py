"""Training an embedding: the schedule of backbone and margin, the losses, validation by search.

B images, D embedding size, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline.data.dataset import Dataset
from sightline.losses.cross_batch_memory import CrossBatchMemory
from sightline.losses.margin_softmax import margin_at, margin_cross_entropy
from sightline.losses.supervised_contrastive import supervised_contrastive
from sightline.losses.triplet import batch_hard_triplet
from sightline.metrics.neighbourhood import neighbourhood_loss
from sightline.metrics.retrieval import retrieval_scores
from sightline.models.embedder import Embedder
from sightline.tasks.retrieval_protocol import Protocol, choose_protocol
from sightline.tasks.retrieve_config import WITH_HEAD, RetrieveConfig
from sightline.training.evaluator import join_by_id
from sightline.training.recipe import optimizer_and_schedule
from sightline.training.runtime import gather_from_processes, process
from sightline.training.trainer import BaseTrainer


class RetrievalTrainer(BaseTrainer):
    """Trains an Embedder; its loss_fn is the memory of earlier batches, or None."""

    model: Embedder
    loss_fn: CrossBatchMemory | None
    settings: RetrieveConfig
    steps_per_epoch: int
    protocol: Protocol
    """How validation is judged."""
    learnt: Tensor
    """(K,) numbers of the classes with pictures to fit; only they have a say in the softmax."""
    place: Tensor
    """(C,) where each class is among them."""
    backbone_learns: tuple[bool, ...]
    """Whether each of the backbone's parameters learns once the frozen epochs are over."""

    def take(self, config: RetrieveConfig, dataset: Dataset, *, steps_per_epoch: int) -> None:
        """Take in what the trainer must know of its configuration and its samples."""
        counts = np.array(dataset.class_counts("fit"))
        self.settings, self.steps_per_epoch = config, steps_per_epoch
        self.learnt = torch.from_numpy(np.flatnonzero(counts))
        self.place = torch.from_numpy(np.cumsum(counts > 0) - 1)
        self.backbone_learns = tuple(one.requires_grad for one in self.model.backbone.parameters())
        self.protocol = choose_protocol(dataset, "val", leave_out=config.eval.leave_out)

    def on_train_epoch_start(self, epoch: int) -> None:
        """Let the backbone rest in the first epochs; by the epoch alone, so resuming is exact."""
        rests = epoch <= self.settings.train.frozen_epochs
        for parameter, learns in zip(
            self.model.backbone.parameters(), self.backbone_learns, strict=True
        ):
            parameter.requires_grad_(learns and not rests)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """The loss of a batch of augmented images."""
        return {"loss": self._loss(self.model(batch.images, batch.colour), batch.labels)}

    def _loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        loss, epoch = self.settings.loss, self.progress.epoch + 1
        if loss.kind in WITH_HEAD:
            assert self.model.head is not None
            assert loss.used_margin is not None
            cosines = self.model.head(embeddings)[:, self.learnt.to(embeddings.device)]
            return margin_cross_entropy(
                cosines,
                self.place.to(labels.device)[labels],
                kind=loss.kind,
                margin=margin_at(
                    epoch,
                    margin=loss.used_margin,
                    without=self.settings.train.frozen_epochs,
                    ramp=loss.ramp_epochs,
                ),
                scale=loss.scale,
            )
        memory = self._recall(epoch)
        if loss.kind == "triplet":
            value = batch_hard_triplet(embeddings, labels, margin=loss.used_margin, memory=memory)
        else:
            value = supervised_contrastive(
                embeddings, labels, temperature=loss.temperature, memory=memory
            )
        self._remember(embeddings, labels)
        return value

    def _recall(self, epoch: int) -> tuple[Tensor, Tensor] | None:
        """Earlier batches, once the backbone learns: embeddings of a resting one soon are stale."""
        if self.loss_fn is None or epoch <= self.settings.train.frozen_epochs:
            return None
        return self.loss_fn.recall()

    def _remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """Keep a batch, those of the other processes too, so that all remember the same."""
        if self.loss_fn is None:
            return
        kept = [(embeddings.detach(), labels)]
        if process().count > 1:
            mine = (embeddings.detach().cpu(), labels.cpu())
            kept = [
                (e.to(labels.device), n.to(labels.device)) for e, n in gather_from_processes(mine)
            ]
        for vectors, classes in kept:
            self.loss_fn.remember(vectors, classes)

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Ids, embeddings (B, D) in float32 and targets (B,) of a batch."""
        return embed_batch(self.model, batch)

    def configure_optimizers(self) -> Any:
        """The optimizer and schedule of the `train` section, over the resting backbone too."""
        return optimizer_and_schedule(
            self.model,
            self.settings.train,
            steps_per_epoch=self.steps_per_epoch,
            backbone_factor=self.settings.train.backbone_lr_factor,
        )

    def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
        """Loss over neighbours, Recall@1 and mAP@R of the validation queries in their gallery."""
        rows = join_by_id(outputs)
        searched = self.protocol.search_space(rows)
        loss = neighbourhood_loss(*searched.vectors, **searched.truth)
        scores = retrieval_scores(*searched.vectors, **searched.truth, recall_k=(1,))
        return {
            "loss": loss,
            "recall_at_1": scores.mean("recall_at_1"),
            "map_at_r": scores.mean("ap_at_r"),
        }


def embed_batch(model: torch.nn.Module, batch: Any) -> dict[str, Any]:
    """Ids, embeddings (B, D) in float32 and targets (B,) of a batch."""
    return {"ids": batch.ids, "embeddings": model(batch.images), "targets": batch.labels}
