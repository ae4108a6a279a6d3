"""AUROC, average precision, F1 and the image intervals, against plain counting and scikit-learn."""

from __future__ import annotations

import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

import sightline.metrics
from sightline.errors import DataError
from sightline.metrics.auroc import (
    average_precision,
    best_f1,
    compute_auroc,
    compute_auroc_per_class,
    f1_score_at,
    roc_curve,
)
from sightline.metrics.image_scores import image_scores

FEW_VALUES = st.sampled_from([-np.inf, -2.0, -0.0, 0.0, 0.25, 1.0, 1.5, 7.0, np.inf])


@st.composite
def tied(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and labels of both classes."""
    n = draw(st.integers(2, 30))
    scores = draw(st.lists(FEW_VALUES, min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))
    return np.array(scores), np.array([0, 1, *labels])


def counted_auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Every pair, one at a time."""
    pairs = [(a, b) for a in scores[labels == 1] for b in scores[labels == 0]]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def counted_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Recall gained at each threshold, times the precision there."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        called = scores >= threshold
        found = (called & (labels == 1)).sum()
        total += found / called.sum() * (found / labels.sum() - recall)
        recall = found / labels.sum()
    return total


def counted_f1(scores: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    called = scores > threshold
    hits = int((called & (labels == 1)).sum())
    return 2 * hits / (2 * hits + int((called != (labels == 1)).sum()))


@given(tied())
@settings(max_examples=150, deadline=None)
def test_every_score_is_what_counting_gives(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = case
    assert compute_auroc(scores, labels) == pytest.approx(counted_auroc(scores, labels))
    assert compute_auroc(scores.astype(np.float32), labels == 1) == pytest.approx(
        counted_auroc(scores, labels)
    )
    found = average_precision(scores, labels)
    assert found == pytest.approx(counted_precision(scores, labels))
    for threshold in (-2.0, 0.0, 0.3, 7.0):
        expected = counted_f1(scores, labels, threshold)
        assert f1_score_at(scores, labels, threshold) == pytest.approx(expected)
    finite = np.nan_to_num(scores)
    every = [counted_f1(finite, labels, t) for t in (-np.inf, *finite.tolist())]
    assert best_f1(scores, labels) == pytest.approx(max(every))


def test_figures_by_hand() -> None:
    scores, labels = [0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1]
    assert compute_auroc(scores, labels) == (1 + 0.5 + 1 + 1) / 4
    assert average_precision(scores, labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert best_f1(scores, labels) == pytest.approx(2 * 2 / (2 * 2 + 1))
    assert f1_score_at(scores, labels, 0.4) == pytest.approx(2 / 3), "equal to it is no alarm"


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16])
def test_many_scores_agree_with_scikit_learn(share: float, dtype: type) -> None:
    random = np.random.default_rng(1)
    labels = random.random(400_000) < share
    scores = ((random.normal(size=labels.size) + labels) * 300).astype(dtype)
    assert compute_auroc(scores, labels) == pytest.approx(
        peer.roc_auc_score(labels, scores), abs=1e-9
    )
    assert average_precision(scores, labels) == pytest.approx(
        peer.average_precision_score(labels, scores), abs=1e-9
    )


def test_roc_curve_is_that_of_scikit_learn_with_every_threshold() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 500)
    scores = (random.normal(size=500) + labels).round(1)
    expected = peer.roc_curve(labels, scores, drop_intermediate=False)
    for ours, theirs in zip(roc_curve(scores, labels), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    fpr, tpr, _ = roc_curve(scores, labels)
    assert np.trapezoid(tpr, fpr) == pytest.approx(compute_auroc(scores, labels))


def test_perfect_reversed_constant_and_random() -> None:
    labels = np.arange(20_000) % 4 == 0
    assert compute_auroc(labels * 1.0, labels) == 1.0
    assert compute_auroc(labels * -1.0, labels) == 0.0
    assert compute_auroc(np.full(labels.size, 3.0), labels) == 0.5
    assert average_precision(np.full(labels.size, 3.0), labels) == 0.25
    noise = np.random.default_rng(0).random(labels.size)
    assert abs(compute_auroc(noise, labels) - 0.5) < 0.02


def test_order_and_strictly_increasing_changes_do_not_matter() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 300)
    scores = random.normal(size=300).round(1)
    mixed = random.permutation(300)
    for metric in (compute_auroc, average_precision, best_f1):
        value = metric(scores, labels)
        assert metric(scores[mixed], labels[mixed]) == pytest.approx(value, abs=1e-12)
        assert metric(np.exp(scores), labels) == pytest.approx(value, abs=1e-12)
    turned = compute_auroc(-scores, 1 - labels)
    assert turned == pytest.approx(compute_auroc(scores, labels))


@pytest.mark.parametrize(
    ("labels", "counts"),
    [([0, 0, 0], "3 normal and 0 anomalous"), ([1, 1, 1], "0 normal and 3 anomalous")],
)
def test_a_single_class_is_nan_with_the_counts(labels: list[int], counts: str) -> None:
    for metric in (compute_auroc, average_precision):
        with pytest.warns(UserWarning, match=counts) as caught:
            assert np.isnan(metric([1.0, 2.0, 3.0], labels))
        assert caught[0].filename == __file__, "the warning points at the caller"
    with pytest.raises(DataError, match=counts):
        compute_auroc([1.0, 2.0, 3.0], labels, strict=True)
    with pytest.warns(UserWarning, match=counts):
        rates = roc_curve([1.0, 2.0, 3.0], labels)
    has, lacks = (rates[0], rates[1]) if labels[0] == 0 else (rates[1], rates[0])
    assert np.isnan(lacks).all()
    assert has.tolist() == [0, 1 / 3, 2 / 3, 1]


def test_f1_needs_anomalous_images_only() -> None:
    assert f1_score_at([1.0, 2.0], [1, 1], 1.5) == pytest.approx(2 / 3)
    for metric in (best_f1, lambda s, t: f1_score_at(s, t, 0.5)):
        with pytest.warns(UserWarning, match="2 normal and 0 anomalous"):
            assert np.isnan(metric([1.0, 2.0], [0, 0]))


def test_empty_input_is_a_single_class() -> None:
    with pytest.warns(UserWarning, match="0 normal and 0 anomalous"):
        assert np.isnan(compute_auroc([], []))


def test_wrong_input_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match="2 NaN among 4 scores"):
        compute_auroc([np.nan, 1.0, np.nan, np.inf], [0, 1, 0, 1])
    with pytest.raises(DataError, match="1 other labels, the first is 2"):
        compute_auroc([1.0, 2.0, 3.0], [0, 1, 2])
    with pytest.raises(DataError, match=r"expected: *3 labels"):
        average_precision([1.0, 2.0, 3.0], [0, 1])


def test_each_defect_type_is_against_all_normal_images() -> None:
    random = np.random.default_rng(4)
    codes = random.integers(0, 4, 400)
    scores = random.normal(size=400) + codes
    names = ["dent", "hole", "good", "scratch"]
    found = compute_auroc_per_class(scores, codes, names, normal=2)
    assert list(found) == ["dent", "hole", "scratch"]
    for name, value in found.items():
        chosen = (codes == 2) | (codes == names.index(name))
        assert value == pytest.approx(compute_auroc(scores[chosen], (codes != 2)[chosen]))


def test_a_type_without_images_is_nan() -> None:
    with pytest.warns(UserWarning, match="'hole'.*2 normal and 0 anomalous"):
        found = compute_auroc_per_class([1.0, 2.0, 3.0], [0, 0, 1], ["good", "dent", "hole"])
    assert found["dent"] == 1.0
    assert np.isnan(found["hole"])
    with pytest.raises(DataError, match="'hole'"):
        compute_auroc_per_class([1.0, 2.0], [0, 1], ["good", "dent", "hole"], strict=True)
    with pytest.raises(DataError, match="normal class"):
        compute_auroc_per_class([1.0, 2.0], [0, 1], ["good", "dent"], normal=2)


def test_millions_of_scores_need_few_bytes_each() -> None:
    random = np.random.default_rng(5)
    scores = random.normal(size=2_000_000).astype(np.float32)
    labels = random.random(scores.size) < 0.05
    tracemalloc.start()
    compute_auroc(scores, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * scores.size


def test_image_intervals_hold_the_value_and_are_drawn_by_kind() -> None:
    random = np.random.default_rng(6)
    labels = np.array([1] * 3 + [0] * 60)
    scores = random.normal(size=63) + 1.5 * labels
    found = image_scores(scores, labels, threshold=1.0, resamples=300, confidence=0.9, seed=1)
    assert list(found) == ["image_auroc", "image_ap", "image_f1"]
    assert found["image_auroc"].value == compute_auroc(scores, labels)
    assert found["image_ap"].value == average_precision(scores, labels)
    assert found["image_f1"].value == f1_score_at(scores, labels, 1.0)
    for one in found.values():
        assert 0 <= one.low <= one.value <= one.high <= 1
        assert (one.n, one.unit, one.confidence) == (63, "image", 0.9)
    assert found == image_scores(
        scores, labels, threshold=1.0, resamples=300, confidence=0.9, seed=1
    )
    assert "image_f1" not in image_scores(scores, labels, resamples=5)


def test_image_intervals_are_those_of_a_plain_bootstrap() -> None:
    """The same draws, each scored by the plain functions on the drawn images."""
    random = np.random.default_rng(7)
    labels = np.array([1] * 30 + [0] * 50)
    scores = (random.normal(size=80) + labels).round(1)
    found = image_scores(scores, labels, threshold=0.7, resamples=400, seed=3)
    generator = np.random.default_rng(11)
    plain = []
    for _ in range(1500):
        drawn = np.concatenate([generator.integers(0, 30, 30), generator.integers(30, 80, 50)])
        s, t = scores[drawn], labels[drawn]
        plain.append((compute_auroc(s, t), average_precision(s, t), f1_score_at(s, t, 0.7)))
    for one, column in zip(found.values(), np.array(plain).T, strict=True):
        low, high = np.quantile(column, [0.025, 0.975])
        assert one.low == pytest.approx(low, abs=0.025)
        assert one.high == pytest.approx(high, abs=0.025)


def test_tied_scores_stay_tied_in_every_resample() -> None:
    found = image_scores(np.full(40, 0.3), [1] * 10 + [0] * 30, resamples=50)
    one = found["image_auroc"]
    assert (one.low, one.value, one.high) == (0.5, 0.5, 0.5)
    one = found["image_ap"]
    assert (one.low, one.value, one.high) == (0.25, 0.25, 0.25)


def test_a_score_at_the_threshold_alarms_in_no_resample() -> None:
    found = image_scores([0.0, 1.0, 1.0], [0, 1, 1], threshold=1.0, resamples=20)["image_f1"]
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


def test_a_single_class_has_no_interval() -> None:
    with pytest.warns(UserWarning, match="2 normal and 0 anomalous"):
        found = image_scores([1.0, 2.0], [0, 0], threshold=0.5, resamples=10)
    for one in found.values():
        assert np.isnan([one.value, one.low, one.high]).all()
        assert one.n == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert image_scores([], [], resamples=10)["image_auroc"].n == 0
    with pytest.raises(DataError, match="resamples >= 1"):
        image_scores([1.0, 2.0], [0, 1], resamples=0)


def test_five_thousand_images_take_no_time() -> None:
    random = np.random.default_rng(8)
    labels = random.integers(0, 2, 5000)
    started = time.process_time()
    image_scores(random.normal(size=5000) + labels, labels, threshold=0.5, resamples=1000)
    assert time.process_time() - started < 3


def test_public_names_are_the_same_things_at_home() -> None:
    assert sorted(sightline.metrics.__all__) == sorted(sightline.metrics._HOMES)
    for name in sightline.metrics.__all__:
        assert getattr(sightline.metrics, name).__name__ == name
        # Importing a module of that name would put it in the function's place.
        assert not sightline.metrics._HOMES[name].endswith(f".{name}")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sightline.metrics.no_such_name
