"""Ranks of relevant items against a plain loop; ties, exclusions, blocks and wrong input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DataError
from sightline.metrics.ranking import RankBlock, RankingSettings, rank_relevant


def slow_ranks(
    scores: list[float], label: int, gallery_labels: list[int], left_out: set[int]
) -> tuple[list[int], int]:
    """Rank one query by sorting (score, relevance): the irrelevant first among equals."""
    kept = [row for row in range(len(scores)) if row not in left_out]
    order = sorted(kept, key=lambda row: (-scores[row], gallery_labels[row] == label))
    ranks = [at for at, row in enumerate(order, 1) if gallery_labels[row] == label]
    return ranks, len(kept)


def unpacked(blocks: list[RankBlock]) -> dict[int, tuple[list[int], int]]:
    found = {}
    for block in blocks:
        assert block.ranks.dtype == np.int32
        for at, query in enumerate(block.queries.tolist()):
            ranks = block.ranks[block.offsets[at] : block.offsets[at + 1]].tolist()
            found[query] = ranks, int(block.ranked[at])
    return found


def problem(seed: int, *, q: int = 12, n: int = 40, classes: int = 5) -> dict[str, Any]:
    """Vectors of few whole numbers: scores are exact in float32 and many are equal."""
    random = np.random.default_rng(seed)
    return {
        "queries": random.integers(-2, 3, (q, 3)).astype(np.float32),
        "gallery": random.integers(-2, 3, (n, 3)).astype(np.float32),
        "query_labels": random.integers(0, classes + 1, q),
        "gallery_labels": random.integers(0, classes, n),
    }


def expected(one: dict[str, Any], codes: Any = None) -> dict[int, tuple[list[int], int]]:
    scores = (one["queries"].astype(np.float64) @ one["gallery"].T.astype(np.float64)).tolist()
    labels = one["gallery_labels"].tolist()
    found = {}
    for query, label in enumerate(one["query_labels"].tolist()):
        out: set[int] = set()
        if codes is not None and codes[0][query] >= 0:
            out = {row for row, code in enumerate(codes[1]) if code == codes[0][query]}
        found[query] = slow_ranks(scores[query], label, labels, out)
    return found


@pytest.fixture(params=[(48, 16), (0, 16), (0, 1), (0, 10**9)], ids=str)
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting rivals, sorting the row, sorting only rivals: always, or as many as are few."""
    monkeypatch.setattr("sightline.metrics.ranking._COUNTED", request.param[0])
    monkeypatch.setattr("sightline.metrics.ranking._FEW", request.param[1])


@pytest.mark.usefixtures("each_way")
def test_ranks_are_those_of_a_plain_loop() -> None:
    for seed in range(30):
        one = problem(seed)
        assert unpacked(list(rank_relevant(**one))) == expected(one)


@pytest.mark.usefixtures("each_way")
def test_what_is_excluded_has_no_rank() -> None:
    for seed in range(30):
        one = problem(seed)
        random = np.random.default_rng(seed + 1000)
        codes = random.integers(-1, 4, 12), random.integers(-1, 4, 40)
        found = unpacked(list(rank_relevant(**one, exclude=codes)))
        assert found == expected(one, codes)


def test_leaving_itself_out() -> None:
    one = problem(3, q=20, n=20)
    vectors, labels = one["gallery"], one["gallery_labels"]
    rows = np.arange(20)
    found = unpacked(
        list(
            rank_relevant(
                vectors, vectors, query_labels=labels, gallery_labels=labels, exclude=(rows, rows)
            )
        )
    )
    assert all(ranked == 19 for _, ranked in found.values())
    together = {label: int((labels == label).sum()) for label in labels.tolist()}
    assert [len(found[row][0]) for row in range(20)] == [together[one] - 1 for one in labels]


def test_negative_codes_exclude_nothing() -> None:
    one = problem(4)
    codes = np.full(12, -1), np.full(40, -1)
    assert unpacked(list(rank_relevant(**one, exclude=codes))) == expected(one)


def test_equal_vectors_are_worse_than_chance() -> None:
    """All relevant items stand behind all others, though a matrix product may round by place."""
    random = np.random.default_rng(0)
    for size in (8, 96):
        vector = random.normal(size=size).astype(np.float32)
        vector /= np.linalg.norm(vector)
        queries, gallery = (np.tile(vector, (n, 1)) for n in (5, 333))
        labels = np.arange(333) % 9
        (block,) = rank_relevant(
            queries, gallery, query_labels=np.zeros(5, int), gallery_labels=labels
        )
        relevant = 37
        # By chance the median rank is 167.
        assert np.median(block.ranks) > 333 / 2 - 5
        assert len(block.ranks) == 5 * relevant


def test_exact_ties_stand_last() -> None:
    (block,) = rank_relevant(
        np.ones((1, 2), np.float32),
        np.ones((6, 2), np.float32),
        query_labels=[1],
        gallery_labels=[1, 0, 1, 0, 0, 0],
    )
    assert block.ranks.tolist() == [5, 6]


@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), classes=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_order_of_gallery_and_queries_is_nothing(seed: int, n: int, classes: int) -> None:
    one = problem(seed, n=n, classes=classes)
    random = np.random.default_rng(seed)
    rows, places = random.permutation(n), random.permutation(12)
    turned = {
        "queries": one["queries"][places],
        "gallery": one["gallery"][rows],
        "query_labels": one["query_labels"][places],
        "gallery_labels": one["gallery_labels"][rows],
    }
    plain, other = (unpacked(list(rank_relevant(**each))) for each in (one, turned))
    assert {int(places[at]): found for at, found in other.items()} == plain


@pytest.mark.parametrize(("classes", "held"), [(5, 3), (2000, 12)])
def test_blocks_and_threads_change_nothing(
    classes: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A MiB holds the float32 scores of 13 queries, and fewer with many ranks to keep of each."""
    one = problem(7, q=50, n=20_000, classes=classes)
    plain = list(rank_relevant(**one, settings=RankingSettings(threads=1)))
    assert len(plain) == 1
    monkeypatch.setattr("sightline.metrics.ranking._PIECE_BYTES", 777 * 3 * 4)
    parts = list(rank_relevant(**one, settings=RankingSettings(memory_mib=1, threads=3)))
    assert held <= len(parts[0].queries) <= 13
    assert np.concatenate([part.queries for part in parts]).tolist() == list(range(50))
    assert unpacked(parts) == unpacked(plain)


def test_one_query_at_least_is_scored() -> None:
    one = problem(7, q=3, n=50)
    blocks = list(rank_relevant(**one, settings=RankingSettings(memory_mib=0)))
    assert [block.queries.tolist() for block in blocks] == [[0], [1], [2]]
    assert unpacked(blocks) == expected(one)


def test_what_is_oneis_left_as_it_is(tmp_path: Path) -> None:
    """Read-only arrays on disk, float16 and float64, and rows that are not contiguous."""
    one = problem(9)
    ways: list[Callable[[Any], Any]] = [
        lambda array: array.astype(np.float16),
        lambda array: array.astype(np.float64),
        lambda array: np.asfortranarray(array),
        lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    ]
    for way in ways:
        both = {name: way(one[name]) for name in ("queries", "gallery")}
        kept = {name: array.copy() for name, array in both.items()}
        assert unpacked(list(rank_relevant(**{**one, **both}))) == expected(one)
        assert all((kept[name] == both[name]).all() for name in both)
    np.save(tmp_path / "gallery.npy", one["gallery"])
    on_disk = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    assert unpacked(list(rank_relevant(**{**one, "gallery": on_disk}))) == expected(one)


def test_no_queries_no_blocks() -> None:
    one = problem(1, q=0)
    assert list(rank_relevant(**one)) == []


def test_wrong_input_is_refused_before_anything_is_ranked() -> None:
    one = problem(2)
    bad = one["gallery"].copy()
    bad[17, 1] = np.nan
    cases = [
        ({"gallery": bad}, "not finite"),
        ({"gallery": one["gallery"][:, :2]}, "do not belong together"),
        ({"gallery": one["gallery"][0]}, "do not belong together"),
        ({"gallery": one["gallery"][:0], "gallery_labels": []}, "gallery is empty"),
        ({"gallery_labels": [1]}, "Labels and vectors"),
        ({"query_labels": np.zeros(12)}, "whole numbers"),
    ]
    for change, message in cases:
        with pytest.raises(DataError, match=message):
            rank_relevant(**{**one, **change})
    with pytest.raises(DataError, match="row 17"):
        rank_relevant(**{**one, "gallery": bad})
    long = {"queries": one["queries"] * np.float32(1e19), "gallery": one["gallery"] * 1e20}
    with pytest.raises(DataError, match="too long"):
        rank_relevant(**{**one, **long})
