from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sightline.models import coreset
from sightline.models.coreset import greedy_k_center, projected_size, sparse_projection
from sightline.models.neighbours import nearest, nearest_few


def slow_greedy(vectors: Tensor, count: int, first: int) -> tuple[list[int], float]:
    """Farthest vector first, every distance in float64 and updated after every choice."""
    rows = vectors.double().numpy()
    chosen = [first]
    distances = ((rows - rows[first]) ** 2).sum(axis=1)
    while len(chosen) < count and distances.max() > 0:
        best = int(distances.argmax())  # the first of equal ones
        chosen.append(best)
        distances = np.minimum(distances, ((rows - rows[best]) ** 2).sum(axis=1))
    return chosen, math.sqrt(distances.max())


def cloud(seed: int, count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator)


@given(
    seed=st.integers(0, 2**30),
    count=st.integers(1, 120),
    size=st.integers(1, 4),
    span=st.integers(1, 6),
    candidates=st.sampled_from([4, 16, 64, 4096]),
)
@settings(max_examples=80, deadline=None)
def test_chooses_as_the_plain_loop_does_with_ties_and_copies(
    seed: int, count: int, size: int, span: int, candidates: int
) -> None:
    """Whole numbers have exact distances in float32, many of them equal."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randint(0, span, (count, size), generator=generator).float()
    first, wanted = seed % count, max(1, count // 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreset, "_CANDIDATES", candidates)
        found = greedy_k_center(vectors, wanted, first=first)
    expected, radius = slow_greedy(vectors, wanted, first)
    assert found.indices.tolist() == expected
    assert found.radius == pytest.approx(radius, abs=1e-5)


@pytest.mark.parametrize("candidates", [32, 256, 4096])
def test_chooses_as_the_plain_loop_does_on_floats(
    candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreset, "_CANDIDATES", candidates)
    centres = cloud(1, 12, 20) * 4
    vectors = centres.repeat_interleave(100, 0) + cloud(2, 1200, 20)
    found = greedy_k_center(vectors, 240, first=17)
    expected, radius = slow_greedy(vectors, 240, 17)
    assert found.indices.tolist() == expected
    assert found.radius == pytest.approx(radius, rel=1e-4)


def test_a_second_choice_is_the_farthest_vector_by_hand() -> None:
    line = torch.tensor([[0.0], [1.0], [4.0], [10.0], [7.0]])
    found = greedy_k_center(line, 3, first=1)
    assert found.indices.tolist() == [1, 3, 2]  # 10 is 9 away, then 4 and 7 are both 3 away
    assert found.radius == 3.0
    assert greedy_k_center(line, 1, first=0).radius == 10.0


def test_the_radius_counts_vectors_that_were_not_looked_at_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coreset, "_CANDIDATES", 4)
    line = torch.tensor([0.0, 40.0, *(100.0 + number / 2 for number in range(7))])[:, None]
    found = greedy_k_center(line, 2)
    assert found.indices.tolist() == [0, 8]
    assert found.radius == 40.0


def test_more_centres_never_cover_worse_and_all_cover_everything() -> None:
    vectors = cloud(0, 300, 5)
    radii = [greedy_k_center(vectors, count).radius for count in (1, 5, 50, 299, 300)]
    assert radii == sorted(radii, reverse=True)
    assert radii[-1] == 0
    whole = greedy_k_center(vectors, 10_000).indices
    assert sorted(whole.tolist()) == list(range(300))


def test_ends_when_only_copies_are_left() -> None:
    vectors = cloud(0, 7, 30).repeat(50, 1)
    found = greedy_k_center(vectors, 100)
    assert sorted(index % 7 for index in found.indices.tolist()) == list(range(7))
    assert greedy_k_center(torch.ones(40, 3), 10).indices.tolist() == [0]


@pytest.mark.parametrize(("count", "first"), [(0, 0), (3, 5), (3, -1)])
def test_impossible_choices_are_refused(count: int, first: int) -> None:
    with pytest.raises(ValueError, match="cannot choose"):
        greedy_k_center(cloud(0, 5, 2), count, first=first)


def test_a_projection_keeps_distances_and_follows_its_seed() -> None:
    vectors = cloud(0, 60, 500)
    components = projected_size(60)
    assert components == int(4 * math.log(60) / (0.9**2 / 2 - 0.9**3 / 3))
    matrix = sparse_projection(500, components, np.random.default_rng(0))
    assert matrix.shape == (500, components)
    assert np.isin(matrix, [0.0, matrix.max(), -matrix.max()]).all()
    share = (matrix != 0).mean()
    assert share == pytest.approx(1 / math.sqrt(500), rel=0.15)
    before = torch.cdist(vectors, vectors)
    after = torch.cdist(vectors @ torch.from_numpy(matrix), vectors @ torch.from_numpy(matrix))
    apart = ~torch.eye(60, dtype=torch.bool)
    ratio = (after[apart] / before[apart]).square()
    assert ratio.mean() == pytest.approx(1, abs=0.1)
    assert 0.1 < ratio.min() < ratio.max() < 1.9
    again = sparse_projection(500, components, np.random.default_rng(0))
    other = sparse_projection(500, components, np.random.default_rng(1))
    assert np.array_equal(matrix, again)
    assert not np.array_equal(matrix, other)


@given(
    seed=st.integers(0, 2**30), queries=st.integers(1, 40), bank=st.integers(1, 40),
    chunk=st.sampled_from([3, 16, 2048]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_nearest_neighbours_agree_with_the_definition(
    seed: int, queries: int, bank: int, chunk: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    q = torch.randint(-3, 4, (queries, 3), generator=generator).float()
    b = torch.randint(-3, 4, (bank, 3), generator=generator).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightline.models.neighbours._CHUNK", chunk)
        distances, numbers = nearest(q, b)
    for row in range(queries):
        all_distances = [math.dist(q[row].tolist(), other.tolist()) for other in b]
        assert distances[row].item() == pytest.approx(min(all_distances), rel=1e-6)
        assert numbers[row].item() == all_distances.index(min(all_distances))


def test_the_few_nearest_are_in_order_and_never_more_than_there_are() -> None:
    q, b = cloud(0, 30, 6), cloud(1, 50, 6)
    order = torch.cdist(q.double(), b.double()).argsort(dim=1)
    assert torch.equal(nearest_few(q, b, 5), order[:, :5])
    assert nearest_few(q, b[:3], 9).shape == (30, 3)


def test_a_copy_is_at_distance_zero_even_far_from_the_origin() -> None:
    bank = cloud(0, 200, 64) + 100
    distances, numbers = nearest(bank[50:60], bank)
    assert distances.tolist() == [0.0] * 10
    assert numbers.tolist() == list(range(50, 60))


def test_products_stay_float32_under_autocast() -> None:
    q, b = cloud(0, 64, 32), cloud(1, 256, 32)
    expected, numbers = nearest(q, b)
    centres = greedy_k_center(b, 40).indices
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(q, b)[0], expected)
        assert torch.equal(nearest(q, b)[1], numbers)
        assert torch.equal(greedy_k_center(b, 40).indices, centres)
