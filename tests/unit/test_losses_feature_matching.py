from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sightline.losses.feature_matching import FeatureMatchingLoss

SHAPES = [(2, 3, 4, 5), (2, 6, 2, 3)]


def slow(teacher: list[Tensor], student: list[Tensor]) -> float:
    """The definition, one position and one channel at a time."""
    total = 0.0
    for t, s in zip(teacher, student, strict=True):
        batch, channels, height, width = t.shape
        layer = 0.0
        for b in range(batch):
            for y in range(height):
                for x in range(width):
                    vectors = [[float(m[b, c, y, x]) for c in range(channels)] for m in (t, s)]
                    norms = [math.sqrt(sum(v * v for v in vector)) for vector in vectors]
                    layer += 0.5 * sum(
                        (vectors[0][c] / norms[0] - vectors[1][c] / norms[1]) ** 2
                        for c in range(channels)
                    )
        total += layer / (height * width) / batch
    return total


def maps(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


@given(seed=st.integers(0, 2**30))
@settings(max_examples=15, deadline=None)
def test_agrees_with_the_definition(seed: int) -> None:
    teacher, student = maps(seed), maps(seed + 1)
    loss = FeatureMatchingLoss()(teacher, student)
    assert loss.item() == pytest.approx(slow(teacher, student), rel=1e-4)


def test_a_perfect_student_costs_nothing_and_an_opposite_one_two_for_each_layer() -> None:
    teacher = maps(0)
    assert FeatureMatchingLoss()(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    opposite = [-one for one in teacher]
    assert FeatureMatchingLoss()(teacher, opposite).item() == pytest.approx(2 * len(teacher))


def test_the_length_of_the_vectors_does_not_matter() -> None:
    teacher, student = maps(0), maps(1)
    longer = [one * 17.0 for one in student]
    one, other = FeatureMatchingLoss()(teacher, student), FeatureMatchingLoss()(teacher, longer)
    assert one.item() == pytest.approx(other.item(), rel=1e-5)


def test_the_gradient_is_the_students_and_lowers_the_loss() -> None:
    teacher = [one.requires_grad_() for one in maps(0)]
    student = [one.requires_grad_() for one in maps(1)]
    loss = FeatureMatchingLoss()(teacher, student)
    loss.backward()
    assert all(one.grad is None for one in teacher)
    moved = [one.detach() - 0.1 * one.grad for one in student if one.grad is not None]
    assert FeatureMatchingLoss()(teacher, moved) < loss


def test_empty_vectors_give_a_finite_loss_and_gradient() -> None:
    teacher, student = [torch.zeros(1, 3, 2, 2)], [torch.zeros(1, 3, 2, 2, requires_grad=True)]
    loss = FeatureMatchingLoss()(teacher, student)
    loss.backward()
    assert loss.item() == 0
    assert student[0].grad is not None
    assert torch.isfinite(student[0].grad).all()


def test_computes_in_float32_under_autocast() -> None:
    teacher = [one.bfloat16() for one in maps(0)]
    student = [one.bfloat16() for one in maps(1)]
    expected = FeatureMatchingLoss()([t.float() for t in teacher], [s.float() for s in student])
    with torch.autocast("cpu", torch.bfloat16):
        loss = FeatureMatchingLoss()(teacher, student)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("student", [[], maps(0)[:1], maps(0)[::-1]])
def test_maps_that_do_not_match_are_refused(student: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        FeatureMatchingLoss()(maps(0), student)
    with pytest.raises(ValueError, match="equal shapes"):
        FeatureMatchingLoss()([], [])
