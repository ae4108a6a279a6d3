"""Votes of neighbours against a plain loop: ties, left-out classes, percentages, wrong input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DataError
from sightline.metrics.voting import NOBODY, top_percentages, weighted_vote


def slow_vote(distances: list[float], labels: list[int]) -> list[tuple[int, float]]:
    """Classes and their shares, by falling weight, then by the place of the first neighbour."""
    weights: dict[int, float] = {}
    for distance, label in zip(distances, labels, strict=True):
        if not math.isinf(distance):
            weights[label] = weights.get(label, 0.0) + 1 / (distance + 1e-6)
    total = sum(weights.values())
    order = sorted(weights, key=lambda label: (-weights[label], labels.index(label)))
    return [(label, weights[label] / total) for label in order]


def draw(seed: int, q: int, k: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances of few values, so that weights tie, some places without a neighbour."""
    random = np.random.default_rng(seed)
    distances = np.sort(random.integers(0, 5, (q, k)) / 4, axis=1)
    labels = random.integers(0, classes, (q, k))
    missing = np.arange(k) >= random.integers(0, 2 * k, (q, 1))
    distances[missing], labels[missing] = np.inf, -7
    return distances, labels


@given(
    seed=st.integers(0, 10_000),
    q=st.integers(1, 8),
    k=st.integers(1, 9),
    classes=st.sampled_from([1, 2, 5, 10_000]),
)
@settings(max_examples=150, deadline=None)
def test_votes_are_those_of_a_plain_loop(seed: int, q: int, k: int, classes: int) -> None:
    distances, labels = draw(seed, q, k, classes)
    votes = weighted_vote(distances, labels)
    for row in range(q):
        slow = slow_vote(distances[row].tolist(), labels[row].tolist())
        padded = [label for label, _ in slow] + [NOBODY] * (k - len(slow))
        assert votes.classes[row].tolist() == padded
        shares = [share for _, share in slow] + [0.0] * (k - len(slow))
        assert votes.shares[row] == pytest.approx(shares)
        if slow:
            second = slow[1][1] if len(slow) > 1 else 0.0
            assert votes.winner[row] == slow[0][0]
            assert votes.confidence[row] == pytest.approx(slow[0][1])
            assert votes.margin[row] == pytest.approx((slow[0][1] - second) / slow[0][1])
            assert votes.shares[row].sum() == pytest.approx(1)
        assert votes.nearest[row] == distances[row, 0]


def test_a_vote_worked_by_hand() -> None:
    """Weights 10, 5, 5 and 5 but for the small constant."""
    near = weighted_vote([[0.1, 0.2, 0.2, 0.2]], [[8, 3, 3, 3]])
    assert near.winner.tolist() == [3]
    assert near.confidence[0] == pytest.approx(15 / 25, abs=1e-4)
    assert near.margin[0] == pytest.approx((15 - 10) / 15, abs=1e-4)
    distance, margin, concentration = near.criteria
    assert (distance[0], margin[0], concentration[0]) == (0.1, near.margin[0], near.confidence[0])


def test_equal_weights_go_to_the_nearer_then_to_the_first() -> None:
    # 1 + 1/3 and 2/3 + 2/3: equal in floating point too, with the small constant taken off.
    tiny = 1e-6
    distances = [[0.25 - tiny, 0.5 - tiny, 0.5 - tiny]]
    assert weighted_vote(distances, [[6, 2, 2]]).shares[0, :2].tolist() == [0.5, 0.5]
    assert weighted_vote(distances, [[6, 2, 2]]).winner.tolist() == [6]
    assert weighted_vote(distances, [[2, 6, 6]]).winner.tolist() == [2]
    same = [[0.5, 0.5, 0.5, 0.5]]
    assert weighted_vote(same, [[7, 1, 1, 7]]).classes[0].tolist() == [7, 1, -1, -1]
    assert weighted_vote(same, [[1, 7, 7, 1]]).classes[0].tolist() == [1, 7, -1, -1]


def test_a_copy_outweighs_all_others() -> None:
    votes = weighted_vote([[0.0, *[0.01] * 19]], [[5, *[2] * 19]])
    assert votes.winner.tolist() == [5]
    assert votes.confidence[0] > 0.99


def test_rounding_below_zero_is_zero() -> None:
    """One minus the cosine of equal vectors may be a little below 0 in float32."""
    slightly = weighted_vote(np.array([[-2e-6, 0.1]], np.float32), [[1, 2]])
    exactly = weighted_vote([[0.0, 0.1]], [[1, 2]])
    assert slightly.winner.tolist() == [1]
    assert slightly.shares[0] == pytest.approx(exactly.shares[0])


def test_nobody_to_vote() -> None:
    votes = weighted_vote([[np.inf, np.inf], [0.5, np.inf]], [[3, 3], [3, 4]])
    assert votes.winner.tolist() == [NOBODY, 3]
    assert votes.confidence.tolist() == [0, 1]
    assert votes.margin.tolist() == [0, 1]
    assert votes.nearest.tolist() == [np.inf, 0.5]
    assert top_percentages(votes)[1].tolist() == [[0, 0], [100, 0]]
    none = weighted_vote(np.empty((0, 4)), np.empty((0, 4), int))
    assert none.winner.shape == none.margin.shape == (0,)


@given(seed=st.integers(0, 10_000), k=st.integers(1, 9), count=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_percentages_add_up_and_stay_close(seed: int, k: int, count: int) -> None:
    distances, labels = draw(seed, 5, k, 6)
    votes = weighted_vote(distances, labels)
    classes, percentages = top_percentages(votes, count)
    assert classes.tolist() == votes.classes[:, :count].tolist()
    tenths = np.rint(percentages * 10)
    np.testing.assert_allclose(percentages * 10, tenths, atol=1e-9)
    some = votes.confidence > 0
    assert (tenths.sum(axis=1) == np.where(some, 1000, 0)).all()
    shown = votes.shares[some, :count]
    exact = 100 * shown / shown.sum(axis=1, keepdims=True)
    assert (np.abs(percentages[some] - exact) < 0.1).all()
    assert (np.diff(percentages, axis=1) <= 1e-9).all()


def test_thirds_give_the_missing_tenth_to_the_first() -> None:
    votes = weighted_vote([[0.5, 0.5, 0.5]], [[4, 2, 9]])
    classes, percentages = top_percentages(votes)
    assert classes.tolist() == [[4, 2, 9]]
    assert percentages.tolist() == [[33.4, 33.3, 33.3]]


def test_wrong_input_is_refused() -> None:
    for distances, labels in (([0.1], [1]), ([[0.1, 0.2]], [[1]]), ([[]], [[]])):
        with pytest.raises(DataError, match="cannot vote"):
            weighted_vote(distances, labels)
    for distances in ([[0.2, 0.1]], [[-0.5, 0.1]], [[0.1, np.nan]], [[np.nan, 0.1]]):
        with pytest.raises(DataError, match="no distances of neighbours"):
            weighted_vote(distances, [[1, 1]])
    for labels in ([[0.0, 1.0]], [[-1, 0]]):
        with pytest.raises(DataError, match="no class indices"):
            weighted_vote([[0.1, 0.2]], labels)
