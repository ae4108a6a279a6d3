"""Learning rate schedules: pure functions of the optimizer step.

A schedule maps a step, counted from 0 and read before the update, to a factor of the peak rate.
There is nothing to save: a resumed run asks for its step and gets the same factor.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from torch.optim import Optimizer

from sightline.errors import ConfigError

Schedule = Callable[[int], float]


def constant(*, warmup: int = 0, warmup_floor: float = 0.0) -> Schedule:
    """A factor of 1 after the warm-up.

    Warm-up, here and below: a straight line from `warmup_floor` at step 0 to the schedule's own
    start at step `warmup` (gradual warm-up, Goyal et al., "Accurate, Large Minibatch SGD", section
    2.2, 2017). A warm-up that leaves no step of a schedule of known length is a ConfigError.

    >>> [constant(warmup=4)(step) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    return _with_warmup(lambda step: 1.0, warmup, warmup_floor)


def cosine(
    total: int, *, warmup: int = 0, floor: float = 0.0, warmup_floor: float = 0.0
) -> Schedule:
    """Half a cosine from 1 at step `warmup` to `floor` at step `total` - 1, the last one.

    Loshchilov and Hutter, "SGDR", equation 5, 2017, with one period; their period ends one step
    after the last, ours on it, so that the last rate is the one that was asked for.

    >>> [round(cosine(5, floor=0.1)(step), 3) for step in range(5)]
    [1.0, 0.868, 0.55, 0.232, 0.1]
    """
    last = _last_step(total, warmup)

    def factor(step: int) -> float:
        return _half_cosine(_progress(step, warmup, last), floor)

    return _with_warmup(factor, warmup, warmup_floor)


def linear(
    total: int, *, warmup: int = 0, floor: float = 0.0, warmup_floor: float = 0.0
) -> Schedule:
    """A straight line from 1 at step `warmup` to `floor` at step `total` - 1, the last one.

    >>> [linear(5)(step) for step in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    last = _last_step(total, warmup)

    def factor(step: int) -> float:
        return 1.0 - (1.0 - floor) * _progress(step, warmup, last)

    return _with_warmup(factor, warmup, warmup_floor)


def multistep(
    milestones: Sequence[int], gamma: float = 0.1, *, warmup: int = 0, warmup_floor: float = 0.0
) -> Schedule:
    """`gamma` to the number of milestones passed; a milestone is the first step after its fall.

    Milestones count from step 0 of training, and one inside the warm-up lowers the rest of it.

    >>> [round(multistep([2, 3])(step), 3) for step in range(5)]
    [1.0, 1.0, 0.1, 0.01, 0.01]
    """
    ordered = sorted(milestones)
    return _with_warmup(lambda step: gamma ** bisect_right(ordered, step), warmup, warmup_floor)


def warm_restarts(
    period: int,
    multiplier: float = 1.0,
    *,
    warmup: int = 0,
    floor: float = 0.0,
    warmup_floor: float = 0.0,
) -> Schedule:
    """Half a cosine from 1 towards `floor` again and again, each `multiplier` times as long.

    Loshchilov and Hutter, "SGDR", equation 5, 2017: the first period has `period` steps and starts
    at step `warmup`; `floor` would be reached at the step that is 1 again. `multiplier` >= 1.

    >>> [round(warm_restarts(2, 2)(step), 3) for step in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """
    if period < 1 or multiplier < 1:
        raise ConfigError(
            "Restarts need a period of at least one step that does not shrink.",
            expected="period >= 1 and multiplier >= 1",
            got=f"period {period}, multiplier {multiplier}",
        )

    def factor(step: int) -> float:
        position, length = float(max(step - warmup, 0)), float(period)
        if multiplier == 1:
            return _half_cosine(position % length / length, floor)
        while position >= length:
            position, length = position - length, length * multiplier
        return _half_cosine(position / length, floor)

    return _with_warmup(factor, warmup, warmup_floor)


class StepSchedule:
    """One schedule over every group of one or more optimizers; holds no state of its own.

    The peak rate of a group is its `initial_lr`, which is saved and loaded with the optimizer.
    Where there is none yet, the group's rate at construction becomes it.
    """

    def __init__(self, optimizers: Sequence[Optimizer], schedule: Schedule) -> None:
        self.optimizers = tuple(optimizers)
        self.schedule = schedule
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])

    def set(self, step: int) -> float:
        """Set every group's rate for a step, counted from 0, and return the factor."""
        factor = self.schedule(step)
        # Groups are looked up each time: loading a state replaces them.
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        return factor


def _with_warmup(factor: Schedule, warmup: int, warmup_floor: float) -> Schedule:
    if warmup < 1:
        return factor

    def warmed(step: int) -> float:
        if step >= warmup:
            return factor(step)
        return (warmup_floor + (1.0 - warmup_floor) * step / warmup) * factor(step)

    return warmed


def _last_step(total: int, warmup: int) -> int:
    if warmup and warmup >= total:
        raise ConfigError(
            "The warm-up is as long as the training, so the full rate is never reached.",
            expected=f"fewer than {total} steps",
            got=f"{warmup} steps",
            where="train.warmup_epochs",
            remedy="shorten train.warmup_epochs or raise train.epochs",
        )
    return total - 1


def _progress(step: int, first: int, last: int) -> float:
    """How far a step is between two others, in 0..1; 0 where they are the same one."""
    if last <= first:
        return 0.0
    return min(max((step - first) / (last - first), 0.0), 1.0)


def _half_cosine(progress: float, floor: float) -> float:
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
