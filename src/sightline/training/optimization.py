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
    '"interval": "step" moves a torch scheduler every step instead of every epoch; '
    '"clip": False leaves the gradients out of grad_clip_norm'
)


@dataclass(frozen=True, slots=True)
class OptimizerPlan:
    """One optimizer with its schedule, if any; `interval` says when a torch scheduler moves.

    Without `clip` its gradients neither count in the norm that is clipped nor are cut.
    """

    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    interval: str = "epoch"
    clip: bool = True

    @property
    def is_function_of_step(self) -> bool:
        """Whether the schedule is ours: set from the step alone, so nothing of it is saved."""
        return _is_ours(self.scheduler)


def optimizer_plans(configured: Any) -> list[OptimizerPlan]:
    """The plans that a trainer's configure_optimizers described.

    Raises TrainingError, showing the right form, for anything else.
    """
    is_list = isinstance(configured, list | tuple)
    if is_list and configured:
        return [plan for item in configured for plan in optimizer_plans(item)]
    if isinstance(configured, torch.optim.Optimizer):
        return [OptimizerPlan(configured)]
    if isinstance(configured, Mapping) and "optimizer" in configured:
        return _plans_of_mapping(configured)
    raise TrainingError(
        "configure_optimizers returned something the trainer cannot use.",
        expected=RIGHT_FORM,
        got=f"{'an empty ' if is_list else ''}{type(configured).__name__}",
    )


def _plans_of_mapping(configured: Mapping[str, Any]) -> list[OptimizerPlan]:
    unknown = set(configured) - {"optimizer", "scheduler", "interval", "clip"}
    interval, clip = configured.get("interval", "epoch"), configured.get("clip", True)
    if unknown or interval not in ("epoch", "step") or not isinstance(clip, bool):
        raise TrainingError(
            "configure_optimizers returned a mapping with an unknown key, interval or clip.",
            expected=RIGHT_FORM,
            got=", ".join(map(str, configured)) + f"; interval {interval!r}, clip {clip!r}",
        )
    optimizers, schedulers = configured["optimizer"], configured.get("scheduler")
    if isinstance(optimizers, torch.optim.Optimizer):
        optimizers = [optimizers]
    if (
        not isinstance(optimizers, list | tuple)
        or not optimizers
        or not all(isinstance(one, torch.optim.Optimizer) for one in optimizers)
    ):
        raise TrainingError(
            'configure_optimizers returned an "optimizer" that is none.',
            expected=RIGHT_FORM,
            got=f"{optimizers!r:.80}",
        )
    if not isinstance(schedulers, list | tuple):
        schedulers = [schedulers] + [None] * (len(optimizers) - 1)
    if len(schedulers) != len(optimizers):
        raise TrainingError(
            "configure_optimizers returned more schedulers than optimizers, or fewer.",
            expected=f"{len(optimizers)} schedulers, one for each optimizer (None for no schedule)",
            got=len(schedulers),
        )
    for scheduler in schedulers:
        if not (scheduler is None or isinstance(scheduler, LRScheduler) or _is_ours(scheduler)):
            raise TrainingError(
                "configure_optimizers returned a scheduler that nothing would move.",
                expected="a torch scheduler, or a StepSchedule with set(step)",
                got=f"{scheduler!r:.80}",
            )
    return [
        OptimizerPlan(*pair, interval, clip) for pair in zip(optimizers, schedulers, strict=True)
    ]


def _is_ours(scheduler: Any) -> bool:
    return callable(getattr(scheduler, "set", None))


class Optimization:
    """The optimizers of a trainer, their schedules and their gradients, in the order of a step.

    With a gradient scaler (fp16) non-finite gradients are expected now and then: the scaler leaves
    that step out.
    """

    def __init__(self, plans: Sequence[OptimizerPlan], scaler: torch.amp.GradScaler) -> None:
        self.plans = tuple(plans)
        self._scaler = scaler
        self._scales = scaler.is_enabled()
        self.optimizers = tuple(plan.optimizer for plan in self.plans)
        self._clipped = tuple(plan.optimizer for plan in self.plans if plan.clip)
        self._whole = tuple(plan.optimizer for plan in self.plans if not plan.clip)
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
        """Clear the gradients, and set the rates that depend on the step (from 0) alone."""
        for schedule in self._by_step:
            schedule.set(step)
        # What zero_grad does without its profiling, which costs a small model a tenth of its step.
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, scaled if need be."""
        (self._scaler.scale(loss) if self._scales else loss).backward()

    def unscale(self) -> None:
        """Give the gradients their true size."""
        if self._scales:
            for optimizer in self.optimizers:
                self._scaler.unscale_(optimizer)

    def clip(self, most: float | None) -> bool:
        """Cut the joint L2 norm of the gradients to `most`; whether the step may be made.

        False, with the gradients unchanged, when one of them is NaN or infinite.
        """
        if most is not None:
            return self._clip_norm(most) or self._scales
        return self._scales or self._are_finite(_gradients(self.optimizers))

    def step(self) -> bool:
        """Change the weights; False when the scaler left the step out."""
        if not self._scales:
            for optimizer in self.optimizers:
                optimizer.step()
            return True
        for optimizer in self.optimizers:
            self._scaler.step(optimizer)
        before = self._scaler.get_scale()
        self._scaler.update()
        return bool(self._scaler.get_scale() >= before)

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

    def _clip_norm(self, most: float) -> bool:
        norm = torch.nn.utils.get_total_norm(_gradients(self._clipped))
        if not (math.isfinite(norm.item()) and self._are_finite(_gradients(self._whole))):
            return False
        for optimizer in self._clipped:
            for group in optimizer.param_groups:
                torch.nn.utils.clip_grads_with_norm_(group["params"], most, norm)
        return True


def _gradients(optimizers: Sequence[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """Every gradient the optimizers are about to use."""
    return [
        gradient
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if (gradient := parameter.grad) is not None
    ]
