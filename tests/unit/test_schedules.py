from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sightline.errors import ConfigError
from sightline.training.schedules import (
    Schedule,
    StepSchedule,
    constant,
    cosine,
    linear,
    multistep,
    warm_restarts,
)

fractions = st.floats(0, 1)


@st.composite
def lengths(draw: st.DrawFn) -> tuple[int, int]:
    """(warm-up, total) with at least two steps after the warm-up."""
    warmup = draw(st.integers(0, 200))
    return warmup, warmup + draw(st.integers(2, 400))


@pytest.mark.parametrize("make", [cosine, linear])
@given(lengths=lengths(), floor=fractions, warmup_floor=fractions)
def test_falling_schedules_keep_their_promises(
    make: Callable[..., Schedule], lengths: tuple[int, int], floor: float, warmup_floor: float
) -> None:
    warmup, total = lengths
    factor = make(total, warmup=warmup, floor=floor, warmup_floor=warmup_floor)
    factors = [factor(step) for step in range(total)]
    assert factors[0] == pytest.approx(warmup_floor if warmup else 1.0)
    assert factors[warmup] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(floor, abs=1e-9)
    assert factor(total + 1000) == pytest.approx(floor, abs=1e-9)
    assert all(min(floor, warmup_floor) - 1e-9 <= value <= 1 + 1e-9 for value in factors)
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    falling = factors[warmup:]
    assert all(left >= right - 1e-12 for left, right in pairwise(falling))


@given(warmup=st.integers(1, 500), warmup_floor=fractions)
def test_warm_up_is_a_straight_line_that_ends_where_the_schedule_starts(
    warmup: int, warmup_floor: float
) -> None:
    factor = constant(warmup=warmup, warmup_floor=warmup_floor)
    slope = (1 - warmup_floor) / warmup
    for step in range(warmup):
        assert factor(step + 1) - factor(step) == pytest.approx(slope, abs=1e-9)
    assert factor(warmup) == factor(warmup + 10_000) == 1.0


def test_cosine_agrees_with_torch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.1)
    ours = cosine(21, floor=0.1)
    for step in range(21):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_warm_restarts_agree_with_torch(multiplier: int) -> None:
    """RET-21: cosine_warm_restarts with t0 and t_mult."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=10, T_mult=multiplier, eta_min=0.05
    )
    ours = warm_restarts(10, multiplier, floor=0.05)
    for step in range(120):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


@given(
    period=st.integers(1, 50), multiplier=st.integers(1, 3), warmup=st.integers(0, 30),
    floor=fractions, step=st.integers(0, 100_000),
)  # fmt: skip
def test_restarts_stay_in_bounds_and_start_at_the_top(
    period: int, multiplier: int, warmup: int, floor: float, step: int
) -> None:
    factor = warm_restarts(period, multiplier, warmup=warmup, floor=floor, warmup_floor=floor)
    assert floor - 1e-9 <= factor(step) <= 1 + 1e-9
    start = warmup
    for cycle in range(4):
        assert factor(start) == pytest.approx(1.0)
        start += period * multiplier**cycle


@given(
    milestones=st.lists(st.integers(0, 1000), max_size=6),
    gamma=st.floats(0.01, 0.99),
    step=st.integers(0, 1200),
)
def test_multistep_counts_the_milestones_passed(
    milestones: list[int], gamma: float, step: int
) -> None:
    passed = sum(milestone <= step for milestone in milestones)
    assert multistep(milestones, gamma)(step) == pytest.approx(gamma**passed)


def test_multistep_agrees_with_torch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[3, 7], gamma=0.1)
    for step in range(10):
        assert multistep([7, 3])(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_a_milestone_inside_the_warm_up_lowers_it() -> None:
    factor = multistep([2], 0.1, warmup=4)
    assert [round(factor(step), 3) for step in range(6)] == [0.0, 0.25, 0.05, 0.075, 0.1, 0.1]


@pytest.mark.parametrize("make", [cosine, linear])
@pytest.mark.parametrize(("total", "warmup"), [(5, 5), (5, 9), (0, 1)])
def test_a_warm_up_without_end_is_refused(
    make: Callable[..., Schedule], total: int, warmup: int
) -> None:
    with pytest.raises(ConfigError, match=r"train\.warmup_epochs"):
        make(total, warmup=warmup)


@pytest.mark.parametrize("make", [cosine, linear])
@pytest.mark.parametrize("total", [0, 1])
def test_a_training_of_one_step_uses_the_full_rate(
    make: Callable[..., Schedule], total: int
) -> None:
    assert make(total)(0) == 1.0


@pytest.mark.parametrize(("period", "multiplier"), [(0, 1.0), (-1, 1.0), (5, 0.5)])
def test_restarts_that_never_end_are_refused(period: int, multiplier: float) -> None:
    with pytest.raises(ConfigError, match="period"):
        warm_restarts(period, multiplier)


def two_groups(lr: float = 1.0) -> torch.optim.Optimizer:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parameters[:1], "lr": lr}, {"params": parameters[1:], "lr": lr / 10}]
    return torch.optim.SGD(groups, momentum=0.9)


def test_each_group_keeps_its_share_of_the_rate() -> None:
    optimizers = [two_groups(), two_groups(2.0)]
    schedule = StepSchedule(optimizers, linear(11))
    for step in (0, 5, 3, 10):  # in any order: nothing is remembered
        factor = schedule.set(step)
        assert factor == pytest.approx(1 - step / 10)
        rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
        assert rates == pytest.approx([factor, factor / 10, 2 * factor, 0.2 * factor])


def test_peak_rates_survive_loading_an_optimizer_state() -> None:
    optimizer = two_groups()
    schedule = StepSchedule([optimizer], cosine(10))
    schedule.set(7)
    state = optimizer.state_dict()

    fresh = two_groups()
    resumed = StepSchedule([fresh], cosine(10))
    fresh.load_state_dict(state)
    resumed.set(8)
    schedule.set(8)
    expected = [group["lr"] for group in optimizer.param_groups]
    assert [group["lr"] for group in fresh.param_groups] == expected
    assert expected[0] == pytest.approx(0.5 * (1 + math.cos(math.pi * 8 / 9)))
    assert StepSchedule([fresh], constant()).set(0) == 1.0
    assert fresh.param_groups[0]["lr"] == 1.0
