"""Training an identity embedding: the sum of its losses, each logged, and validation by search.

B images, D embedding size, C identities of training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline.data.dataset import Dataset
from sightline.losses.center import CenterLoss
from sightline.losses.circle import circle_loss
from sightline.losses.smoothed_cross_entropy import SmoothedCrossEntropy
from sightline.losses.triplet import batch_hard_triplet
from sightline.models.reid_model import ReidModel
from sightline.tasks.reid_config import ReidConfig
from sightline.tasks.reid_judging import Judged, judge
from sightline.tasks.reid_scoring import short_scores
from sightline.training.evaluator import join_by_id
from sightline.training.recipe import optimizer_and_schedule
from sightline.training.trainer import BaseTrainer


class ReidTrainer(BaseTrainer):
    """Trains a ReidModel; its loss_fn are the centres of the identities, or None."""

    model: ReidModel
    loss_fn: CenterLoss | None
    settings: ReidConfig
    steps_per_epoch: int
    judged: Judged | None
    """How validation is judged; None without validation."""
    learnt: Tensor
    """(C,) numbers of the identities with pictures to fit; only they have a say in the softmax."""
    place: Tensor
    """Where each identity of the data is among them."""

    def take(self, config: ReidConfig, dataset: Dataset, *, steps_per_epoch: int) -> None:
        """Take in what the trainer must know of its configuration and its samples."""
        counts = np.array(dataset.class_counts("fit"))
        self.settings, self.steps_per_epoch = config, steps_per_epoch
        self.learnt = torch.from_numpy(np.flatnonzero(counts)).to(self.device)
        self.place = torch.from_numpy(np.cumsum(counts > 0) - 1).to(self.device)
        self.identity_loss = SmoothedCrossEntropy(config.loss.id.label_smoothing)
        has_any = len(dataset.manifest.rows("val")) > 0
        self.judged = judge(dataset.part("val"), config) if has_any else None

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """The sum of the losses, and each of them, of a batch of augmented images."""
        features, logits = self.model(batch.images, batch.colour, learning=True)
        logits = logits[:, self.learnt]
        targets, settings = self.place[batch.labels], self.settings.loss
        parts = {"id": self.identity_loss(logits, targets)}
        weights = {"id": settings.id.weight}
        if settings.triplet.weight:
            margin = settings.triplet.margin
            parts["triplet"] = batch_hard_triplet(
                features.before, targets, margin=None if margin == "soft" else margin
            )
            weights["triplet"] = settings.triplet.weight
        if settings.circle.weight:
            parts["circle"] = circle_loss(
                features.after, targets, margin=settings.circle.margin, scale=settings.circle.scale
            )
            weights["circle"] = settings.circle.weight
        if self.loss_fn is not None:
            parts["center"] = self.loss_fn(features.before, targets)
            weights["center"] = settings.center.weight
        loss = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
        right = (logits.detach().argmax(1) == targets).float().mean()
        shown = {name: value.detach() for name, value in parts.items()}
        return {"loss": loss, "parts": {**shown, "accuracy": right}}

    def on_before_optimizer_step(self, step: int) -> None:
        """Let the centres move as if their loss had the weight 1."""
        if self.loss_fn is not None:
            self.loss_fn.rescale_gradient(self.settings.loss.center.weight)

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Ids and embeddings (B, D) in float32 of a batch."""
        return {"ids": batch.ids, "embeddings": self.model(batch.images)}

    def configure_optimizers(self) -> Any:
        """That of the `train` section for the model; for the centres plain gradient descent.

        What clips the model's gradients leaves those of the centres alone.
        """
        train = self.settings.train
        planned = optimizer_and_schedule(
            self.model,
            train,
            steps_per_epoch=self.steps_per_epoch,
            backbone_factor=train.backbone_lr_factor,
            bias_factor=train.bias_lr_factor,
        )
        if self.loss_fn is None:
            return planned
        centres = torch.optim.SGD(self.loss_fn.parameters(), lr=self.settings.loss.center.lr)
        return [planned, {"optimizer": centres, "clip": False}]

    def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
        """The loss over neighbours, mAP, mINP and CMC of the queries of validation."""
        if self.judged is None:
            return {}
        rows = join_by_id(outputs, [str(one) for one in self.judged.samples.id])
        return short_scores(self.judged, rows["embeddings"], self.settings)
