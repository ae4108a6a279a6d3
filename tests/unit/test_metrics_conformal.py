"""Thresholds from normal scores: the promise is kept, and one rank less would break it."""

from __future__ import annotations

from math import ceil, comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, betabinom

from sightline.errors import DataError
from sightline.metrics.conformal import (
    TooFewNormalsError,
    conformal_threshold,
    expected_false_alarms,
    needed_normals,
    smallest_budget,
)
from sightline.metrics.conformal_pixels import pixel_threshold

BUDGETS = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5]


def rates_of(rank: int, n: int, draws: int, seed: int = 0) -> np.ndarray:
    """True false-alarm rates, over many sets of n uniform scores, of the rank-th smallest."""
    scores = np.random.default_rng(seed).random((draws, n))
    return 1 - np.partition(scores, rank - 1, axis=1)[:, rank - 1]


@pytest.mark.parametrize(("n", "budget"), [(19, 0.05), (30, 0.1), (99, 0.05), (45, 0.2)])
def test_the_budget_is_kept_on_average_and_one_rank_less_breaks_it(n: int, budget: float) -> None:
    draws = 20_000
    rank = conformal_threshold(np.arange(n), budget).rank
    rates = rates_of(rank, n, draws)
    error = 4 * rates.std() / np.sqrt(draws)
    assert rates.mean() <= budget + error
    assert rates.mean() == pytest.approx((n + 1 - rank) / (n + 1), abs=error)
    assert rates_of(rank - 1, n, draws).mean() > budget + error


@pytest.mark.parametrize(("n", "budget"), [(45, 0.05), (100, 0.05), (60, 0.2)])
@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_with_a_confidence_most_sets_keep_the_budget(
    n: int, budget: float, confidence: float
) -> None:
    draws = 20_000
    rank = conformal_threshold(np.arange(n), budget, confidence=confidence).rank
    error = 4 * 0.5 / np.sqrt(draws)
    assert (rates_of(rank, n, draws) <= budget).mean() >= confidence - error
    assert (rates_of(rank - 1, n, draws) <= budget).mean() < confidence + error
    assert beta.cdf(budget, n + 1 - rank, rank) >= confidence
    assert beta.cdf(budget, n + 2 - rank, rank - 1) < confidence


def test_thresholds_of_real_draws_keep_the_budget() -> None:
    """The whole way: draw normals, choose, count alarms on fresh ones; skewed and tied scores."""
    random = np.random.default_rng(1)
    for draw in (lambda n: random.lognormal(0, 2, n), lambda n: random.integers(0, 6, n) * 1.0):
        rates = []
        for _ in range(600):
            found = conformal_threshold(draw(39), 0.1)
            rates.append((draw(400) > found.value).mean())
        assert np.mean(rates) <= 0.1 + 4 * np.std(rates) / np.sqrt(600)


@given(n=st.integers(1, 300), budget=st.one_of(st.sampled_from(BUDGETS), st.floats(0.002, 0.9)))
@settings(max_examples=200, deadline=None)
def test_the_rank_is_that_of_the_formula(n: int, budget: float) -> None:
    scores = np.random.default_rng(n).normal(size=n).round(1)
    rank = ceil(round((n + 1) * (1 - budget), 9))
    if rank > n:
        with pytest.raises(TooFewNormalsError) as caught:
            conformal_threshold(scores, budget)
        assert caught.value.needed > n
        assert caught.value.smallest > budget
        return
    found = conformal_threshold(scores, budget)
    assert (found.rank, found.n, found.budget) == (rank, n, budget)
    assert found.value == np.sort(scores)[rank - 1]
    assert (scores > found.value).sum() <= n - rank


def test_whole_numbers_are_not_missed_by_rounding() -> None:
    """(n + 1)(1 - budget) is whole in each case, and a hair above it in floating point in some."""
    for budget in (0.1, 0.2, 0.05, 0.01, 0.3, 0.7, 0.15, 0.35):
        for times in range(1, 40):
            n = 100 * times - 1
            assert conformal_threshold(np.arange(n), budget).rank == round((n + 1) * (1 - budget))


@given(n=st.integers(1, 5000), confidence=st.sampled_from([None, 0.5, 0.9, 0.99]))
@settings(max_examples=150, deadline=None)
def test_the_smallest_budget_works_and_hardly_less_does(n: int, confidence: float | None) -> None:
    budget = smallest_budget(n, confidence)
    assert needed_normals(budget, confidence) <= n
    exact = 1 / (n + 1) if confidence is None else 1 - (1 - confidence) ** (1 / n)
    assert exact * (1 - 1e-12) <= budget <= exact * 1.011
    with pytest.raises(TooFewNormalsError):
        conformal_threshold(np.arange(n), exact * 0.999, confidence=confidence)


@given(budget=st.floats(0.001, 0.9), confidence=st.sampled_from([None, 0.5, 0.9]))
@settings(max_examples=150, deadline=None)
def test_the_needed_number_is_enough_and_one_less_is_not(
    budget: float, confidence: float | None
) -> None:
    n = needed_normals(budget, confidence)
    assert conformal_threshold(np.arange(n), budget, confidence=confidence).n == n
    with pytest.raises(TooFewNormalsError):
        conformal_threshold(np.arange(n - 1), budget, confidence=confidence)


def test_too_few_says_everything() -> None:
    with pytest.raises(TooFewNormalsError) as caught:
        conformal_threshold(np.arange(30), 0.01)
    error, text = caught.value, str(caught.value)
    assert (error.n, error.budget, error.smallest, error.needed) == (30, 0.01, 0.0323, 99)
    for part in ("30 normal images", "0.01", "0.0323", "99"):
        assert part in text
    assert isinstance(error, DataError)
    assert len(text.splitlines()) <= 5
    with pytest.raises(TooFewNormalsError, match=r"with confidence 0\.9"):
        conformal_threshold(np.arange(30), 0.05, confidence=0.9)
    assert needed_normals(0.05, 0.9) == 45, "1 - 0.95^45 is the first above 0.9"
    with pytest.raises(TooFewNormalsError):
        conformal_threshold([], 0.5)


def test_ties_and_constant_scores_raise_no_alarm_of_their_own() -> None:
    found = conformal_threshold(np.full(50, 0.7), 0.1)
    assert found.value == 0.7
    assert not (np.full(5, 0.7) > found.value).any()
    assert found.as_dict() == {
        "value": 0.7,
        "method": "conformal",
        "budget": 0.1,
        "n": 50,
        "rank": 46,
        "smallest_budget": 0.0197,
        "confidence": None,
    }


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="2 that are NaN or infinite among 3"):
        conformal_threshold([np.nan, 1.0, np.inf], 0.5)
    with pytest.raises(DataError, match="shape \\(1, 2\\)"):
        conformal_threshold([[1.0, 2.0]], 0.5)
    for budget in (0.0, 1.0, 5.0, np.nan):
        with pytest.raises(DataError, match="budget is no share"):
            conformal_threshold([1.0, 2.0], budget)
    with pytest.raises(DataError, match="confidence is no share"):
        conformal_threshold([1.0, 2.0], 0.5, confidence=1.0)
    with pytest.raises(DataError, match="rank=5, n=4"):
        expected_false_alarms(4, 5, 10)


def counted_alarms(n: int, rank: int, n_test: int) -> np.ndarray:
    """Chances of 0..n_test alarms: all orders of n + n_test scores are equally likely."""
    ways = [
        comb(n - rank + a, a) * comb(rank - 1 + n_test - a, n_test - a) for a in range(n_test + 1)
    ]
    return np.array(ways) / comb(n + n_test, n_test)


@pytest.mark.parametrize(("n", "rank", "n_test"), [(9, 9, 4), (20, 15, 30), (50, 1, 7), (3, 2, 0)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_alarms_to_expect_are_those_of_equally_likely_orders(
    n: int, rank: int, n_test: int, confidence: float
) -> None:
    low, high = expected_false_alarms(n, rank, n_test, confidence)
    chances = counted_alarms(n, rank, n_test)
    tail = (1 - confidence) / 2 + 1e-12
    assert chances[:low].sum() <= tail < chances[: low + 1].sum() + 2e-12
    assert chances[high + 1 :].sum() <= tail
    assert high == 0 or chances[high:].sum() > tail - 2e-12


def test_the_alarms_to_expect_agree_with_scipy_for_many_images() -> None:
    low, high = expected_false_alarms(300, 286, 2000)
    assert (low, high) == tuple(betabinom.ppf([0.025, 0.975], 2000, 15, 286))


def test_the_alarms_counted_are_those_expected() -> None:
    random = np.random.default_rng(2)
    low, high = expected_false_alarms(40, 37, 100, 0.9)
    inside = 0
    for _ in range(2000):
        value = np.sort(random.normal(size=40))[36]
        inside += low <= (random.normal(size=100) > value).sum() <= high
    assert 0.88 < inside / 2000 < 0.97


def exact_pixel_threshold(maps: list[np.ndarray], budget: float) -> float:
    """The smallest score that keeps the bound, by trying every one."""
    n, scores = len(maps), np.unique(np.concatenate([one.ravel() for one in maps]))
    shares = [1 - np.searchsorted(np.sort(one.ravel()), scores, "right") / one.size for one in maps]
    kept = n / (n + 1) * np.mean(shares, axis=0) + 1 / (n + 1) <= budget + 1e-12
    return float(scores[kept].min())


PIXELS = {
    "lognormal": lambda r, s: r.lognormal(0, 4, s),
    "narrow": lambda r, s: 3 + np.tanh(r.normal(size=s)),
    "negative": lambda r, s: -r.lognormal(0, 2, s),
    "tied": lambda r, s: r.integers(0, 9, s),
    "constant": lambda r, s: np.full(s, 0.1),
}


@pytest.mark.parametrize("name", PIXELS)
@pytest.mark.parametrize("budget", [0.05, 0.11, 0.5])
def test_the_pixel_threshold_is_the_exact_one_or_a_bin_above(name: str, budget: float) -> None:
    random = np.random.default_rng(3)
    sizes = [(20, 30), (11, 7), (40, 40)] * 9
    maps = [PIXELS[name](random, size).astype(np.float32) for size in sizes]
    found, exact = pixel_threshold(maps, budget).value, exact_pixel_threshold(maps, budget)
    assert found >= exact
    lost = np.mean([((one > exact) & (one <= found)).mean() for one in maps])
    assert lost <= 1e-3
    shares = np.mean([(one > found).mean() for one in maps])
    assert 27 / 28 * shares + 1 / 28 <= budget


def test_the_pixel_budget_is_kept_and_is_not_generous() -> None:
    """Images of very different rates; without the added 1 / (n + 1) the budget would break."""
    random = np.random.default_rng(4)
    fresh = np.concatenate([random.normal(m, 1, 60) for m in random.exponential(1.5, 4000)])
    fresh.sort()
    rates, plain = [], []
    for _ in range(250):
        maps = [
            random.normal(m, 1, (6, 10)).astype(np.float32) for m in random.exponential(1.5, 12)
        ]
        rates.append(1 - np.searchsorted(fresh, pixel_threshold(maps, 0.15).value) / fresh.size)
        cut = np.quantile(np.concatenate([one.ravel() for one in maps]), 1 - 0.15)
        plain.append(1 - np.searchsorted(fresh, cut) / fresh.size)
    error = 3 * np.std(rates) / np.sqrt(250)
    assert 0.02 < np.mean(rates) <= 0.15 + error
    assert np.mean(plain) > np.mean(rates) + error


def test_a_pixel_budget_for_too_few_maps_is_refused() -> None:
    maps = [np.zeros((4, 4), np.float32)] * 18
    with pytest.raises(TooFewNormalsError) as caught:
        pixel_threshold(maps, 0.05)
    assert (caught.value.n, caught.value.needed) == (18, 19)
    found = pixel_threshold([*maps, maps[0]], 0.05)
    assert found.as_dict() == {
        "value": 0.0,
        "method": "conformal risk control",
        "budget": 0.05,
        "n": 19,
        "smallest_budget": 0.05,
    }


def test_at_the_smallest_budget_no_pixel_alarms() -> None:
    random = np.random.default_rng(5)
    sizes = [(9, 9)] * 18 + [(300, 300)]
    maps = [random.normal(size=size).astype(np.float32) for size in sizes]
    found = pixel_threshold(maps, 0.05)
    assert all((one <= found.value).all() for one in maps)


def test_broken_maps_are_refused() -> None:
    good = [np.zeros((3, 3), np.float32)] * 9
    with pytest.raises(DataError, match=r"1 NaN among 4 pixels\n.*image 9"):
        pixel_threshold([*good, np.array([[0, np.nan], [1, 2]], np.float32)], 0.2)
    with pytest.raises(DataError, match=r"shape \(3,\)\n.*image 9"):
        pixel_threshold([*good, np.zeros(3, np.float32)], 0.2)
