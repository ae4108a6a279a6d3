from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sightline.losses.circle import circle_loss


def drawn(seed: int, count: int = 9, width: int = 4, classes: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, width, generator=random) * 3
    return vectors, torch.randint(classes, (count,), generator=random)


def slow(vectors: list[list[float]], labels: list[int], margin: float, scale: float) -> float:
    """One pair at a time: log(1 + sum of negatives x sum of positives) of each anchor."""
    losses = []
    for a, label in enumerate(labels):
        pulls, pushes = 0.0, 0.0
        for b, its in enumerate(labels):
            product = sum(x * y for x, y in zip(vectors[a], vectors[b], strict=True))
            s = product / math.hypot(*vectors[a]) / math.hypot(*vectors[b])
            if a == b:
                continue
            if its == label:
                pulls += math.exp(-scale * max(0.0, 1 + margin - s) * (s - (1 - margin)))
            else:
                pushes += math.exp(scale * max(0.0, s + margin) * (s - margin))
        if pulls and pushes:
            losses.append(math.log1p(pulls * pushes))
    return sum(losses) / len(losses) if losses else 0.0


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 10),
    classes=st.integers(1, 5),
    margin=st.sampled_from([0.0, 0.25, 0.4]),
    scale=st.sampled_from([1.0, 16.0, 64.0]),
)
def test_the_loss_is_that_of_a_plain_loop(
    seed: int, count: int, classes: int, margin: float, scale: float
) -> None:
    vectors, labels = drawn(seed, count, classes=classes)
    fast = circle_loss(vectors, labels, margin=margin, scale=scale)
    expected = slow(vectors.tolist(), labels.tolist(), margin, scale)
    assert fast.dtype is torch.float32
    assert fast.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_pair_by_hand() -> None:
    """Anchors (1, 0), (1, 0) of one class and (0, 1) of another: s = 1 and 0."""
    vectors, labels = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]), torch.tensor([4, 4, 9])
    # Exponents -64 (0.25) (1 - 0.75) and 64 (0.25) (0 - 0.25); the third anchor has no positive.
    expected = math.log1p(math.exp(-4.0) * math.exp(-4.0))
    assert circle_loss(vectors, labels).item() == pytest.approx(expected, rel=1e-4)


def test_the_weights_get_no_gradient() -> None:
    """The slope of a cosine is that of the loss with the weights held, not of their product."""
    vectors, labels = drawn(4, count=6, classes=2)
    vectors = torch.nn.functional.normalize(vectors.double()).requires_grad_()
    margin, scale = 0.25, 8.0
    (got,) = torch.autograd.grad(circle_loss(vectors, labels, scale=scale), vectors)

    held = (vectors @ vectors.T).detach()
    cosines = vectors @ vectors.T / vectors.norm(dim=1)[:, None] / vectors.norm(dim=1)[None, :]
    terms = []
    for a in range(6):
        others = [b for b in range(6) if b != a]
        pulls = sum(
            (-scale * max(0.0, 1 + margin - held[a, b].item()) * (cosines[a, b] - 0.75)).exp()
            for b in others
            if labels[a] == labels[b]
        )
        pushes = sum(
            (scale * max(0.0, held[a, b].item() + margin) * (cosines[a, b] - 0.25)).exp()
            for b in others
            if labels[a] != labels[b]
        )
        if isinstance(pulls, Tensor) and isinstance(pushes, Tensor):
            terms.append(torch.log1p(pulls * pushes))
    (expected,) = torch.autograd.grad(torch.stack(terms).mean(), vectors)
    assert torch.allclose(got, expected, atol=1e-5)
    assert got.abs().max() > 1e-3


@given(seed=st.integers(0, 1000), length=st.sampled_from([1e-3, 1e6]))
@settings(max_examples=20, deadline=None)
def test_length_and_order_do_not_matter(seed: int, length: float) -> None:
    vectors, labels = drawn(seed)
    plain = circle_loss(vectors, labels).item()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    assert circle_loss(vectors * length, labels).item() == pytest.approx(plain, rel=1e-4, abs=1e-6)
    mixed = circle_loss(vectors[order], labels[order]).item()
    assert mixed == pytest.approx(plain, rel=1e-4, abs=1e-6)


def test_better_embeddings_lose_less() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]])
    mixed = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [-1.0, 0.0], [1.0, 0.1]])
    assert circle_loss(apart, labels) < 0.1
    assert circle_loss(mixed, labels) > 10


@pytest.mark.parametrize(
    "vectors",
    [
        torch.zeros(4, 3),
        torch.ones(4, 3),
        torch.full((4, 3), 1e-30),
        torch.full((4, 3), 3e38),
        torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [1.0, 0, 0], [-1.0, 0, 0]]),
        torch.tensor([[3e38, 0, 0], [1e-38, 0, 0], [0, 0, 0], [0, -3e38, 1.0]]),
    ],
)
def test_extreme_embeddings_give_a_finite_loss_and_gradient(vectors: Tensor) -> None:
    vectors = vectors.clone().requires_grad_()
    loss = circle_loss(vectors, torch.tensor([0, 0, 1, 1]), scale=256.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_without_a_pair_of_both_kinds_it_is_zero_with_zero_gradients(labels: list[int]) -> None:
    vectors = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = circle_loss(vectors, torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad is not None
    assert not vectors.grad.any()


def test_autocast_changes_nothing() -> None:
    vectors, labels = drawn(2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = circle_loss(vectors, labels)
    assert torch.equal(inside, circle_loss(vectors, labels))
