"""What configure_optimizers may return, brought into one form, and when schedules move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sightline.errors import TrainingError
from sightline.training.finite import FiniteCheck

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


class Optimization:
    """The optimizers of a trainer and their schedules, moved at the right moments."""

    def __init__(self, plans: Sequence[OptimizerPlan] = ()) -> None:
        self.plans = tuple(plans)
        self.optimizers = tuple(plan.optimizer for plan in self.plans)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        self._are_finite = FiniteCheck({p.device for group in groups for p in group["params"]})
        self._by_step = [plan.scheduler for plan in self.plans if plan.is_function_of_step]
        moved = [plan for plan in self.plans if isinstance(plan.scheduler, LRScheduler)]
        self._plateaus = [p.scheduler for p in moved if isinstance(p.scheduler, ReduceLROnPlateau)]
        others = [plan for plan in moved if not isinstance(plan.scheduler, ReduceLROnPlateau)]
        self._each_step = [plan.scheduler for plan in others if plan.interval == "step"]
        self._each_epoch = [plan.scheduler for plan in others if plan.interval == "epoch"]

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first parameter group; NaN without an optimizer."""
        return self.optimizers[0].param_groups[0]["lr"] if self.optimizers else math.nan

    def before_step(self, step: int) -> None:
        """Clear the gradients, and set the rates of step `step` (from 0) that depend on it alone."""
        for schedule in self._by_step:
            schedule.set(step)
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def after_step(self) -> None:
        """Move the torch schedulers that move every step."""
        for scheduler in self._each_step:
            scheduler.step()

    def after_epoch(self, monitored: float | None) -> None:
        """Move the torch schedulers that move every epoch; plateau needs the monitored value."""
        for scheduler in self._each_epoch:
            scheduler.step()
        for scheduler in self._plateaus:
            if monitored is None:
                raise TrainingError(
                    "A plateau scheduler needs a validation metric, and there was no validation.",
                    remedy="give fit a validation loader, or use another scheduler",
                )
            scheduler.step(monitored)

    def gradients_are_finite(self) -> bool:
        """Whether no gradient holds a NaN or an infinity."""
        return self._are_finite(self._gradients())

    def clip(self, most: float) -> bool:
        """Cut the joint L2 norm of all gradients to `most`; False, changing nothing, if not finite."""
        norm = torch.nn.utils.get_total_norm(self._gradients())
        if not math.isfinite(norm.item()):
            return False
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                torch.nn.utils.clip_grads_with_norm_(group["params"], most, norm)
        return True

    def _gradients(self) -> list[torch.Tensor]:
        """Every gradient the optimizers are about to use."""
        return [
            gradient
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
            if (gradient := parameter.grad) is not None
        ]
