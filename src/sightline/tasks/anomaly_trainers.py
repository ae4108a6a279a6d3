"""How the two kinds of anomaly detector are made: a student is trained, a memory is computed.

B images of side S; scores (B,) are higher where a picture is more anomalous.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sightline.data.synthetic_defects import COPY
from sightline.errors import ConfigError
from sightline.metrics.auroc import compute_auroc
from sightline.models.patchcore import PatchCore
from sightline.models.stfpm import Stfpm
from sightline.runs import log
from sightline.tasks.anomaly_config import AnomalyConfig
from sightline.training.evaluator import join_by_id
from sightline.training.recipe import optimizer_and_schedule
from sightline.training.runtime import process
from sightline.training.trainer import BaseTrainer

MIB = 2**20


def sets_threshold(ids: Sequence[str], seed: int) -> npt.NDArray[np.bool_]:
    """(N,) which of the held-out normal pictures set the threshold; the others choose the epoch.

    Half of them, in an order that depends on the seed and the ids alone. A picture that chose the
    epoch has a lower score than a new one would: a threshold set by it would not keep its promise.
    """
    keys = [blake2b(f"{seed}\0threshold\0{one}".encode(), digest_size=8).digest() for one in ids]
    chosen = np.zeros(len(ids), bool)
    chosen[sorted(range(len(ids)), key=keys.__getitem__)[: (len(ids) + 1) // 2]] = True
    return chosen


def may_choose(
    ids: Sequence[str], normal: npt.NDArray[np.bool_], seed: int
) -> npt.NDArray[np.bool_]:
    """(N,) which pictures may choose the epoch.

    All but those that set the threshold, and the defects that were made of these.
    """
    names = [one for one, is_good in zip(ids, normal, strict=True) if is_good]
    kept = {one for one, sets in zip(names, sets_threshold(names, seed), strict=True) if sets}
    return np.array([one.removeprefix(COPY) not in kept for one in ids], bool)


class AnomalyTrainer(BaseTrainer):
    """What both have in common: validation looks at scores, and at a loss where there is one."""

    settings: AnomalyConfig
    normal: int
    """Code of the label of normal pictures."""
    images: int
    """Number of pictures to learn from."""

    def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
        """The mean loss of normal pictures that may choose the epoch, and their image AUROC.

        Each only where the split has what it needs. Where no epoch is chosen, all of them count.
        """
        rows = join_by_id(outputs)
        normal, metrics = rows["targets"] == self.normal, {}
        used = np.ones(len(normal), bool)
        if "losses" in rows:
            used = may_choose(rows["ids"], normal, self.settings.project.seed)
            if (used & normal).any():
                metrics["loss"] = float(rows["losses"][used & normal].mean())
        if (used & normal).any() and (used & ~normal).any():
            metrics["image_auroc"] = compute_auroc(rows["scores"][used], ~normal[used])
        return metrics


class StfpmTrainer(AnomalyTrainer):
    """Trains the student of an Stfpm; the teacher's features of plain pictures are kept."""

    model: Stfpm
    steps_per_epoch: int

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._kept: dict[str, list[torch.Tensor]] = {}
        self._bytes_each: int | None = None

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """How far the student is from the teacher on a batch of normal pictures."""
        kept = self._teacher_features(batch)
        return {
            "loss": self.loss_fn(*self.model.features(batch.images, batch.colour, teacher=kept))
        }

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Ids, targets, scores and losses, one of each for every picture."""
        teacher, student = self.model.features(batch.images)
        pairs = zip(
            zip(*(layer.split(1) for layer in teacher), strict=True),
            zip(*(layer.split(1) for layer in student), strict=True),
            strict=True,
        )
        return {
            "ids": batch.ids,
            "targets": batch.labels,
            "scores": self.model.compare(teacher, student, batch.images.shape[-2:]).score,
            "losses": torch.stack([self.loss_fn(*pair) for pair in pairs]),
        }

    def configure_optimizers(self) -> Any:
        """The optimizer and schedule of the `train` section."""
        train = self.settings.train
        return optimizer_and_schedule(self.model, train, steps_per_epoch=self.steps_per_epoch)

    def _teacher_features(self, batch: Any) -> list[torch.Tensor] | None:
        """Features (B, C, h, w) of each layer, computed once for each picture; None: not kept.

        Picture by picture: what is kept is then a function of the picture alone, whatever batch it
        came in first, and a resumed training has the very same numbers.
        """
        if batch.colour is not None or not self._keeps():
            return None
        for place, one in enumerate(batch.ids):
            if one not in self._kept:
                self._kept[one] = self.model.teacher_features(batch.images[place : place + 1])
        return [
            torch.cat(layer) for layer in zip(*map(self._kept.__getitem__, batch.ids), strict=True)
        ]

    def _keeps(self) -> bool:
        """Whether pictures look the same in each epoch and all their features fit."""
        train, augment = self.settings.train, self.settings.data.augment
        if augment.preset != "none" or augment != type(augment)():
            return False
        return self.images * self._bytes_per_image() <= train.teacher_cache_mib * MIB

    def _bytes_per_image(self) -> int:
        if self._bytes_each is None:
            side = self.settings.train.img_size
            empty = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=self.device)
            self._bytes_each = sum(one.nbytes for one in self.model.teacher_features(empty))
        return self._bytes_each


class PatchCoreTrainer(AnomalyTrainer):
    """Fills the memory of a PatchCore from the normal pictures, once, without any epoch."""

    model: PatchCore

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Never called: there is nothing to train."""
        raise NotImplementedError("PatchCore is computed: fit with num_epochs=0")

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Ids, targets and scores of a batch."""
        return {
            "ids": batch.ids,
            "targets": batch.labels,
            "scores": self.model(batch.images).score,
        }

    def finalize(self, loader: Iterable[Any]) -> None:
        """Remember patches of every normal picture; ConfigError with several processes."""
        if process().count > 1:
            raise ConfigError(
                "PatchCore remembers the pictures of one process.",
                got=f"{process().count} processes",
                where="model.method=patchcore",
                remedy="start it without torchrun",
            )
        settings = self.settings.model
        report = self.model.fit(
            (batch.images for batch in loader),
            seed=self.settings.project.seed,
            coreset_ratio=settings.coreset_ratio,
            memory_mib=settings.memory_mib,
        )
        log("MODEL", f"memory: {report.summary()}")
