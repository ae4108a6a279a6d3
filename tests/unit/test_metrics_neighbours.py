from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness as reference_trustworthiness

from sightline.errors import DataError
from sightline.metrics.distance_blocks import Metric, Space, distances_in_blocks, row_distances
from sightline.metrics.distance_preservation import (
    continuity,
    normalised_stress,
    rank_correlation,
    trustworthiness,
)
from sightline.metrics.neighbours import (
    mean_lower_bound,
    neighbour_recall,
    recall_difference,
    recall_estimate,
    without_self,
)
from sightline.tasks.neighbour_judging import judge_neighbours, judge_rows, true_neighbours

Table = npt.NDArray[Any]


def plain_distances(space: Space) -> Table:
    queries, pool = space.queries.astype(np.float64), space.pool.astype(np.float64)
    if space.metric == "dot":
        return -queries @ pool.T
    return cdist(queries, pool, metric=space.metric)


def made(n: int = 120, size: int = 16, seed: int = 0) -> tuple[Table, Table]:
    x = np.random.default_rng(seed).standard_normal((n, size)).astype(np.float32)
    return x, np.ascontiguousarray(x[:, : size // 2])


def plain_recall(x: Space, z: Space, own: Table, k: int) -> list[float]:
    """Loops over float64 distances, without blocks or a search."""
    far, found, recalls = plain_distances(x), plain_distances(z), []
    for query, itself in enumerate(own):
        others = [row for row in range(len(x.pool)) if row != itself]
        limit = sorted(far[query, others])[k - 1]
        nearest = sorted(others, key=lambda row: (np.float32(found[query, row]), row))[:k]
        recalls.append(sum(far[query, row] <= limit + 1e-6 * abs(limit) for row in nearest) / k)
    return recalls


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("n", [120, 1500])
def test_recall_is_that_of_plain_loops(metric: Metric, n: int) -> None:
    x, z = made(n)
    own = np.arange(0, n, n // 40)
    spaces = Space(x[own], x, metric), Space(z[own], z, metric)
    found = judge_neighbours(*spaces, ks=[1, 5, 10], self_rows=own, memory_mib=16)
    for k, recalls in found.items():
        assert recalls.tolist() == plain_recall(*spaces, own, k)
    assert 0.0 < found[10].mean() < 1.0


def test_queries_outside_the_pool_lose_nobody() -> None:
    x, z = made()
    own = np.where(np.arange(20) % 2, -1, np.arange(20))
    spaces = Space(x[:20], x), Space(z[:20], z)
    found = judge_neighbours(*spaces, ks=[3], self_rows=own)[3]
    assert found.tolist() == plain_recall(*spaces, own, 3)


def test_copies_of_a_query_do_not_break_recall() -> None:
    x, z = made(60)
    x[:30], z[:30] = x[0], z[0]
    own = np.arange(60)
    same = judge_neighbours(Space(x, x), Space(x, x), ks=[1, 5], self_rows=own)
    assert all((recalls == 1).all() for recalls in same.values())
    rows = true_neighbours(Space(x, x), 5, self_rows=own).rows
    assert not (rows == own[:, None]).any()
    far, found = Space(x, x), Space(z, z)
    recalls = judge_neighbours(far, found, ks=[5], self_rows=own)[5]
    assert recalls.tolist() == plain_recall(far, found, own, 5)


def test_every_tie_is_right() -> None:
    assert neighbour_recall([[1, 2, 2, 2]], [[2, 2, 3]], k=2).tolist() == [1.0]
    assert neighbour_recall([[-2, -1]], [[-1, 0]], k=2).tolist() == [0.5]


def test_too_many_neighbours_are_refused() -> None:
    x, z = made(10)
    spaces = Space(x, x), Space(z, z)
    judge_neighbours(*spaces, ks=[9], self_rows=np.arange(10))
    with pytest.raises(DataError, match="no 10 neighbours"):
        judge_neighbours(*spaces, ks=[10], self_rows=np.arange(10))
    judge_neighbours(*spaces, ks=[10])
    with pytest.raises(DataError, match="same vectors"):
        judge_neighbours(spaces[0], Space(z, z[:5]), ks=[1])


def test_found_rows_of_an_index_are_judged() -> None:
    x, _ = made(30)
    space, own = Space(x, x), np.arange(30)
    truth = true_neighbours(space, 4, self_rows=own)
    rows = truth.rows.copy()
    rows[:, 3] = -1
    assert judge_rows(space, rows, truth, ks=[4])[4].tolist() == [0.75] * 30
    rows[:, 3] = rows[:, 0]
    with pytest.raises(DataError, match="twice"):
        judge_rows(space, rows, truth, ks=[4])
    rows[:, 3] = own
    with pytest.raises(DataError, match="query itself"):
        judge_rows(space, rows, truth, ks=[4], self_rows=own)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_distances_are_those_of_scipy(metric: Metric) -> None:
    x, _ = made(300)
    space = Space(x[:50] + 100, x + 100, metric)
    expected = plain_distances(space)
    blocks = [block for _, block in distances_in_blocks(space, memory_mib=1)]
    assert len(blocks) > 1
    np.testing.assert_allclose(np.concatenate(blocks), expected, rtol=1e-8, atol=1e-12)
    rows = np.random.default_rng(1).integers(0, 300, (50, 7))
    found = row_distances(space, rows, memory_mib=1)
    np.testing.assert_allclose(found, np.take_along_axis(expected, rows, 1), rtol=1e-8, atol=1e-12)


def test_vectors_that_are_not_finite_are_named() -> None:
    x, _ = made(20)
    x[7, 0] = np.nan
    with pytest.raises(DataError, match=r"not finite[\s\S]*row 7"):
        rank_correlation(Space(x[:2], x), Space(x[:2], x))


def test_without_self_keeps_the_order() -> None:
    rows, far = without_self([[4, 9, 2], [1, 3, 5]], [[0, 0, 1], [0, 1, 2]], self_rows=[9, -1], k=2)
    assert rows.tolist() == [[4, 2], [1, 3]]
    assert far.tolist() == [[0, 1], [0, 1]]
    with pytest.raises(DataError):
        without_self([[4, 9]], [[0, 0]], self_rows=[9], k=2)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_trustworthiness_and_continuity_are_those_of_sklearn(k: int) -> None:
    x, z = made(130)
    own = np.arange(130)
    in_x, in_z = (true_neighbours(Space(one, one), k, self_rows=own).rows for one in (x, z))
    trust = trustworthiness(Space(x, x), in_z, self_rows=own, memory_mib=1)
    kept = continuity(Space(z, z), in_x, self_rows=own, memory_mib=1)
    assert trust.mean() == pytest.approx(reference_trustworthiness(x, z, n_neighbors=k), abs=1e-12)
    assert kept.mean() == pytest.approx(reference_trustworthiness(z, x, n_neighbors=k), abs=1e-12)
    assert (trustworthiness(Space(x, x), in_x, self_rows=own) == 1).all()


def test_trustworthiness_refuses_what_it_is_not_defined_for() -> None:
    x, _ = made(10)
    with pytest.raises(DataError, match="no scale"):
        trustworthiness(Space(x[:1], x), [[1, 2, 3, 4, 5]], self_rows=[0])
    with pytest.raises(DataError, match="query itself"):
        trustworthiness(Space(x[:1], x), [[0]], self_rows=[0])


def test_rank_correlation_is_spearmans() -> None:
    x, z = made(80)
    own = np.where(np.arange(80) % 3, np.arange(80), -1)
    z = np.round(z)
    found = rank_correlation(Space(x, x), Space(z, z), self_rows=own, memory_mib=2)
    far = [plain_distances(Space(one, one)) for one in (x, z)]
    for query, itself in enumerate(own):
        others = np.arange(80) != itself
        expected = spearmanr(*(one[query, others] for one in far)).statistic
        assert found[query] == pytest.approx(expected, abs=1e-9)


def test_stress_is_that_of_its_formula() -> None:
    x, z = made(50)
    own = np.arange(50)
    far, found = (plain_distances(Space(one, one)) for one in (x, z))
    spaces = Space(x, x), Space(z, z)
    expected = np.sqrt(((far - found) ** 2).sum() / (far**2).sum())
    assert normalised_stress(*spaces, self_rows=own) == pytest.approx(expected, rel=1e-9)
    scales = np.linspace(0.5, 3, 25_001)
    best = min(np.sqrt(((far - s * found) ** 2).sum() / (far**2).sum()) for s in scales[::10])
    assert normalised_stress(*spaces, best_scale=True) == pytest.approx(best, rel=1e-5)


def test_intervals_are_paired() -> None:
    random = np.random.default_rng(0)
    one = random.random(400) * 0.8
    other = one + 0.1 + 0.01 * random.random(400)
    difference = recall_difference(other, one)
    assert difference.low > 0.1
    assert difference.high - difference.low < 0.002
    whole = recall_estimate(one)
    assert whole.low < one.mean() < whole.high
    grouped = recall_estimate(np.repeat(one, 4), groups=np.repeat(np.arange(400), 4))
    assert (grouped.n, grouped.unit) == (400, "group")
    assert grouped.high - grouped.low == pytest.approx(whole.high - whole.low, rel=0.2)


@pytest.mark.parametrize("n", [100, 1000])
def test_the_bound_holds_as_often_as_promised(n: int) -> None:
    """Where a few queries fail wholly, Student's bound holds in 55 of 100 samples of 200."""
    random = np.random.default_rng(n)
    for mean, draw in (
        (0.97, lambda: random.random(n) < 0.97),
        (0.95, lambda: random.beta(19, 1, n)),
    ):
        bounds = [mean_lower_bound(np.asarray(draw(), np.float64)) for _ in range(200)]
        # At 95 in 100, fewer than 181 of 200 would come by chance in 1 of 100 trials.
        assert sum(bound <= mean for bound in bounds) >= 181
        assert np.mean(bounds) > mean - (0.08 if n == 100 else 0.02)


def test_the_bound_of_one_value_and_of_none() -> None:
    assert mean_lower_bound([]) == 0.0
    assert mean_lower_bound([0.0, 0.0]) == 0.0
    assert mean_lower_bound([1.0]) < 0.2
    with pytest.raises(DataError, match=r"0\.\.1"):
        mean_lower_bound([0.5, 1.5])


def test_the_bound_of_copies_is_that_of_single_ones() -> None:
    random = np.random.default_rng(3)
    alone = random.beta(8, 2, 600)
    copied, names = np.repeat(alone, 5), np.repeat(np.arange(600), 5)
    bound = mean_lower_bound(alone)
    assert mean_lower_bound(copied) > bound + 0.003
    assert mean_lower_bound(copied, groups=names) == pytest.approx(bound, abs=0.001)
    # Groups whose members have nothing in common, and equal values, change nothing.
    mixed = random.permutation(copied)
    assert mean_lower_bound(mixed, groups=names) == pytest.approx(mean_lower_bound(mixed), abs=2e-3)
    assert mean_lower_bound(np.ones(30), groups=np.zeros(30)) == mean_lower_bound(np.ones(30))
    with pytest.raises(DataError, match="names, one for each value"):
        mean_lower_bound([0.5, 0.5], groups=[1])


def test_the_bound_hardly_depends_on_the_order() -> None:
    values = np.random.default_rng(4).beta(8, 2, 769)
    bounds = [mean_lower_bound(values, seed=seed) for seed in range(10)]
    assert np.ptp(bounds) < 0.1 * (values.mean() - np.mean(bounds))
