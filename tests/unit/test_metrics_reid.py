"""Scores of re-identification against plain loops; the camera rule, own rows and wrong input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DataError
from sightline.metrics.grouped_means import mean_estimate
from sightline.metrics.ranking import RankBlock, RankingSettings
from sightline.metrics.reid import (
    ReidScores,
    reid_scores,
    reid_scores_of_distances,
    reid_scores_of_ranks,
)
from sightline.metrics.same_camera import CameraRule, camera_rule

FIELDS = ("first_rank", "relevant", "ranked", "average_precision", "inverse_penalty")


def slow(distances: list[float], matches: list[bool], left_out: list[bool]) -> list[float]:
    """One query: sort what is left, the wrong first among equals, and walk down the list."""
    kept = [row for row in range(len(distances)) if not left_out[row]]
    hits = [matches[row] for row in sorted(kept, key=lambda row: (distances[row], matches[row]))]
    places = [at for at, hit in enumerate(hits, 1) if hit]
    if not places:
        return [0, 0, len(hits), math.nan, math.nan]
    precisions = [found / at for found, at in enumerate(places, 1)]
    average = sum(precisions) / len(places)
    return [places[0], len(places), len(hits), average, len(places) / places[-1]]


def problem(seed: int, *, q: int = 15, n: int = 60) -> dict[str, Any]:
    """Vectors of few whole numbers, so that distances are exact and many are equal."""
    random = np.random.default_rng(seed)
    return {
        "queries": random.integers(-2, 3, (q, 3)).astype(np.float32),
        "gallery": random.integers(-2, 3, (n, 3)).astype(np.float32),
        "labels": (random.integers(0, 7, q), random.integers(0, 6, n)),
        "cameras": (random.integers(-1, 3, q), random.integers(-1, 3, n)),
    }


def protocol_of(one: dict[str, Any], **more: Any) -> CameraRule:
    queries, gallery = one["cameras"]
    return camera_rule(*one["labels"], query_cameras=queries, gallery_cameras=gallery, **more)


def distances_of(one: dict[str, Any]) -> np.ndarray:
    apart = one["queries"][:, None].astype(np.float64) - one["gallery"][None]
    return (apart**2).sum(axis=2).astype(np.float32)


def in_blocks(distances: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.arange(len(distances))
    return [(rows[at : at + size], distances[at : at + size]) for at in range(0, len(rows), size)]


def expected(one: dict[str, Any], distances: np.ndarray, *, filters: bool) -> np.ndarray:
    rows = []
    for query, label in enumerate(one["labels"][0]):
        matches = one["labels"][1] == label
        camera = one["cameras"][0][query]
        out = matches & (one["cameras"][1] == camera) & (camera >= 0) & filters
        rows.append(slow(distances[query].tolist(), matches.tolist(), out.tolist()))
    return np.array(rows)


def found(scores: ReidScores) -> np.ndarray:
    return np.stack([getattr(scores, name) for name in FIELDS], axis=1)


@pytest.mark.parametrize("rule", ["filter", "keep"])
def test_scores_are_those_of_plain_loops(rule: Any) -> None:
    for seed in range(15):
        one = problem(seed)
        distances = distances_of(one)
        protocol = protocol_of(one, same_camera=rule)
        kept = distances.copy()
        scores = reid_scores_of_distances(in_blocks(distances, 4), protocol)
        np.testing.assert_allclose(
            found(scores), expected(one, distances, filters=rule == "filter"), rtol=1e-12
        )
        assert (distances == kept).all()
        by_product = reid_scores(one["queries"], one["gallery"], protocol)
        products = -one["queries"] @ one["gallery"].T
        np.testing.assert_allclose(
            found(by_product), expected(one, products, filters=rule == "filter"), rtol=1e-12
        )


def test_scores_are_those_of_the_field_s_evaluation_loop() -> None:
    """Argsort of the whole table, then for each query masks and cumulative sums."""
    random = np.random.default_rng(0)
    one = problem(0, q=80, n=500)
    distances = random.random((80, 500), dtype=np.float32)
    order = np.argsort(distances, axis=1)
    curves, averages = [], []
    for query in range(80):
        ranked = order[query]
        same = one["labels"][1][ranked] == one["labels"][0][query]
        camera = one["cameras"][0][query]
        hits = same[~(same & (one["cameras"][1][ranked] == camera) & (camera >= 0))]
        if hits.any():
            curves.append(np.minimum(hits.cumsum(), 1)[:50])
            precision = hits.cumsum() / np.arange(1, len(hits) + 1)
            averages.append((precision * hits).sum() / hits.sum())
    scores = reid_scores_of_distances(in_blocks(distances, 32), protocol_of(one))
    assert scores.unmatched == 80 - len(curves) > 0
    np.testing.assert_allclose(scores.cmc(), np.mean(curves, axis=0), rtol=1e-12)
    assert scores.mean("average_precision") == pytest.approx(np.mean(averages), abs=1e-12)
    for k in (1, 5, 10):
        assert scores.mean(f"rank_{k}") == pytest.approx(scores.cmc()[k - 1], abs=1e-12)


def test_a_ranking_worked_by_hand() -> None:
    """Matches at 1, 3 and 6 of 10, none, and one at 2."""
    ranks, offsets = np.array([1, 3, 6, 2], dtype=np.int32), np.array([0, 3, 3, 4])
    block = RankBlock(np.arange(3), ranks, offsets, np.array([10, 4, 9]))
    scores = reid_scores_of_ranks([block], ranks=(1, 2))
    assert scores.first_rank.tolist() == [1, 0, 2]
    assert scores.average_precision[0] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert scores.inverse_penalty[0] == pytest.approx(3 / 6)
    assert (scores.average_precision[2], scores.inverse_penalty[2]) == (0.5, 0.5)
    assert np.isnan([scores.average_precision[1], scores.inverse_penalty[1]]).all()
    assert scores.matched.tolist() == [True, False, True]
    assert scores.unmatched == 1
    assert scores.cmc(3).tolist() == [0.5, 1.0, 1.0]
    np.testing.assert_array_equal(scores.rank_hits(1), [1, np.nan, 0])
    assert set(scores.columns()) == {"rank_1", "rank_2", "average_precision", "inverse_penalty"}
    assert scores.mean("inverse_penalty") == 0.5


def test_a_rank_beyond_the_gallery_is_undefined_alone() -> None:
    """Only matched queries count: the unmatched one ranks 4 pictures."""
    ranks, offsets = np.array([1, 2], dtype=np.int32), np.array([0, 1, 1, 2])
    block = RankBlock(np.arange(3), ranks, offsets, np.array([8, 4, 6]))
    scores = reid_scores_of_ranks([block], ranks=(5, 6, 7, 10))
    assert set(scores.undefined) == {7, 10}
    assert "rank 7" in scores.undefined[7]
    assert "6 gallery pictures" in scores.undefined[7]
    assert "1 of 2 queries" in scores.undefined[7]
    assert scores.mean("rank_6") == 1
    assert math.isnan(scores.mean("rank_7"))
    curve = scores.cmc(50)
    assert len(curve) == 50
    assert np.isfinite(curve[:6]).all()
    assert np.isnan(curve[6:]).all()


def test_a_picture_is_never_its_own_match() -> None:
    """With cameras, without, with unknown ones, and where nothing is dropped by camera."""
    one = problem(3, q=30, n=30)
    labels, vectors, rows = one["labels"][1], one["gallery"], np.arange(30)
    together = np.array([(labels == label).sum() for label in labels])
    unknown, apart = np.full(30, -1), np.arange(30)
    for cameras, rule in [(None, "auto"), (apart, "keep"), (unknown, "filter"), (apart, "filter")]:
        protocol = camera_rule(
            labels, labels, query_cameras=cameras, gallery_cameras=cameras, same_camera=rule,
            query_rows=rows,
        )  # fmt: skip
        scores = reid_scores(vectors, vectors, protocol)
        assert (scores.relevant == together - 1).all()
        assert (scores.ranked == 29).all()


def test_own_rows_of_some_queries() -> None:
    """Query 0 is row 2 of the gallery, query 1 is not in it; cameras partly unknown."""
    protocol = camera_rule(
        [1, 1], [1, 1, 1, 2], query_cameras=[-1, 4], gallery_cameras=[4, -1, -1, -1],
        query_rows=[2, -1],
    )  # fmt: skip
    out = [(protocol.exclude[1] == code).nonzero()[0].tolist() for code in protocol.exclude[0]]
    assert out == [[2], [0]]


def test_what_auto_does() -> None:
    labels = [1], [1, 1]
    assert camera_rule(*labels).same_camera == "keep"
    cameras = {"query_cameras": [0], "gallery_cameras": [0, 1]}
    assert camera_rule(*labels, **cameras).same_camera == "filter"
    keeps = camera_rule(*labels, **cameras, same_camera="keep")
    assert (keeps.exclude[0] == -1).all()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_order_and_names_are_nothing(seed: int) -> None:
    """Of queries, gallery, identities and cameras."""
    one = problem(seed)
    random = np.random.default_rng(seed)
    queries, gallery, names = random.permutation(15), random.permutation(60), random.permutation(9)
    turned = {
        "queries": one["queries"][queries],
        "gallery": one["gallery"][gallery],
        "labels": (names[one["labels"][0][queries]] - 4, names[one["labels"][1][gallery]] - 4),
        "cameras": tuple(
            np.where(some < 0, -3, names[some] * 100)
            for some in (one["cameras"][0][queries], one["cameras"][1][gallery])
        ),
    }
    plain, other = (
        reid_scores(each["queries"], each["gallery"], protocol_of(each)) for each in (one, turned)
    )
    np.testing.assert_array_equal(found(other), found(plain)[queries])


def test_unit_vectors_are_ranked_by_any_distance() -> None:
    random = np.random.default_rng(5)
    one = problem(5)
    for name in ("queries", "gallery"):
        vectors = random.normal(size=(len(one[name]), 8))
        one[name] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    squared = distances_of(one)
    by_product = found(reid_scores(one["queries"], one["gallery"], protocol_of(one)))
    for distances in (squared, np.sqrt(squared)):
        scores = reid_scores_of_distances(in_blocks(distances, 7), protocol_of(one))
        np.testing.assert_allclose(found(scores), by_product)


def test_perfect_is_one_and_equal_vectors_are_not() -> None:
    labels = np.repeat(np.arange(5), 6)
    cameras = np.tile([0, 1, 2], 10)
    protocol = camera_rule(
        labels, labels, query_cameras=cameras, gallery_cameras=cameras, query_rows=np.arange(30)
    )
    perfect = reid_scores(*[np.eye(5, dtype=np.float32)[labels]] * 2, protocol)
    assert all(perfect.mean(name) == 1 for name in perfect.columns())
    assert perfect.relevant.tolist() == [4] * 30
    equal = reid_scores(*[np.ones((30, 4), np.float32) / 2] * 2, protocol)
    assert equal.first_rank.tolist() == [25] * 30
    assert equal.mean("rank_10") == 0


def test_intervals_are_over_identities() -> None:
    one = problem(2, q=60)
    scores = reid_scores(one["queries"], one["gallery"], protocol_of(one))
    estimate = mean_estimate(scores.average_precision, groups=one["labels"][0])
    assert estimate.value == pytest.approx(scores.mean("average_precision"))
    assert estimate.n == len(set(one["labels"][0][scores.matched].tolist()))


def test_memory_and_threads_change_nothing() -> None:
    one = problem(6, q=50, n=200)
    plain = reid_scores(one["queries"], one["gallery"], protocol_of(one))
    small = RankingSettings(memory_mib=0, threads=3)
    parts = reid_scores(one["queries"], one["gallery"], protocol_of(one), settings=small)
    np.testing.assert_array_equal(found(parts), found(plain))


def test_nothing_to_find_is_an_error_that_says_what_would_work() -> None:
    one = problem(1)
    one["cameras"] = np.zeros(15, int), np.zeros(60, int)
    with pytest.raises(DataError, match="set same_camera to keep"):
        reid_scores(one["queries"], one["gallery"], protocol_of(one))
    assert reid_scores(one["queries"], one["gallery"], protocol_of(one, same_camera="keep"))
    with pytest.raises(DataError, match="0 queries"):
        reid_scores_of_ranks([])
    with pytest.raises(DataError, match="counted from 1"):
        reid_scores(one["queries"], one["gallery"], protocol_of(one), ranks=(0,))


def test_wrong_protocols_are_refused() -> None:
    labels = [1, 2], [1, 2, 3]
    both = {"query_cameras": [0, 1], "gallery_cameras": [0, 1, 2]}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"query_cameras": [0, 1]}, "none for the gallery"),
        ({"gallery_cameras": [0, 1, 2]}, "none for the queries"),
        ({"query_cameras": [0], "gallery_cameras": [0, 1, 2]}, "2 whole numbers"),
        ({"same_camera": "filter"}, "there are no cameras"),
        ({"same_camera": "drop"}, "no such camera rule"),
        ({"query_rows": [0, 3]}, "not in the gallery"),
        ({"query_rows": [0]}, "2 whole numbers"),
        ({"query_rows": [1, -1]}, "differ in their identity"),
        (both | {"query_cameras": [1, 1], "query_rows": [0, -1]}, "differ in their camera"),
    ]
    for wrong, message in cases:
        with pytest.raises(DataError, match=message):
            camera_rule(*labels, **wrong)
    with pytest.raises(DataError, match="whole numbers"):
        camera_rule(["a"], [1])


def test_wrong_blocks_of_distances_are_refused() -> None:
    one = problem(1)
    distances = distances_of(one)
    blocks = in_blocks(distances, 5)
    bad = distances.copy()
    bad[7, 3] = np.nan
    cases = [
        (blocks[:2], "missing"),
        (blocks[1:], "does not fit"),
        ([*blocks, blocks[-1]], "does not fit"),
        ([*blocks, (np.arange(15, 20), distances[:5])], "does not fit"),
        (in_blocks(distances[:, :9], 5), "does not fit"),
        (in_blocks(bad, 5), "query 7"),
    ]
    for wrong, message in cases:
        with pytest.raises(DataError, match=message):
            reid_scores_of_distances(wrong, protocol_of(one))
    far = np.full_like(distances, np.finfo(np.float32).max)
    assert reid_scores_of_distances(in_blocks(far, 5), protocol_of(one)).mean("rank_1") == 0
