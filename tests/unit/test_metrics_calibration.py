"""Calibration scores against torchmetrics, scikit-learn, slow plain Python and numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.classification import MulticlassCalibrationError

from sightline.errors import DataError
from sightline.metrics.calibration import (
    BINS,
    MOST_LOSS,
    brier_rows,
    calibration_scores,
    expected_calibration_error,
    log_softmax,
    losses,
    reliability_bins,
)


def answers(n: int, classes: int, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, classes)) * spread, random.integers(classes, size=n)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(logits))


def slow_ece(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> float:
    total = 0.0
    for number in range(bins):
        inside = []
        for row, target in zip(probabilities.tolist(), targets.tolist(), strict=True):
            sure = max(row)
            first = number == 0 and sure == 0
            if number / bins < sure <= (number + 1) / bins or first:
                inside.append((sure, row.index(sure) == target))
        if inside:
            gap = sum(sure for sure, _ in inside) - sum(right for _, right in inside)
            total += abs(gap)
    return total / len(targets)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 7])
def test_ece_is_that_of_torchmetrics_and_of_a_slow_version(seed: int, classes: int) -> None:
    logits, targets = answers(300, classes, seed)
    table = softmax(logits)
    ours = expected_calibration_error(table, targets)
    theirs = MulticlassCalibrationError(num_classes=classes, n_bins=BINS, norm="l1")
    expected = float(theirs(torch.from_numpy(table), torch.from_numpy(targets)))
    assert ours == pytest.approx(expected, abs=1e-6)
    assert ours == pytest.approx(slow_ece(table, targets), abs=1e-12)


def test_ece_by_hand() -> None:
    # Bin (0.6, 0.667]: 0.62 right and 0.66 wrong, a gap of |1.28 - 1|; bin (0.933, 1]: 0.95 right.
    table = [[0.62, 0.38], [0.66, 0.34], [0.05, 0.95]]
    assert expected_calibration_error(table, [0, 1, 1]) == pytest.approx((0.28 + 0.05) / 3)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_and_certainty_to_the_last() -> None:
    bins = reliability_bins([[0.5, 0.5], [0.0, 1.0], [0.25, 0.75]], [0, 1, 0], bins=4)
    assert [one.n for one in bins] == [0, 1, 1, 1]
    assert (bins[1].low, bins[1].high) == (0.25, 0.5)


def test_reliability_bins_by_hand() -> None:
    bins = reliability_bins([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], [0, 1, 1], bins=2)
    assert [one.n for one in bins] == [0, 3]
    assert bins[1].confidence == pytest.approx((0.9 + 0.8 + 0.6) / 3)
    assert bins[1].accuracy == pytest.approx(2 / 3)
    assert bins[0].as_dict() == {
        "low": 0.0,
        "high": 0.5,
        "n": 0,
        "confidence": None,
        "accuracy": None,
    }


def test_nll_and_brier_are_those_of_scikit_learn() -> None:
    logits, targets = answers(200, 5, seed=3)
    table = softmax(logits)
    assert losses(logits, targets).mean() == pytest.approx(log_loss(targets, table), rel=1e-9)
    onehot = np.eye(5)[targets]
    assert brier_rows(table, targets).mean() == pytest.approx(((table - onehot) ** 2).sum(1).mean())
    # Of two classes, Brier's score is twice the one scikit-learn gives for the second.
    two, truth = answers(200, 2, seed=4)
    sure = softmax(two)
    expected = 2 * brier_score_loss(truth, sure[:, 1])
    assert brier_rows(sure, truth).mean() == pytest.approx(expected)


def test_brier_by_hand_and_its_range() -> None:
    assert brier_rows([[0.2, 0.3, 0.5]], [2]).tolist() == pytest.approx([0.04 + 0.09 + 0.25])
    assert brier_rows([[1.0, 0.0], [1.0, 0.0]], [0, 1]).tolist() == [0.0, 2.0]


def test_losses_hold_where_probabilities_underflow() -> None:
    assert losses([[0.0, -np.inf]], [1]).tolist() == [MOST_LOSS]
    assert losses([[1e4, 0.0]], [0]).tolist() == [0.0]
    assert np.isfinite(log_softmax([[1e300, -1e300]])[:, 0]).all()


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 40),
    classes=st.integers(2, 6),
    spread=st.sampled_from([0.1, 2.0, 50.0]),
)
@settings(max_examples=60, deadline=None)
def test_scores_stay_in_their_ranges(seed: int, n: int, classes: int, spread: float) -> None:
    logits, targets = answers(n, classes, seed, spread)
    scores = calibration_scores(logits, targets, resamples=20)
    assert 0 <= scores.ece.value <= 1
    assert 0 <= scores.brier.value <= 2
    assert scores.nll.value >= 0
    assert sum(one.n for one in scores.bins) == n
    for one in (scores.ece, scores.nll, scores.brier):
        assert one.low <= one.value <= one.high
        assert one.n == n
    assert scores.ece.value == pytest.approx(slow_ece(softmax(logits), targets), abs=1e-9)


def test_a_constant_for_each_row_changes_nothing() -> None:
    logits, targets = answers(50, 4, seed=8)
    moved = logits + np.random.default_rng(1).normal(size=(50, 1)) * 100
    first, second = (calibration_scores(one, targets, resamples=50) for one in (logits, moved))
    assert first.nll.value == pytest.approx(second.nll.value, rel=1e-9)
    assert first.ece.low == pytest.approx(second.ece.low, rel=1e-9)


def test_intervals_are_those_of_a_bootstrap_that_touches_every_row() -> None:
    logits, targets = answers(150, 3, seed=11)
    scores = calibration_scores(logits, targets, resamples=4000)
    random = np.random.default_rng(5)
    slow = []
    for _ in range(1500):
        rows = random.integers(150, size=150)
        slow.append(
            (
                expected_calibration_error(softmax(logits[rows]), targets[rows]),
                losses(logits[rows], targets[rows]).mean(),
                brier_rows(softmax(logits[rows]), targets[rows]).mean(),
            )
        )
    low, high = np.quantile(slow, [0.025, 0.975], axis=0)
    for place, one in enumerate((scores.ece, scores.nll, scores.brier)):
        width = high[place] - low[place]
        assert one.low == pytest.approx(min(low[place], one.value), abs=0.1 * width)
        assert one.high == pytest.approx(max(high[place], one.value), abs=0.1 * width)


def test_groups_are_drawn_whole() -> None:
    """Ten copies of each image say no more than one: the interval must not shrink."""
    logits, targets = answers(60, 4, seed=2)
    copies = np.repeat(np.arange(60), 10)
    alone = calibration_scores(logits, targets, resamples=2000)
    grouped = calibration_scores(logits[copies], targets[copies], groups=copies + 7, resamples=2000)
    fooled = calibration_scores(logits[copies], targets[copies], resamples=2000)
    assert grouped.nll.unit == "group"
    assert grouped.nll.n == 60
    assert grouped.nll.value == pytest.approx(alone.nll.value)
    width = alone.nll.high - alone.nll.low
    assert grouped.nll.high - grouped.nll.low == pytest.approx(width, rel=0.1)
    assert fooled.nll.high - fooled.nll.low < 0.5 * width


def test_no_images_give_no_numbers() -> None:
    scores = calibration_scores(np.empty((0, 3)), np.empty(0, np.int64))
    assert math.isnan(scores.ece.value)
    assert scores.ece.n == 0
    plain = scores.as_dict()
    assert plain["nll"]["value"] is None
    assert [one["n"] for one in plain["bins"]] == [0] * BINS
    assert math.isnan(expected_calibration_error(np.empty((0, 3)), np.empty(0, np.int64)))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="outside 0 to 1"):
        expected_calibration_error([[3.0, 0.0]], [0])
    with pytest.raises(DataError, match="do not belong together"):
        losses([[0.0, 1.0]], [0, 1])
    with pytest.raises(DataError, match="no table"):
        log_softmax([0.0, 1.0])
    with pytest.raises(DataError, match="groups do not belong"):
        calibration_scores([[0.0, 1.0]], [0], groups=[1, 2])


def test_confident_noise_is_badly_calibrated_and_honest_noise_is_not() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 5)) * 2
    targets = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    honest = expected_calibration_error(softmax(logits), targets)
    proud = expected_calibration_error(softmax(logits * 3), targets)
    assert honest < 0.03
    assert proud > 0.15
