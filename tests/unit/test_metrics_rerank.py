"""Sparse k-reciprocal re-ranking against the dense method, and what must hold for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.metrics.all_neighbours import all_neighbours
from sightline.metrics.ranking import RankingSettings
from sightline.metrics.reid import reid_scores, reid_scores_of_distances
from sightline.metrics.reranking import rerank
from sightline.metrics.same_camera import camera_rule
from sightline.metrics.stacked_vectors import StackedVectors


def dense(
    queries: np.ndarray, gallery: np.ndarray, k1: int, k2: int, lambda_value: float
) -> np.ndarray:
    """The method by tables of all pairs and plain loops, in float32."""
    vectors = np.concatenate([queries, gallery])
    n = len(vectors)
    squares = (vectors * vectors).sum(axis=1)
    apart = squares[:, None] + squares - 2 * vectors @ vectors.T
    apart = (apart / apart.max(axis=0)).T
    ranked = np.argsort(apart, axis=1)

    def mutual(i: int, k: int) -> set[int]:
        near = ranked[i, : k + 1]
        return set(near[(ranked[near, : k + 1] == i).any(axis=1)].tolist())

    weights = np.zeros((n, n), np.float32)
    for i in range(n):
        whole = mutual(i, k1)
        members = set(whole)
        for j in whole:
            half = mutual(j, int(np.around(k1 / 2)))
            if len(half & whole) > 2 / 3 * len(half):
                members |= half
        columns = sorted(members)
        weights[i, columns] = np.exp(-apart[i, columns])
        weights[i] /= weights[i].sum()
    if k2 > 1:
        weights = np.stack([weights[ranked[i, :k2]].mean(axis=0) for i in range(n)])
    shared = np.stack([np.minimum(one, weights).sum(axis=1) for one in weights[: len(queries)]])
    jaccard = 1 - shared / (2 - shared)
    table = (1 - lambda_value) * jaccard + lambda_value * apart[: len(queries)]
    return table[:, len(queries) :]


def clustered(
    seed: int, *, q: int = 40, n: int = 160, size: int = 12, noise: float = 0.7, unit: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 14, q + n)
    vectors = random.normal(size=(14, size))[labels] + noise * random.normal(size=(q + n, size))
    if unit:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32)
    return vectors[:q], vectors[q:], labels[:q], labels[q:]


def table(queries: Any, gallery: Any, **given: Any) -> np.ndarray:
    blocks = list(rerank(queries, gallery, **given))
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == list(range(len(queries)))
    assert all(distances.dtype == np.float32 for _, distances in blocks)
    return np.concatenate([distances for _, distances in blocks])


@pytest.mark.parametrize(
    ("k1", "k2", "lambda_value"),
    [(20, 6, 0.3), (20, 1, 0.3), (5, 2, 0.0), (7, 9, 0.8), (1, 3, 0.5), (500, 300, 0.3)],
)
def test_distances_are_those_of_the_dense_method(k1: int, k2: int, lambda_value: float) -> None:
    """k1 / 2 rounds to even for 5 and away from it for 7; 500 is more than there are vectors."""
    for seed, unit in ((0, True), (1, False)):
        queries, gallery, *_ = clustered(seed, q=20, n=60, unit=unit)
        wanted = dense(queries, gallery, k1, k2, lambda_value)
        got = table(queries, gallery, k1=k1, k2=k2, lambda_value=lambda_value)
        np.testing.assert_allclose(got, wanted, atol=2e-6)


@pytest.mark.parametrize(("q", "n"), [(1, 1), (1, 30), (30, 1), (32, 33), (3, 80)])
def test_tiles_and_blocks_change_nothing(q: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 7, 17, 32 rows and of all: the queries end between tiles and inside of one."""
    queries, gallery, *_ = clustered(2, q=q, n=n)
    wanted = dense(queries, gallery, 6, 3, 0.3)
    for shortest in (7, 17, 32):
        monkeypatch.setattr("sightline.metrics.all_neighbours._SHORTEST_TILE", shortest)
        small = list(rerank(queries, gallery, k1=6, k2=3, settings=RankingSettings(memory_mib=0)))
        assert len(small) == q
        np.testing.assert_allclose(np.concatenate([one for _, one in small]), wanted, atol=2e-6)
    np.testing.assert_allclose(table(queries, gallery, k1=6, k2=3), wanted, atol=2e-6)


def test_blocks_hold_as_many_queries_as_fit() -> None:
    """A MiB: 24 bytes for each of 2,000 pictures, and 64 for each neighbour that is shared."""
    queries, gallery, *_ = clustered(12, q=64, n=2000, size=4)
    blocks = list(rerank(queries, gallery, k1=5, k2=2, settings=RankingSettings(memory_mib=1)))
    sizes = [len(rows) for rows, _ in blocks]
    assert 4 <= len(sizes) <= 16
    assert min(sizes[:-1]) > 2
    assert max(sizes) <= 2**20 // (24 * 2000)


def test_rows_that_are_expanded_or_measured_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery, *_ = clustered(3)
    whole = table(queries, gallery)
    monkeypatch.setattr("sightline.metrics.reciprocal._ROWS", 7)
    monkeypatch.setattr("sightline.metrics.reciprocal._PAIR_BYTES", 4 * 12 * 5)
    np.testing.assert_allclose(table(queries, gallery), whole, atol=1e-7)


def test_lambda_one_is_the_plain_order() -> None:
    queries, gallery, *_ = clustered(4)
    got = table(queries, gallery, lambda_value=1.0)
    apart = ((queries[:, None] - gallery) ** 2).sum(axis=2)
    everyone = np.concatenate([queries, gallery])
    farthest = ((queries[:, None] - everyone) ** 2).sum(axis=2).max(axis=1)
    np.testing.assert_allclose(got, apart / farthest[:, None], atol=1e-6)


@pytest.mark.parametrize("memory", [0, 256])
def test_pictures_that_are_each_other_s_gallery_stand_once(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the first of them were the queries, and then the rest."""
    monkeypatch.setattr("sightline.metrics.all_neighbours._SHORTEST_TILE", 16)
    vectors, *_ = clustered(11, q=50, n=1)
    got = table(vectors, None, k1=6, k2=3, settings=RankingSettings(memory_mib=memory))
    assert got.shape == (50, 50)
    for at in (10, 40):
        parted = table(vectors[:at], vectors[at:], k1=6, k2=3)
        np.testing.assert_allclose(got[:at, at:], parted, atol=2e-6)
    turned = table(vectors[::-1], None, k1=6, k2=3)[::-1, ::-1]
    np.testing.assert_allclose(got, turned, atol=2e-6)
    np.testing.assert_allclose(np.diag(got), 0, atol=2e-6)


def test_pictures_that_share_no_neighbour_are_as_far_as_can_be() -> None:
    queries, gallery, *_ = clustered(5)
    got = table(queries, gallery, lambda_value=0.0, k1=4, k2=2)
    assert got.min() >= 0
    assert got.max() == 1
    assert (got == 1).mean() > 0.5


def test_it_finds_more() -> None:
    """On clusters that overlap mAP rises, as it does in the paper."""
    queries, gallery, asked, held = clustered(6, q=80, n=600, size=16, noise=1.1)
    protocol = camera_rule(asked, held)
    plain = reid_scores(queries, gallery, protocol).mean("average_precision")
    better = reid_scores_of_distances(rerank(queries, gallery), protocol)
    assert better.mean("average_precision") > plain + 0.05


def test_order_of_gallery_and_queries_is_nothing() -> None:
    random = np.random.default_rng(0)
    queries, gallery, *_ = clustered(7)
    rows, places = random.permutation(len(gallery)), random.permutation(len(queries))
    turned = table(queries[places], gallery[rows])
    np.testing.assert_allclose(turned, table(queries, gallery)[places][:, rows], atol=2e-6)


def test_scale_is_nothing() -> None:
    queries, gallery, *_ = clustered(8, unit=False)
    np.testing.assert_allclose(table(8 * queries, 8 * gallery), table(queries, gallery), atol=1e-6)


def test_equal_vectors_have_finite_distances() -> None:
    """All equal, and more copies of one picture than k1: the dense method divides by zero."""
    one = np.ones((5, 3), np.float32)
    assert np.isfinite(table(one, np.ones((40, 3), np.float32))).all()
    queries, gallery, *_ = clustered(9)
    gallery[:60] = gallery[0]
    got = table(queries, gallery, k1=5, k2=3)
    assert np.isfinite(got).all()
    assert (got >= 0).all()


def test_vectors_are_left_as_they_are(tmp_path: Path) -> None:
    queries, gallery, *_ = clustered(10)
    wanted = table(queries, gallery)
    np.save(tmp_path / "gallery.npy", gallery)
    on_disk = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    np.testing.assert_array_equal(table(queries, on_disk), wanted)
    np.testing.assert_array_equal(table(queries.astype(np.float64), gallery), wanted)
    half = gallery.astype(np.float16), queries.astype(np.float16)
    np.testing.assert_array_equal(
        table(half[1], half[0]), table(half[1].astype(np.float32), half[0].astype(np.float32))
    )
    kept = queries.copy(), gallery.copy()
    table(np.asfortranarray(queries), gallery)
    assert (queries == kept[0]).all()
    assert (gallery == kept[1]).all()


def test_neighbours_are_those_of_a_sorted_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers, so that many distances are equal: itself first, then by distance and row."""
    monkeypatch.setattr("sightline.metrics.all_neighbours._SHORTEST_TILE", 16)
    random = np.random.default_rng(1)
    vectors = random.integers(-2, 3, (70, 3)).astype(np.float32)
    stacked = StackedVectors(vectors[:25], vectors[25:], "cpu")
    found = all_neighbours(stacked, 9, RankingSettings(memory_mib=0))
    apart = ((vectors[:, None] - vectors) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found.farthest, apart.max(axis=1))
    for row in range(70):
        near, distances = found.rows[row].tolist(), found.distances[row]
        assert near[0] == row
        assert len(set(near)) == 9
        np.testing.assert_array_equal(distances, apart[row, near])
        np.testing.assert_array_equal(distances, np.sort(apart[row])[:9])
        rest = list(zip(distances[1:].tolist(), near[1:], strict=True))
        assert rest == sorted(rest)


def test_no_queries_no_blocks() -> None:
    _, gallery, *_ = clustered(0)
    assert list(rerank(gallery[:0], gallery)) == []


def test_wrong_input_is_refused_before_anything_is_ranked() -> None:
    queries, gallery, *_ = clustered(0)
    bad = gallery.copy()
    bad[17, 1] = np.nan
    settings: list[dict[str, Any]] = [
        {"k1": 0}, {"k2": 0}, {"lambda_value": 1.5}, {"lambda_value": float("nan")}
    ]  # fmt: skip
    for wrong in settings:
        with pytest.raises(DataError, match="no settings of k-reciprocal"):
            rerank(queries, gallery, **wrong)
    cases: list[tuple[Any, str]] = [
        (bad, "not finite"),
        (gallery[:, :2], "do not belong together"),
        (gallery[:0], "gallery is empty"),
        (gallery * np.float32(1e19), "overflow"),
    ]
    for other, message in cases:
        with pytest.raises(DataError, match=message):
            rerank(queries, other)
