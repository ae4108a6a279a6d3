"""What configure_optimizers may return, brought into one form, and when schedules move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sightline.errors import TrainingError

RIGHT_FORM = (
    'an optimizer, {"optimizer": ..., "scheduler": ...}, or a list of these; '
    '"interval": "step" moves a torch scheduler every step instead of every epoch'
)


@dataclass(frozen=True, slots=True)
class OptimizerPlan:
    """One optimizer with its schedule, if any; `interval` says when a torch scheduler moves."""

    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    interval: str = "epoch"

    @property
    def is_function_of_step(self) -> bool:
        """Whether the schedule is ours: set from the step alone, so nothing of it is saved."""
        return hasattr(self.scheduler, "set")


def optimizer_plans(configured: Any) -> list[OptimizerPlan]:
    """The plans that a trainer's configure_optimizers described.

    Raises TrainingError, showing the right form, for anything else.
    """
    if isinstance(configured, list | tuple):
        return [plan for item in configured for plan in optimizer_plans(item)]
    if isinstance(configured, torch.optim.Optimizer):
        return [OptimizerPlan(configured)]
    if isinstance(configured, Mapping) and "optimizer" in configured:
        return _plans_of_mapping(configured)
    raise TrainingError(
        "configure_optimizers returned something the trainer cannot use.",
        expected=RIGHT_FORM,
        got=type(configured).__name__,
    )


def _plans_of_mapping(configured: Mapping[str, Any]) -> list[OptimizerPlan]:
    unknown = set(configured) - {"optimizer", "scheduler", "interval"}
    interval = configured.get("interval", "epoch")
    if unknown or interval not in ("epoch", "step"):
        raise TrainingError(
            "configure_optimizers returned a mapping with an unknown key or interval.",
            expected=RIGHT_FORM,
            got=dict(configured),
        )
    optimizers, schedulers = configured["optimizer"], configured.get("scheduler")
    if isinstance(optimizers, torch.optim.Optimizer):
        optimizers = [optimizers]
    if not isinstance(schedulers, list | tuple):
        schedulers = [schedulers] + [None] * (len(optimizers) - 1)
    if len(schedulers) != len(optimizers):
        raise TrainingError(
            "configure_optimizers returned more schedulers than optimizers, or fewer.",
            expected=f"{len(optimizers)} schedulers, one for each optimizer (None for no schedule)",
            got=len(schedulers),
        )
    return [OptimizerPlan(*pair, interval) for pair in zip(optimizers, schedulers, strict=True)]


def schedule_before_step(plans: list[OptimizerPlan], step: int) -> None:
    """Set the learning rates of step `step` (from 0) where they are a function of it."""
    for plan in plans:
        if plan.is_function_of_step:
            plan.scheduler.set(step)


def schedule_after_step(plans: list[OptimizerPlan]) -> None:
    """Move the torch schedulers that move every step."""
    for plan in plans:
        if plan.interval == "step" and isinstance(plan.scheduler, LRScheduler):
            plan.scheduler.step()


def schedule_after_epoch(plans: list[OptimizerPlan], monitored: float | None) -> None:
    """Move the torch schedulers that move every epoch; plateau needs the monitored value."""
    for plan in plans:
        if isinstance(plan.scheduler, ReduceLROnPlateau):
            if monitored is None:
                raise TrainingError(
                    "A plateau scheduler needs a validation metric, and there was no validation.",
                    remedy="give fit a validation loader, or use another scheduler",
                )
            plan.scheduler.step(monitored)
        elif plan.interval == "epoch" and isinstance(plan.scheduler, LRScheduler):
            plan.scheduler.step()


def parameters_with_gradients(plans: list[OptimizerPlan]) -> list[torch.Tensor]:
    """Every parameter that the optimizers are about to change."""
    return [
        parameter
        for plan in plans
        for group in plan.optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]


def clip_gradients(parameters: list[torch.Tensor], most: float) -> bool:
    """Cut the joint L2 norm of all gradients to `most`; False, changing nothing, if not finite."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not math.isfinite(norm.item()):
        return False
    torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return True
