"""Scores of retrieval against plain loops, hand-worked cases and what must hold for all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DataError
from sightline.metrics.grouped_means import class_means, mean_estimate
from sightline.metrics.ranking import RankBlock, RankingSettings, rank_relevant
from sightline.metrics.retrieval import (
    RetrievalScores,
    retrieval_scores,
    scores_of_ranks,
)


def slow_scores(scores: list[float], label: int, labels: list[int], k: int) -> dict[str, float]:
    """One query by plain loops over its whole ranking."""
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], labels[row] == label))
    hits = [labels[row] == label for row in order]
    r = sum(hits)
    if not r:
        return dict.fromkeys(NAMES, math.nan) | {f"recall_at_{k}": math.nan, "first_rank": 0}

    def precision(rank: int) -> float:
        return sum(hits[:rank]) / rank

    whole = sum(precision(rank) for rank in range(1, len(hits) + 1) if hits[rank - 1])
    first = sum(precision(rank) for rank in range(1, r + 1) if hits[rank - 1])
    return {
        "first_rank": hits.index(True) + 1,
        f"recall_at_{k}": float(any(hits[:k])),
        "r_precision": precision(r),
        "ap_at_r": first / r,
        "average_precision": whole / r,
        "reciprocal_rank": 1 / (hits.index(True) + 1),
    }


NAMES = ("ap_at_r", "r_precision", "reciprocal_rank", "average_precision")


def unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / lengths).astype(np.float32)


def problem(seed: int, *, q: int = 15, n: int = 60, noise: float = 1.0) -> dict[str, Any]:
    """Noisy unit vectors around the centres of 6 classes, the last of which has no gallery."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(6, 8))
    labels = {"query_labels": random.integers(0, 6, q), "gallery_labels": random.integers(0, 5, n)}
    return labels | {
        name: unit(centres[labels[f"{which}_labels"]] + noise * random.normal(size=(size, 8)))
        for name, which, size in (("queries", "query", q), ("gallery", "gallery", n))
    }


@pytest.mark.parametrize("seed", range(12))
def test_scores_are_those_of_plain_loops(seed: int) -> None:
    one = problem(seed)
    found = retrieval_scores(**one, recall_k=(3,))
    table = (one["queries"] @ one["gallery"].T).tolist()
    for query, label in enumerate(one["query_labels"].tolist()):
        slow = slow_scores(table[query], label, one["gallery_labels"].tolist(), 3)
        assert found.first_rank[query] == slow.pop("first_rank")
        for name, value in slow.items():
            assert found.columns()[name][query] == pytest.approx(value, abs=1e-6, nan_ok=True), name
    has_one = np.isin(one["query_labels"], one["gallery_labels"])
    assert (found.matched == has_one).all()
    assert found.unmatched == (~has_one).sum()
    counts = [int((one["gallery_labels"] == label).sum()) for label in one["query_labels"]]
    assert found.relevant.tolist() == counts


def block(ranks: list[list[int]], ranked: int = 10) -> RankBlock:
    flat = np.array([rank for one in ranks for rank in one], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, ranks)])
    return RankBlock(np.arange(len(ranks)), flat, offsets, np.full(len(ranks), ranked))


def test_a_ranking_worked_by_hand() -> None:
    """Relevant at 1, 3 and 6 of 10: R = 3, precisions 1, 2/3 and 1/2."""
    found = scores_of_ranks([block([[1, 3, 6], [], [2]])], recall_k=(1, 2))
    assert found.ap_at_r[0] == pytest.approx((1 + 2 / 3) / 3)
    assert found.r_precision[0] == pytest.approx(2 / 3)
    assert found.average_precision[0] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert found.first_rank.tolist() == [1, 0, 2]
    assert found.reciprocal_rank[[0, 2]].tolist() == [1, 0.5]
    assert (found.ap_at_r[2], found.r_precision[2], found.average_precision[2]) == (0, 0, 0.5)
    assert found.unmatched == 1
    assert np.isnan(found.ap_at_r[1])
    assert (found.mean("recall_at_1"), found.mean("recall_at_2")) == (0.5, 1.0)
    assert found.ranked.tolist() == [10, 10, 10]


def test_an_ap_at_r_is_divided_by_what_is_relevant_not_by_what_was_found() -> None:
    """One hit at rank 1 of 10 relevant: the mean over hits would be 1."""
    found = scores_of_ranks([block([[1, *range(50, 59)]], ranked=100)])
    assert found.ap_at_r[0] == pytest.approx(0.1)


def test_perfect_is_one() -> None:
    labels = np.repeat(np.arange(5), 7)
    vectors = np.eye(5, dtype=np.float32)[labels]
    found = retrieval_scores(
        vectors, vectors, query_labels=labels, gallery_labels=labels, recall_k=(1, 7)
    )
    assert all(found.mean(name) == 1 for name in found.columns())


def test_random_labels_are_chance() -> None:
    """With share p relevant: precision, and recall at 1, are p; recall at 5 is 1 - (1 - p)^5."""
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(4000, 16)))
    found = retrieval_scores(
        vectors[:2000],
        vectors[2000:],
        query_labels=random.integers(0, 4, 2000),
        gallery_labels=random.integers(0, 4, 2000),
    )
    assert found.mean("recall_at_1") == pytest.approx(0.25, abs=0.04)
    assert found.mean("recall_at_5") == pytest.approx(1 - 0.75**5, abs=0.04)
    assert found.mean("r_precision") == pytest.approx(0.25, abs=0.01)
    assert found.mean("average_precision") == pytest.approx(0.25, abs=0.01)


def test_equal_embeddings_do_not_score() -> None:
    labels = np.repeat(np.arange(4), 5)
    vectors = np.ones((20, 4), np.float32) / 2
    rows = np.arange(20)
    found = retrieval_scores(
        vectors, vectors, query_labels=labels, gallery_labels=labels, exclude=(rows, rows)
    )
    assert found.mean("recall_at_1") == 0
    assert found.mean("ap_at_r") == 0
    assert found.first_rank.tolist() == [16] * 20


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 0.5, 2.0, 64.0]))
@settings(max_examples=40, deadline=None)
def test_order_and_scale_are_nothing(seed: int, scale: float) -> None:
    """A power of two changes no rounding; each query may have a scale of its own."""
    one = problem(seed)
    random = np.random.default_rng(seed)
    rows, places = random.permutation(60), random.permutation(15)
    factors = np.where(random.random(15) < 0.5, scale, 1)[:, None].astype(np.float32)
    turned = {
        "queries": (factors * one["queries"])[places],
        "gallery": np.float32(scale) * one["gallery"][rows],
        "query_labels": one["query_labels"][places],
        "gallery_labels": one["gallery_labels"][rows],
    }
    plain, other = retrieval_scores(**one), retrieval_scores(**turned)
    for name, values in plain.columns().items():
        np.testing.assert_allclose(other.columns()[name], values[places], err_msg=name)


def test_blocks_join_in_order() -> None:
    one = problem(3)
    whole = retrieval_scores(**one)
    parts = scores_of_ranks(rank_relevant(**one, settings=RankingSettings(memory_mib=0)))
    assert (parts.first_rank == whole.first_rank).all()
    for name, values in whole.columns().items():
        np.testing.assert_array_equal(parts.columns()[name], values)


def test_a_k_beyond_the_gallery_is_undefined_and_says_why() -> None:
    one = problem(1, n=6)
    found = retrieval_scores(**one, recall_k=(1, 6, 7))
    assert set(found.undefined) == {7}
    assert "K = 7" in found.undefined[7]
    assert "6 gallery items" in found.undefined[7]
    assert np.isnan(found.recall[7]).all()
    assert math.isnan(found.mean("recall_at_7"))
    assert found.mean("recall_at_6") == 1
    assert 0 <= found.mean("recall_at_1") <= 1


def test_what_is_left_out_does_not_count_towards_k() -> None:
    one = problem(1, n=6)
    codes = np.zeros(15, int), np.array([0, 1, 1, 1, 1, 1])
    assert set(retrieval_scores(**one, exclude=codes, recall_k=(5, 6)).undefined) == {6}


def test_nothing_to_find_is_an_error() -> None:
    one = problem(1)
    with pytest.raises(DataError, match="No query has a relevant item"):
        retrieval_scores(**{**one, "query_labels": np.full(15, 99)})
    with pytest.raises(DataError, match="0 queries"):
        scores_of_ranks([])
    with pytest.raises(DataError, match="K of at least 1"):
        retrieval_scores(**one, recall_k=(1, 0))


# Means of scores, and their intervals.


def slow_macro(values: list[float], classes: list[Any]) -> float:
    means = []
    for one in sorted(set(classes)):
        of_class = [v for v, c in zip(values, classes, strict=True) if c == one]
        means.append(sum(of_class) / len(of_class))
    return sum(means) / len(means)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_means_are_those_of_plain_loops(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    values = random.random(n)
    classes, groups = random.integers(-3, 4, n), random.integers(0, 9, n).astype(str)
    macro = slow_macro(values.tolist(), classes.tolist())
    for given_groups in (None, groups):
        one = mean_estimate(values, groups=given_groups, resamples=50)
        other = mean_estimate(values, groups=given_groups, classes=classes, resamples=50)
        assert one.value == pytest.approx(values.mean())
        assert other.value == pytest.approx(macro)
        for estimate in (one, other):
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.n == (n if given_groups is None else len(set(groups.tolist())))
    found = class_means(values, classes)
    assert found.means.mean() == pytest.approx(macro)
    assert found.counts.sum() == n
    assert found.classes.tolist() == sorted(set(classes.tolist()))


def test_the_interval_covers_the_truth() -> None:
    """Over 60 samples of known mean: images, groups whose images agree, and classes."""
    held = np.zeros(3)
    for seed in range(60):
        random = np.random.default_rng(seed)
        images = random.random(80) < 0.7
        objects = np.repeat(random.random(60) < 0.7, 4)
        classes = np.repeat([0, 1], [150, 50])
        by_class = random.random(200) < np.where(classes == 0, 0.8, 0.4)
        for at, (estimate, truth) in enumerate(
            (
                (mean_estimate(images, resamples=100, seed=seed), 0.7),
                (mean_estimate(objects, groups=np.repeat(range(60), 4), resamples=100), 0.7),
                (mean_estimate(by_class, classes=classes, resamples=100), 0.6),
            )
        ):
            held[at] += estimate.low <= truth <= estimate.high
    # 57 are expected, with a standard deviation of 1.7.
    assert (held >= 50).all(), held
    assert (held < 60).all(), held


def test_groups_widen_the_interval() -> None:
    """Images of one object that are all alike hold no more than one of them does."""
    random = np.random.default_rng(0)
    objects = (random.random(50) < 0.6).astype(float)
    groups = np.repeat(np.arange(50), 16)
    by_image = mean_estimate(np.repeat(objects, 16))
    by_object = mean_estimate(np.repeat(objects, 16), groups=groups)
    ratio = (by_object.high - by_object.low) / (by_image.high - by_image.low)
    assert ratio == pytest.approx(4, rel=0.15)
    assert str(by_object).endswith("(n=50 groups)")
    alone = mean_estimate(objects, seed=0)
    assert (by_object.low, by_object.high) == pytest.approx((alone.low, alone.high))


def test_more_confidence_is_wider() -> None:
    values = np.random.default_rng(0).random(200)
    widths = []
    for confidence in (0.5, 0.9, 0.95):
        found = mean_estimate(values, confidence=confidence)
        assert found.confidence == confidence
        widths.append((found.high - found.low) / (values.std() / 200**0.5))
    # Twice the normal quantiles 0.674, 1.645 and 1.960.
    assert widths == pytest.approx([1.349, 3.29, 3.92], rel=0.1)


def test_groups_of_different_size_count_by_their_images() -> None:
    values, groups = [1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"]
    assert mean_estimate(values, groups=groups).value == 0.25
    assert mean_estimate(values, groups=groups, classes=groups).value == 0.5


def test_no_score_is_left_out() -> None:
    values = [1.0, np.nan, 0.0, np.nan]
    found = mean_estimate(values, groups=["a", "a", "b", "c"], classes=["x", "x", "y", "z"])
    assert (found.value, found.n, found.unit) == (0.5, 2, "group")
    assert class_means(values, ["x", "x", "y", "z"]).classes.tolist() == ["x", "y"]
    none = mean_estimate([np.nan])
    assert none.n == 0
    assert math.isnan(none.value)
    assert mean_estimate([]).n == 0


def test_a_class_that_a_resample_loses_is_left_out_of_it() -> None:
    """Two classes, one image each: resamples are 0, 1 or the mean of both, never NaN."""
    found = mean_estimate([0.0, 1.0], classes=[0, 1])
    assert (found.low, found.value, found.high) == (0, 0.5, 1)


def test_scores_of_a_retrieval_go_into_an_estimate() -> None:
    found: RetrievalScores = retrieval_scores(**problem(2))
    estimate = mean_estimate(found.recall[1])
    assert estimate.value == pytest.approx(found.mean("recall_at_1"))
    assert estimate.n == 15 - found.unmatched
    assert estimate.unit == "image"


def test_wrong_scores_are_refused() -> None:
    with pytest.raises(DataError, match="list of numbers"):
        mean_estimate([[1.0]])
    with pytest.raises(DataError, match="1 infinite"):
        mean_estimate([np.inf])
    for wrong in ({"groups": ["a"]}, {"classes": [1, 2, 3]}):
        with pytest.raises(DataError, match="2 names"):
            mean_estimate([1.0, 0.0], **wrong)
    with pytest.raises(DataError, match="2 names"):
        class_means([1.0, 0.0], [1])
