from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sightline.losses.cross_batch_memory import CrossBatchMemory
from sightline.losses.supervised_contrastive import supervised_contrastive
from sightline.losses.triplet import batch_hard_triplet


def drawn(seed: int, count: int = 9, width: int = 4, classes: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(count, width, generator=random), dim=1)
    return vectors, torch.randint(classes, (count,), generator=random)


def slow_triplet(
    vectors: Any, labels: Any, others: Any, theirs: Any, margin: float | None
) -> float:
    """One anchor, one candidate at a time; the first candidates are the anchors themselves."""
    losses = []
    for a, (anchor, label) in enumerate(zip(vectors, labels, strict=True)):
        near, far = math.inf, -math.inf
        for b, (other, its) in enumerate(zip(others, theirs, strict=True)):
            distance = math.dist(anchor, other)
            if its == label and a != b:
                far = max(far, distance)
            elif its != label:
                near = min(near, distance)
        if math.isfinite(near) and math.isfinite(far):
            gap = far - near
            losses.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin))
    return sum(losses) / len(losses) if losses else 0.0


def slow_contrastive(
    vectors: Any, labels: Any, others: Any, theirs: Any, temperature: float
) -> float:
    losses = []
    for a, (anchor, label) in enumerate(zip(vectors, labels, strict=True)):
        terms = {
            b: math.exp(sum(x * y for x, y in zip(anchor, other, strict=True)) / temperature)
            for b, other in enumerate(others)
            if a != b
        }
        whole = sum(terms.values())
        own = [-math.log(term / whole) for b, term in terms.items() if theirs[b] == label]
        if own:
            losses.append(sum(own) / len(own))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("remembered", [0, 6])
@given(seed=st.integers(0, 2**30))
@settings(max_examples=15, deadline=None)
def test_triplet_agrees_with_the_definition(
    margin: float | None, remembered: int, seed: int
) -> None:
    vectors, labels = drawn(seed)
    memory = drawn(seed + 1, remembered) if remembered else None
    loss = batch_hard_triplet(vectors, labels, margin=margin, memory=memory)
    others, theirs = vectors.tolist(), labels.tolist()
    if memory is not None:
        others, theirs = others + memory[0].tolist(), theirs + memory[1].tolist()
    expected = slow_triplet(vectors.tolist(), labels.tolist(), others, theirs, margin)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("remembered", [0, 6])
@given(seed=st.integers(0, 2**30), temperature=st.floats(0.05, 1.0))
@settings(max_examples=15, deadline=None)
def test_contrastive_agrees_with_the_definition(
    remembered: int, seed: int, temperature: float
) -> None:
    vectors, labels = drawn(seed)
    memory = drawn(seed + 1, remembered) if remembered else None
    loss = supervised_contrastive(vectors, labels, temperature=temperature, memory=memory)
    others, theirs = vectors.tolist(), labels.tolist()
    if memory is not None:
        others, theirs = others + memory[0].tolist(), theirs + memory[1].tolist()
    expected = slow_contrastive(vectors.tolist(), labels.tolist(), others, theirs, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("loss", [batch_hard_triplet, supervised_contrastive])
@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0]])
def test_a_batch_without_pairs_costs_nothing_and_can_be_differentiated(
    loss: Any, labels: list[int]
) -> None:
    vectors = torch.eye(3, requires_grad=True)
    value = loss(vectors, torch.tensor(labels))
    value.backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    if loss is batch_hard_triplet or labels == [0, 1, 2]:
        assert value.item() == 0.0


@pytest.mark.parametrize("loss", [batch_hard_triplet, supervised_contrastive])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_equal_opposite_and_zero_embeddings_have_finite_gradients(
    loss: Any, dtype: torch.dtype
) -> None:
    one = torch.tensor([1.0, 0.0])
    vectors = torch.stack([one, one, -one, -one, one * 0, one * 0]).requires_grad_()
    with torch.autocast("cpu", dtype):
        value = loss(vectors, torch.tensor([0, 0, 0, 1, 1, 1]))
    value.backward()
    assert value.dtype is torch.float32
    assert torch.isfinite(value)
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("loss", [batch_hard_triplet, supervised_contrastive])
def test_the_order_of_the_batch_does_not_matter(loss: Any) -> None:
    vectors, labels = drawn(3)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    assert loss(vectors, labels).item() == pytest.approx(
        loss(vectors[order], labels[order]).item(), abs=1e-6
    )


def test_the_memory_keeps_the_last_embeddings_and_forgets_the_oldest() -> None:
    memory = CrossBatchMemory(4, 2)
    assert memory.recall() is None
    batch = torch.arange(6.0).view(3, 2)
    memory.remember(batch, torch.tensor([0, 1, 2]))
    found = memory.recall()
    assert found is not None
    assert torch.equal(found[0], batch)
    assert found[1].tolist() == [0, 1, 2]
    memory.remember(batch + 10, torch.tensor([3, 4, 5]))
    found = memory.recall()
    assert found is not None
    assert sorted(found[1].tolist()) == [2, 3, 4, 5]
    rows = {int(label): row.tolist() for row, label in zip(*found, strict=True)}
    assert rows[2] == [4.0, 5.0]
    assert rows[5] == [14.0, 15.0]


def test_a_batch_larger_than_the_memory_leaves_its_end() -> None:
    memory = CrossBatchMemory(2, 1)
    memory.remember(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1, 2, 3]))
    found = memory.recall()
    assert found is not None
    assert sorted(found[1].tolist()) == [2, 3]


def test_the_memory_is_part_of_the_saved_state() -> None:
    memory, other = CrossBatchMemory(3, 2), CrossBatchMemory(3, 2)
    memory.remember(torch.ones(2, 2), torch.tensor([7, 8]))
    other.load_state_dict(memory.state_dict())
    found = other.recall()
    assert found is not None
    assert found[1].tolist() == [7, 8]
    memory.remember(torch.zeros(2, 2), torch.tensor([9, 9]))
    other.remember(torch.zeros(2, 2), torch.tensor([9, 9]))
    for one, another in zip(memory.recall() or (), other.recall() or (), strict=True):
        assert torch.equal(one, another)
