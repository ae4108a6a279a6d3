"""The optimizer and schedule that a `train` section describes."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sightline.training import schedules
from sightline.training.optim import create_optimizer
from sightline.training.schedules import Schedule, StepSchedule
from sightline.training.settings import PictureTrainConfig, TrainConfig


def optimizer_and_schedule(
    model: nn.Module,
    train: TrainConfig,
    *,
    steps_per_epoch: int,
    backbone_factor: float = 1.0,
    bias_factor: float = 1.0,
) -> dict[str, Any]:
    """What configure_optimizers returns for a `train` section; errors as of create_optimizer."""
    optimizer = create_optimizer(
        model,
        name=train.optimizer,
        lr=train.lr,
        weight_decay=train.weight_decay,
        layer_decay=train.layer_decay if isinstance(train, PictureTrainConfig) else None,
        backbone_factor=backbone_factor,
        bias_factor=bias_factor,
        momentum=train.momentum,
    )
    if train.scheduler == "plateau":
        plateau = ReduceLROnPlateau(
            optimizer,
            mode="max" if train.monitor is not None and train.mode == "max" else "min",
            factor=train.gamma,
            patience=train.plateau_patience,
            min_lr=train.lr * train.min_lr_factor,
        )
        return {"optimizer": optimizer, "scheduler": plateau}
    schedule = schedule_of(train, steps_per_epoch=steps_per_epoch)
    return {"optimizer": optimizer, "scheduler": StepSchedule([optimizer], schedule)}


def schedule_of(train: TrainConfig, *, steps_per_epoch: int) -> Schedule:
    """The learning rate's factor as a function of the step; epochs become steps here, once."""

    def steps(epochs: float) -> int:
        return round(epochs * steps_per_epoch)

    total = max(steps(train.epochs), 1)
    warmup, start, floor = steps(train.warmup_epochs), train.warmup_factor, train.min_lr_factor
    if train.scheduler == "cosine":
        return schedules.cosine(total, warmup=warmup, floor=floor, warmup_floor=start)
    if train.scheduler == "linear":
        return schedules.linear(total, warmup=warmup, floor=floor, warmup_floor=start)
    if train.scheduler == "multistep":
        milestones = [steps(epoch) for epoch in train.milestones]
        return schedules.multistep(milestones, train.gamma, warmup=warmup, warmup_floor=start)
    if train.scheduler == "warm_restarts":
        return schedules.warm_restarts(
            max(steps(train.restart_epochs), 1),
            train.restart_multiplier,
            warmup=warmup,
            floor=floor,
            warmup_floor=start,
        )
    return schedules.constant(warmup=warmup, warmup_floor=start)
