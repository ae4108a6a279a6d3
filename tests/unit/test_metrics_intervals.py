from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.metrics.classification import accuracy, confusion_matrix, macro_f1
from sightline.metrics.intervals import (
    Estimate,
    bootstrap_confusion,
    bootstrap_interval,
    group_confusions,
)


def slow_interval(pairs: list[tuple[int, int]], *, resamples: int) -> tuple[float, float]:
    """The definition in plain Python: draw images, count, score, sort, cut."""
    generator = random.Random(7)
    results = []
    for _ in range(resamples):
        drawn = [generator.choice(pairs) for _ in pairs]
        f1 = []
        for c in {truth for truth, _ in drawn}:
            hits = sum(t == c == p for t, p in drawn)
            mentions = sum(t == c for t, _ in drawn) + sum(p == c for _, p in drawn)
            f1.append(2 * hits / mentions)
        results.append(sum(f1) / len(f1))
    results.sort()
    return results[round(0.025 * resamples)], results[round(0.975 * resamples) - 1]


def imperfect_pairs(n: int, *, classes: int = 3) -> list[tuple[int, int]]:
    generator = random.Random(n)
    return [
        (t, t if generator.random() < 0.8 else generator.randrange(classes))
        for t in (generator.randrange(classes) for _ in range(n))
    ]


def matrix_of(pairs: list[tuple[int, int]], *, classes: int = 3) -> np.ndarray:
    return confusion_matrix([t for t, _ in pairs], [p for _, p in pairs], classes)


def test_the_fast_interval_agrees_with_resampling_images_one_by_one() -> None:
    pairs = imperfect_pairs(60)
    low, high = slow_interval(pairs, resamples=3000)
    fast = bootstrap_confusion(matrix_of(pairs), macro_f1, resamples=6000)
    general = bootstrap_interval(
        lambda rows: float(macro_f1(confusion_matrix(rows[:, 0], rows[:, 1], 3))),
        np.array(pairs),
        resamples=2000,
    )

    assert fast.low == pytest.approx(low, abs=0.012)
    assert fast.high == pytest.approx(high, abs=0.012)
    assert general.low == pytest.approx(low, abs=0.012)
    assert general.high == pytest.approx(high, abs=0.012)
    assert fast.value == general.value == pytest.approx(float(macro_f1(matrix_of(pairs))))
    assert fast.n == general.n == 60


@pytest.mark.parametrize("truth", [0.6, 0.85])
def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100(truth: float) -> None:
    generator = np.random.default_rng(11)
    held = 0
    for trial in range(400):
        right = int(generator.binomial(200, truth))
        estimate = bootstrap_confusion([[right, 200 - right], [0, 0]], accuracy, seed=trial)
        held += estimate.low <= truth <= estimate.high
    assert 0.92 <= held / 400 <= 0.975


def test_the_level_sets_the_width() -> None:
    matrix = matrix_of(imperfect_pairs(100))
    narrow, wide = (
        bootstrap_confusion(matrix, accuracy, confidence=level) for level in (0.5, 0.99)
    )
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert wide.confidence == 0.99


def test_same_seed_same_interval_whatever_the_order_of_images() -> None:
    pairs = imperfect_pairs(80)
    shuffled = random.Random(1).sample(pairs, len(pairs))

    first = bootstrap_confusion(matrix_of(pairs), macro_f1, seed=5)
    assert first == bootstrap_confusion(matrix_of(shuffled), macro_f1, seed=5)
    assert first != bootstrap_confusion(matrix_of(pairs), macro_f1, seed=6)


def test_groups_that_move_together_widen_the_interval() -> None:
    # 20 people, 10 photographs each, every person entirely right or entirely wrong.
    person = np.repeat(np.arange(20), 10)
    targets = person % 2
    predictions = np.where(person < 15, targets, 1 - targets)
    stack = group_confusions(targets, predictions, groups=person, classes=2)

    images = bootstrap_confusion(stack.sum(axis=0), accuracy)
    people = bootstrap_confusion(stack, accuracy, unit="person")

    assert people.value == images.value == 0.75
    assert (people.n, people.unit, images.n) == (20, "person", 200)
    assert people.high - people.low > 2 * (images.high - images.low)
    # The accuracy of a resample is the fraction of drawn people who were right: Binomial(20, 3/4).
    assert people.low == pytest.approx(0.55, abs=0.051)
    assert people.high == pytest.approx(0.95, abs=0.051)


def test_groups_of_one_image_are_images() -> None:
    pairs = imperfect_pairs(70)
    targets, predictions = np.array(pairs).T
    stack = group_confusions(targets, predictions, groups=np.arange(70), classes=3)

    grouped = bootstrap_confusion(stack, macro_f1, resamples=6000)
    single = bootstrap_confusion(stack.sum(axis=0), macro_f1, resamples=6000)

    assert (grouped.value, grouped.n) == (single.value, single.n)
    assert grouped.low == pytest.approx(single.low, abs=0.01)
    assert grouped.high == pytest.approx(single.high, abs=0.01)


def test_a_group_without_images_is_no_unit() -> None:
    stack = np.array([[[3, 1], [0, 2]], [[0, 0], [0, 0]], [[1, 0], [1, 4]]])
    assert bootstrap_confusion(stack, accuracy, unit="page").n == 2


def test_a_perfect_classifier_has_no_width_and_a_guesser_holds_chance() -> None:
    perfect = bootstrap_confusion(np.eye(4, dtype=int) * 25, macro_f1)
    chance = bootstrap_confusion(np.full((4, 4), 25), accuracy)

    assert (perfect.low, perfect.value, perfect.high) == (1.0, 1.0, 1.0)
    assert chance.low < 0.25 < chance.high
    assert chance.high - chance.low == pytest.approx(
        2 * 1.96 * math.sqrt(0.25 * 0.75 / 400), rel=0.15
    )


def test_nothing_scores_nan_and_one_image_itself() -> None:
    for empty in (
        bootstrap_confusion(np.zeros((2, 2)), accuracy),
        bootstrap_confusion(np.zeros((0, 2, 2)), accuracy),
        bootstrap_interval(lambda rows: float(rows.mean()), []),
    ):
        assert math.isnan(empty.value)
        assert empty.n == 0
        assert json.loads(json.dumps(empty.as_dict(), allow_nan=False))["low"] is None
    one = bootstrap_confusion([[1, 0], [0, 0]], accuracy)
    assert (one.low, one.value, one.high, one.n) == (1.0, 1.0, 1.0, 1)


def test_slices_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = matrix_of(imperfect_pairs(50))
    stack = np.stack([matrix, matrix.T])
    whole = bootstrap_confusion(matrix, macro_f1), bootstrap_confusion(stack, macro_f1)
    monkeypatch.setattr("sightline.metrics.intervals._CELLS_AT_ONCE", 70)
    assert (bootstrap_confusion(matrix, macro_f1), bootstrap_confusion(stack, macro_f1)) == whole


def test_an_estimate_is_plain_data_and_reads_as_a_sentence_part() -> None:
    estimate = Estimate(0.912, 0.881, 0.940, n=380)

    assert str(estimate) == "0.912 [0.881, 0.940] (n=380 images)"
    assert str(Estimate(1.0, 1.0, 1.0, n=1, unit="identity")).endswith("(n=1 identity)")
    assert estimate.as_dict() == {
        "value": 0.912, "low": 0.881, "high": 0.940, "n": 380, "unit": "image", "confidence": 0.95
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"confidence": 95.0}, {"confidence": 0.0}])
def test_a_bootstrap_that_cannot_be_drawn_is_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="resamples >= 1 and 0 < confidence < 1"):
        bootstrap_confusion([[1, 0], [0, 1]], accuracy, **wrong)


def test_groups_must_belong_to_the_rows() -> None:
    with pytest.raises(DataError, match="2, 2 and 1 rows"):
        group_confusions([0, 1], [0, 1], groups=["a"], classes=2)


def test_the_interval_holds_its_value_when_classes_are_rare() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(600), 3)
    guess = np.where(generator.random(1800) < 0.7, truth, generator.integers(600, size=1800))
    matrix = confusion_matrix(truth, guess, 600)
    draws = np.random.default_rng(1).multinomial(1800, matrix.ravel() / 1800, size=40)
    # The case is one in which the plain percentiles miss the value.
    assert macro_f1(draws.reshape(40, 600, 600)).max() < macro_f1(matrix)
    estimate = bootstrap_confusion(matrix, macro_f1, resamples=100)
    assert estimate.low < estimate.value == estimate.high
