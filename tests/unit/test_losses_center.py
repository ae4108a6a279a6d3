from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sightline.losses.center import CenterLoss


def drawn(seed: int, count: int = 7, classes: int = 4, width: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, width, generator=random, dtype=torch.float64),
        torch.randint(classes, (count,), generator=random),
    )


def loss_of(seed: int, classes: int = 4, width: int = 3) -> CenterLoss:
    torch.manual_seed(seed)
    return CenterLoss(classes, width)


def slow(vectors: Tensor, labels: Tensor, centers: Tensor) -> tuple[float, Tensor, Tensor]:
    """The loss and its gradients by embedding and by centre, one number at a time."""
    count, width = vectors.shape
    loss, by_vector, by_center = 0.0, torch.zeros(count, width), torch.zeros(centers.shape)
    for b in range(count):
        for d in range(width):
            apart = float(vectors[b, d]) - float(centers[int(labels[b]), d])
            loss += apart**2 / count
            by_vector[b, d] = 2 * apart / count
            by_center[int(labels[b]), d] -= 2 * apart / count
    return loss, by_vector, by_center


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 9), classes=st.integers(1, 5))
def test_loss_and_gradients_are_those_of_a_plain_loop(seed: int, count: int, classes: int) -> None:
    vectors, labels = drawn(seed, count, classes)
    loss = loss_of(seed, classes)
    vectors.requires_grad_()
    value = loss(vectors, labels)
    value.backward()

    expected, by_vector, by_center = slow(vectors.detach(), labels, loss.centers.detach())
    assert value.dtype is torch.float32
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert vectors.grad is not None
    assert loss.centers.grad is not None
    assert torch.allclose(vectors.grad.float(), by_vector, atol=1e-6)
    assert torch.allclose(loss.centers.grad, by_center, atol=1e-6)


def test_the_order_of_the_batch_does_not_matter() -> None:
    vectors, labels = drawn(1)
    loss = loss_of(1)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    assert loss(vectors, labels).item() == pytest.approx(loss(vectors[order], labels[order]).item())


def test_centers_that_are_reached_cost_nothing() -> None:
    loss = loss_of(0)
    labels = torch.tensor([2, 0, 2])
    vectors = loss.centers.detach()[labels].requires_grad_()
    value = loss(vectors, labels)
    value.backward()
    assert value.item() == pytest.approx(1e-12)
    assert vectors.grad is not None
    assert not vectors.grad.any()


@pytest.mark.parametrize("size", [1e8, 1e30, 1e38])
def test_far_embeddings_give_a_finite_loss_and_finite_gradients(size: float) -> None:
    loss = loss_of(0)
    vectors = torch.tensor([[size, 0.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    value = loss(vectors, torch.tensor([0, 1]))
    value.backward()
    assert value.item() == pytest.approx(1e12 / 2)
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    assert loss.centers.grad is not None
    assert torch.isfinite(loss.centers.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing_but_the_embeddings_own_rounding(dtype: torch.dtype) -> None:
    vectors, labels = drawn(3)
    rounded, loss = vectors.to(dtype), loss_of(3)
    with torch.autocast("cpu", dtype):
        value = loss(rounded, labels)
    assert value.dtype is torch.float32
    assert torch.equal(value, loss(rounded.float(), labels))


@pytest.mark.parametrize("weight", [5e-4, 1.0, 30.0])
def test_rescaled_gradients_move_the_centers_whatever_the_weight(weight: float) -> None:
    """REID-11: with SGD the centres move by lr times the gradient of the loss without weight."""
    vectors, labels = drawn(5)
    loss = loss_of(5)
    before = loss.centers.detach().clone()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)
    (weight * loss(vectors, labels)).backward()
    loss.rescale_gradient(weight)
    optimizer.step()
    by_center = slow(vectors, labels, before)[2]
    assert torch.allclose(loss.centers, before - 0.5 * by_center, atol=1e-6)
    absent = sorted(set(range(4)) - set(labels.tolist()))
    assert torch.equal(loss.centers[absent], before[absent])


def test_without_a_gradient_there_is_nothing_to_rescale() -> None:
    loss = loss_of(0)
    loss.rescale_gradient(5e-4)
    assert loss.centers.grad is None


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan])
def test_a_weight_that_cannot_be_divided_by_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        loss_of(0).rescale_gradient(weight)


def test_centers_start_as_a_seeded_normal_draw_and_are_part_of_the_state() -> None:
    first, again, other = loss_of(7, 200, 50), loss_of(7, 200, 50), loss_of(8, 200, 50)
    assert torch.equal(first.centers, again.centers)
    assert not torch.equal(first.centers, other.centers)
    assert abs(first.centers.mean().item()) < 0.05
    assert abs(first.centers.std().item() - 1) < 0.05
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.centers, other.centers)
