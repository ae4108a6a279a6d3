from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sightline.errors import DataError
from sightline.losses.smoothed_cross_entropy import SmoothedCrossEntropy, class_weights


def slow(logits: Tensor, targets: Tensor, smoothing: float, weights: list[float]) -> float:
    """The definition, one sample and one class at a time."""
    total = divisor = 0.0
    classes = logits.shape[1]
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        normaliser = math.log(sum(math.exp(value) for value in row))
        for c in range(classes):
            mixed = (1 - smoothing) * target[c] + smoothing / classes
            total -= weights[c] * mixed * (row[c] - normaliser)
            divisor += weights[c] * target[c]
    return total / divisor


def batch(seed: int, count: int = 5, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator) * 3
    hard = torch.randint(0, classes, (count,), generator=generator)
    soft = torch.rand(count, classes, generator=generator).softmax(1)
    return logits, hard, soft


@given(
    seed=st.integers(0, 2**31),
    smoothing=st.floats(0, 0.9),
    weights=st.none() | st.lists(st.floats(0.1, 10), min_size=4, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_definition(
    seed: int, smoothing: float, weights: list[float] | None
) -> None:
    logits, hard, soft = batch(seed)
    loss = SmoothedCrossEntropy(smoothing, None if weights is None else torch.tensor(weights))
    plain = weights or [1.0] * 4
    one_hot = torch.nn.functional.one_hot(hard, 4)
    for targets, full in ((hard, one_hot), (one_hot.float(), one_hot), (soft, soft)):
        assert loss(logits, targets).item() == pytest.approx(
            slow(logits, full, smoothing, plain), rel=1e-4, abs=1e-5
        )


@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_the_scale_of_class_weights_does_not_matter(seed: int, scale: float) -> None:
    logits, hard, soft = batch(seed)
    weights = torch.tensor([1.0, 2.0, 3.0, 0.5])
    for targets in (hard, soft):
        one = SmoothedCrossEntropy(0.1, weights)(logits, targets)
        other = SmoothedCrossEntropy(0.1, weights * scale)(logits, targets)
        assert one.item() == pytest.approx(other.item(), rel=1e-4)


def test_a_perfect_prediction_costs_nothing_and_a_blind_one_the_logarithm() -> None:
    hard = torch.tensor([0, 1, 2])
    assert SmoothedCrossEntropy()(torch.eye(3) * 100, hard).item() == pytest.approx(0, abs=1e-6)
    for smoothing in (0.0, 0.3):
        blind = SmoothedCrossEntropy(smoothing)(torch.zeros(3, 3), hard)
        assert blind.item() == pytest.approx(math.log(3))


def test_computes_in_float32_under_autocast() -> None:
    logits, hard, soft = batch(3)
    rounded = logits.bfloat16()
    for targets in (hard, soft):
        expected = SmoothedCrossEntropy(0.1)(rounded.float(), targets)
        with torch.autocast("cpu", torch.bfloat16):
            loss = SmoothedCrossEntropy(0.1)(rounded, targets)
        assert loss.dtype is torch.float32
        assert torch.equal(loss, expected)


def test_the_gradient_reaches_half_precision_logits() -> None:
    logits = batch(4)[0].bfloat16().requires_grad_()
    SmoothedCrossEntropy(0.1)(logits, batch(4)[1]).backward()
    assert logits.grad is not None
    assert logits.grad.float().sum(1).abs().max() < 1e-2


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0])
def test_smoothing_is_a_fraction(smoothing: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        SmoothedCrossEntropy(smoothing)


@given(counts=st.lists(st.integers(1, 10_000), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_balanced_weights_give_each_class_the_same_total(counts: list[int]) -> None:
    balanced = class_weights(counts, "balanced").double()
    totals = balanced * torch.tensor(counts)
    assert torch.allclose(totals, totals[0].expand(len(counts)), rtol=1e-5)
    assert totals.sum().item() == pytest.approx(sum(counts), rel=1e-5)
    assert torch.allclose(class_weights(counts, "sqrt").double() ** 2, balanced, rtol=1e-5)
    assert class_weights(counts, "none").tolist() == [1.0] * len(counts)


def test_hand_worked_weights() -> None:
    assert class_weights([100, 46, 74]).tolist() == pytest.approx([220 / 300, 220 / 138, 220 / 222])


def test_an_empty_class_has_no_weight() -> None:
    with pytest.raises(DataError, match="number 1, 3"):
        class_weights([3, 0, 2, 0])
