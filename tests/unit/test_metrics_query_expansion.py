"""Expanded queries against a plain loop, and what must hold for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.metrics.query_expansion import expand_queries
from sightline.metrics.ranking import RankingSettings
from sightline.metrics.reid import reid_scores
from sightline.metrics.same_camera import camera_rule


def slow(
    queries: np.ndarray, gallery: np.ndarray, k: int, alpha: float, own: list[int]
) -> np.ndarray:
    units = [one / np.linalg.norm(one) for one in gallery.astype(np.float64)]
    found = []
    for query, itself in zip(queries.astype(np.float64), own, strict=True):
        total = start = query / np.linalg.norm(query)
        rows = [row for row in range(len(units)) if row != itself]
        for row in sorted(rows, key=lambda row: -float(start @ units[row]))[:k]:
            cosine = float(start @ units[row])
            total = total + (cosine**alpha if cosine > 0 else 0) * units[row]
        found.append(total / np.linalg.norm(total))
    return np.array(found)


def problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return tuple(random.normal(size=(n, 4)).astype(np.float32) for n in (9, 30))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("k", [1, 5, 29])
def test_queries_are_those_of_a_plain_loop(k: int, alpha: float) -> None:
    """29 of 30 neighbours: some look the other way and weigh nothing."""
    for seed in range(5):
        queries, gallery = problem(seed)
        got = expand_queries(queries, gallery, k=k, alpha=alpha)
        np.testing.assert_allclose(got, slow(queries, gallery, k, alpha, [-1] * 9), atol=1e-6)
        assert got.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, rtol=1e-6)


def test_a_picture_is_not_its_own_neighbour() -> None:
    _, gallery = problem(1)
    own = [0, 1, -1, 3]
    queries = gallery[:4]
    got = expand_queries(queries, gallery, k=3, query_rows=own)
    np.testing.assert_allclose(got, slow(queries, gallery, 3, 3.0, own), atol=1e-6)
    plain = expand_queries(queries, gallery, k=3)
    assert (np.abs(got - plain).max(axis=1) > 1e-4).tolist() == [True, True, False, True]


def test_scale_and_blocks_are_nothing() -> None:
    queries, gallery = problem(2)
    wanted = expand_queries(queries, gallery, k=4)
    kept = queries.copy(), gallery.copy()
    factors = np.random.default_rng(0).uniform(0.5, 9, (30, 1)).astype(np.float32)
    small = RankingSettings(memory_mib=0)
    got = expand_queries(5 * queries, factors * gallery, k=4, settings=small)
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    got = expand_queries(queries.astype(np.float64), gallery.astype(np.float64), k=4)
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert (queries == kept[0]).all()
    assert (gallery == kept[1]).all()


def test_noisy_queries_find_more() -> None:
    random = np.random.default_rng(3)
    centres = random.normal(size=(20, 16))
    asked, held = random.integers(0, 20, 100), random.integers(0, 20, 600)
    queries = centres[asked] + 1.6 * random.normal(size=(100, 16))
    gallery = centres[held] + 0.6 * random.normal(size=(600, 16))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    protocol = camera_rule(asked, held)
    plain = reid_scores(queries, gallery, protocol).mean("average_precision")
    for alpha in (0.0, 3.0):
        expanded = expand_queries(queries, gallery, k=10, alpha=alpha)
        assert reid_scores(expanded, gallery, protocol).mean("average_precision") > plain + 0.03


def test_no_queries_no_vectors() -> None:
    queries, gallery = problem(0)
    assert expand_queries(queries[:0], gallery, k=2).shape == (0, 4)


def test_wrong_input_is_refused() -> None:
    queries, gallery = problem(0)
    zero = gallery.copy()
    zero[7] = 0
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (gallery, {"k": 0}, "1 to 30"),
        (gallery, {"k": 31}, "1 to 30"),
        (gallery, {"k": 30, "query_rows": range(9)}, "1 to 29"),
        (gallery, {"k": 2, "alpha": -1.0}, "alpha >= 0"),
        (gallery, {"k": 2, "query_rows": [30] * 9}, "not in the gallery"),
        (gallery, {"k": 2, "query_rows": [0]}, "9 whole numbers"),
        (zero, {"k": 2}, "row 7"),
        (gallery[:, :2], {"k": 2}, "do not belong together"),
    ]
    for other, given, message in cases:
        with pytest.raises(DataError, match=message):
            expand_queries(queries, other, **given)
