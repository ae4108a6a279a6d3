from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sightline.losses.margin_softmax import (
    arcface_logits,
    cosface_logits,
    margin_at,
    margin_cross_entropy,
)
from sightline.models.cosine_head import CosineHead
from sightline.models.unit_vectors import unit_vectors


def slow_arcface(
    cosines: list[list[float]], targets: list[int], margin: float, scale: float
) -> list[list[float]]:
    """The definition by the angle itself, one logit at a time."""
    rows = []
    for row, target in zip(cosines, targets, strict=True):
        made = []
        for place, cosine in enumerate(row):
            value = cosine
            if place == target:
                angle = math.acos(cosine)
                wraps = angle + margin > math.pi
                value = cosine - margin * math.sin(margin) if wraps else math.cos(angle + margin)
            made.append(scale * value)
        rows.append(made)
    return rows


@given(seed=st.integers(0, 2**30), margin=st.floats(0.05, 1.2), scale=st.floats(1, 64))
@settings(max_examples=30, deadline=None)
def test_arcface_adds_the_margin_to_the_angle(seed: int, margin: float, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    cosines = torch.rand(4, 5, generator=random, dtype=torch.float64) * 1.9 - 0.95
    targets = torch.randint(5, (4,), generator=random)
    logits = arcface_logits(cosines, targets, margin=margin, scale=scale)
    expected = slow_arcface(cosines.tolist(), targets.tolist(), margin, scale)
    assert torch.allclose(logits.double(), torch.tensor(expected, dtype=torch.float64), atol=2e-4)


def test_without_margin_both_are_plain_scaled_cosines() -> None:
    cosines, targets = torch.tensor([[0.3, -1.0, 1.0]]), torch.tensor([2])
    for logits in (arcface_logits, cosface_logits):
        assert torch.equal(logits(cosines, targets, margin=0.0, scale=8.0), cosines * 8.0)


def test_the_targets_logit_falls_as_its_angle_grows_past_the_turn_too() -> None:
    angles = torch.linspace(0.0, math.pi, 400)
    cosines = angles.cos()[:, None]
    targets = torch.zeros(400, dtype=torch.int64)
    logits = arcface_logits(cosines, targets, margin=0.5, scale=1.0)[:, 0]
    falls = logits.diff()
    turn = int(((math.pi - 0.5) / math.pi) * 399)
    assert (falls[:turn] < 0).all()
    assert (falls[turn + 1 :] < 0).all()


def test_only_the_target_of_cosface_loses_the_margin() -> None:
    cosines = torch.tensor([[0.5, 0.25], [0.0, 1.0]])
    logits = cosface_logits(cosines, torch.tensor([1, 0]), margin=0.35, scale=10.0)
    assert torch.allclose(logits, torch.tensor([[5.0, -1.0], [-3.5, 10.0]]))


def adversarial(step: int, weight: Tensor) -> Tensor:
    """Embeddings that are equal, opposite to their class, on it, zero, tiny, or huge."""
    classes, width = weight.shape
    random = torch.Generator().manual_seed(step)
    own = weight.detach()[torch.arange(8) % classes]
    kinds = (
        torch.ones(8, width),
        own,
        -own,
        torch.zeros(8, width),
        torch.randn(8, width, generator=random) * 1e-20,
        torch.randn(8, width, generator=random) * 1e4,
    )
    return kinds[step % len(kinds)]


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
@pytest.mark.parametrize(
    ("dtype", "steps"),
    [
        (torch.bfloat16, 600),
        pytest.param(torch.float16, 600),
        pytest.param(torch.bfloat16, 10_000, marks=pytest.mark.slow),
        pytest.param(torch.float16, 10_000, marks=pytest.mark.slow),
    ],
)
def test_no_nan_in_steps_on_adversarial_embeddings_under_autocast(
    kind: str, dtype: torch.dtype, steps: int
) -> None:
    torch.manual_seed(0)
    head, layer = CosineHead(16, 4), nn.Linear(16, 16, bias=False)
    nn.init.eye_(layer.weight)
    optimizer = torch.optim.SGD([*head.parameters(), *layer.parameters()], lr=1e-3)
    targets = torch.arange(8) % 4
    for step in range(steps):
        with torch.autocast("cpu", dtype):
            embeddings = unit_vectors(layer(adversarial(step, head.weight)))
            loss = margin_cross_entropy(
                head(embeddings), targets, kind=kind, margin=0.5, scale=64.0
            )
        assert loss.dtype is torch.float32
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        for parameter in (*head.parameters(), *layer.parameters()):
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all(), f"step {step}"
        nn.init.eye_(layer.weight)
        optimizer.step()


@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_the_slope_at_both_ends_is_finite(cosine: float) -> None:
    cosines = torch.full((1, 3), cosine, requires_grad=True)
    loss = margin_cross_entropy(cosines, torch.tensor([0]), kind="arcface", margin=0.5, scale=64.0)
    loss.backward()
    assert cosines.grad is not None
    assert torch.isfinite(cosines.grad).all()


def test_the_slope_near_an_end_is_limited() -> None:
    """The sine's slope there is 1 / sine: 2900 at the float32 below 1."""
    cosines = torch.tensor([[1.0 - 2**-24, 0.0]], requires_grad=True)
    arcface_logits(cosines, torch.tensor([0]), margin=0.5, scale=1.0)[0, 0].backward()
    assert cosines.grad is not None
    assert 0 < cosines.grad[0, 0] <= math.cos(0.5) + math.sin(0.5) * 1000


def test_the_margin_is_a_function_of_the_epoch() -> None:
    plain = [margin_at(epoch, margin=0.5, without=5, ramp=0) for epoch in range(1, 9)]
    assert plain == [0.0] * 5 + [0.5] * 3
    ramp = [margin_at(epoch, margin=0.4, without=1, ramp=4) for epoch in range(1, 8)]
    assert ramp == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_a_vector_without_direction_is_zero_and_gets_no_gradient() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0]], requires_grad=True)
    made = unit_vectors(vectors)
    assert torch.allclose(made, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, 0.0]]))
    (made * torch.tensor([1.0, 2.0])).sum().backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    assert (vectors.grad[1:] == 0).all()
    assert (vectors.grad[0] != 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_unit_vectors_are_computed_in_float32_under_autocast(dtype: torch.dtype) -> None:
    vectors = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype):
        made = unit_vectors(vectors)
    assert torch.allclose(made.double().norm(dim=1), torch.ones(5).double(), atol=1e-6)


def test_a_head_with_sub_centers_takes_the_nearest_of_each_class() -> None:
    head = CosineHead(2, 2, sub_centers=2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, -1.0]]))
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    expected = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert torch.allclose(head(embeddings), expected)
