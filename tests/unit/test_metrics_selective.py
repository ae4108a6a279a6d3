"""Thresholds that keep their promise, and the errors where none can be made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from sightline.errors import DataError
from sightline.metrics.selective import choose_threshold, confidence_bins


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences that are true: an answer of confidence c is right with probability c."""
    random = np.random.default_rng(seed)
    sure = random.beta(4, 1.2, size=n)
    return sure, random.random(n) < sure


def test_the_guarantee_holds() -> None:
    """Of 200 validation splits at most the promised share picks a threshold that is too low."""
    fresh, right = draw(400_000, seed=10_000)
    order = np.argsort(-fresh)
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    missed = chosen = 0
    for seed in range(200):
        sure, correct = draw(400, seed)
        try:
            found = choose_threshold(sure, correct, 0.85, delta=0.1)
        except DataError:
            continue
        chosen += 1
        accepted = int((fresh >= found.threshold).sum())
        missed += accuracy[accepted - 1] < 0.85
    assert chosen > 150, "the test must not pass because nothing is ever promised"
    assert missed <= 0.1 * 200


def test_all_right_accepts_all() -> None:
    sure = np.linspace(0.3, 1, 500)
    found = choose_threshold(sure, np.ones(500, bool), 0.95)
    assert found.threshold == pytest.approx(0.3)
    assert (found.accepted, found.n, found.coverage, found.accuracy) == (500, 500, 1.0, 1.0)
    # 500 of 500 at delta 0.05 over 9 tests: the p with p^500 = 0.05 / 9.
    assert found.lower_bound == pytest.approx((0.05 / 9) ** (1 / 500))


def test_all_answers_are_accepted_where_they_are_good_enough_and_few() -> None:
    found = choose_threshold(np.linspace(0.3, 1, 18), np.ones(18, bool), 0.7)
    assert (found.accepted, found.coverage) == (18, 1.0)


def test_the_bound_is_that_of_the_binomial() -> None:
    sure, correct = draw(300, seed=3)
    found = choose_threshold(sure, correct, 0.8)
    hits = round(found.accuracy * found.accepted)
    # At the bound, so many hits or more happen with probability delta / 9 (300 thresholds).
    assert binom.sf(hits - 1, found.accepted, found.lower_bound) == pytest.approx(0.05 / 9)


@given(seed=st.integers(0, 5000), n=st.integers(1, 200), wanted=st.sampled_from([0.3, 0.7, 0.9]))
@settings(max_examples=80, deadline=None)
def test_what_is_said_is_what_is_counted(seed: int, n: int, wanted: float) -> None:
    sure, correct = draw(n, seed)
    sure = sure.round(2)
    try:
        found = choose_threshold(sure, correct, wanted)
    except DataError:
        return
    given_out = sure >= found.threshold
    assert found.accepted == given_out.sum()
    assert found.accuracy == pytest.approx(correct[given_out].mean())
    assert found.coverage == pytest.approx(given_out.mean())
    assert wanted <= found.lower_bound <= found.accuracy
    assert found.n == n


def test_more_is_wanted_fewer_are_accepted() -> None:
    sure, correct = draw(3000, seed=1)
    coverage = [choose_threshold(sure, correct, a).coverage for a in (0.8, 0.85, 0.9, 0.93)]
    assert coverage == sorted(coverage, reverse=True)
    assert coverage[0] > coverage[-1] > 0


def test_what_cannot_be_promised_says_what_can() -> None:
    sure, correct = draw(40, seed=0)
    with pytest.raises(DataError) as caught:
        choose_threshold(sure, correct, 0.999)
    text = str(caught.value)
    assert "99.9%" in text
    assert "of 40 images" in text
    assert "coverage" in text
    assert "infer.accept_accuracy" in text


def test_ties_are_accepted_together() -> None:
    sure = np.array([0.9] * 100 + [0.5] * 100)
    correct = np.array([True] * 100 + [False] * 100)
    found = choose_threshold(sure, correct, 0.9)
    assert (found.threshold, found.accepted, found.accuracy) == (0.9, 100, 1.0)


def test_wrong_input_is_refused() -> None:
    for sure, correct in (([], []), ([0.5], [True, False]), ([[0.5]], [[True]])):
        with pytest.raises(DataError, match="A threshold needs"):
            choose_threshold(sure, correct, 0.9)
    with pytest.raises(DataError, match="not finite"):
        choose_threshold([np.nan], [True], 0.9)
    for accuracy, delta in ((1.0, 0.05), (0.9, 0.0), (0.0, 0.05)):
        with pytest.raises(DataError, match="between 0 and 1"):
            choose_threshold([0.5], [True], accuracy, delta)


def test_confidence_bins_hold_their_lower_edge() -> None:
    assert confidence_bins([0.0, 0.1, 0.0999, 0.7, 0.999999, 1.0]) == [
        "0.0-0.1",
        "0.1-0.2",
        "0.0-0.1",
        "0.7-0.8",
        "0.9-1.0",
        "0.9-1.0",
    ]
    tenths = [f"{one / 10:.1f}-{(one + 1) / 10:.1f}" for one in range(10)]
    assert confidence_bins([one / 10 for one in range(10)]) == tenths
    assert confidence_bins([]) == []
