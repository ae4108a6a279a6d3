"""Thresholds of reliability: what they promise, what they say, and when there are none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from sightline.errors import DataError
from sightline.metrics.reliability import Reliability, false_accept_estimate, fit_reliability
from sightline.metrics.voting import Criteria


def draw(n: int, seed: int, *, unknown: bool = False) -> tuple[Criteria, np.ndarray]:
    """Criteria that tell something about whether an answer is right; those of unknown are worse."""
    random = np.random.default_rng(seed)
    quality = random.normal(-1.5 if unknown else 0.0, 1.0, n)
    right = random.random(n) < 1 / (1 + np.exp(-2 * (quality + 1)))
    noise = random.normal(size=(3, n))
    margin, concentration = (1 / (1 + np.exp(-quality - noise[at])) for at in (1, 2))
    return Criteria(np.exp(-quality + 0.5 * noise[0]), margin, concentration), right


def test_the_promises_hold() -> None:
    """Of 200 validation sets each promise is broken by no more than its share."""
    fresh, right = draw(200_000, seed=10_000)
    strange, _ = draw(200_000, seed=10_001, unknown=True)
    chosen = wrong = let_in = 0
    for seed in range(200):
        known, correct = draw(400, seed)
        unknown, _ = draw(150, seed + 5000, unknown=True)
        found = fit_reliability(
            known, correct, error_rate=0.15, delta=0.1, unknown=unknown, false_accept_rate=0.1
        )
        if found.reason is not None:
            continue
        chosen += 1
        given_out = found.accepts(*fresh)
        wrong += (~right[given_out]).mean() > 0.15
        let_in += found.accepts(*strange).mean() > 0.1
    assert chosen > 150, "the test must not pass because nothing is ever promised"
    assert wrong <= 0.1 * 200
    assert let_in <= 0.1 * 200
    assert let_in > 0, "a budget that is never used up is no budget"


@given(seed=st.integers(0, 5000), n=st.integers(20, 300), rate=st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=80, deadline=None)
def test_what_is_said_is_what_is_counted(seed: int, n: int, rate: float) -> None:
    known, correct = draw(n, seed)
    known = Criteria(*(np.round(one, 1) for one in known))
    unknown, _ = draw(50, seed + 1, unknown=True)
    found = fit_reliability(known, correct, error_rate=rate, unknown=unknown)
    accepted = found.accepts(*known)
    assert (found.n, found.unknown) == (n, 50)
    assert found.accepted == accepted.sum()
    assert found.coverage == pytest.approx(accepted.mean())
    assert found.unknown_accepted == found.accepts(*unknown).sum()
    if found.reason is None:
        assert found.accuracy == pytest.approx(correct[accepted].mean())
        assert 1 - rate <= found.lower_bound <= found.accuracy
        limits = (found.max_distance, found.min_margin, found.min_concentration)
        assert all(limit in column for limit, column in zip(limits, known, strict=True))
    else:
        assert not accepted.any()


def test_all_three_must_be_within() -> None:
    rule = Reliability(0.5, 0.25, 0.75, error_rate=0.1, delta=0.05, n=10)
    distance, margin, concentration = [0.5, 0.51, 0.5, 0.5], [0.25, 1, 0.24, 1], [0.75, 1, 1, 0.74]
    assert rule.accepts(distance, margin, concentration).tolist() == [True, False, False, False]
    assert rule.accepts([np.inf], [1.0], [1.0]).tolist() == [False]


def test_all_right_accepts_all() -> None:
    known, _ = draw(500, seed=0)
    found = fit_reliability(known, np.ones(500, bool), error_rate=0.05)
    assert (found.accepted, found.coverage, found.accuracy) == (500, 1.0, 1.0)
    assert found.max_distance == known.distance.max()
    assert found.min_margin == known.margin.min()
    assert found.min_concentration == known.concentration.min()
    # 500 of 500 at delta over 9 tests: the p with p^500 = delta / 9.
    assert found.lower_bound == pytest.approx((0.05 / 9) ** (1 / 500))
    bolder = fit_reliability(known, np.ones(500, bool), error_rate=0.05, delta=0.2)
    assert bolder.lower_bound == pytest.approx((0.2 / 9) ** (1 / 500))
    assert (bolder.delta, bolder.error_rate) == (0.2, 0.05)


def test_each_criterion_alone_can_be_what_matters() -> None:
    """Answers with one bad criterion are wrong; the others carry no sign. It has to be found."""
    random = np.random.default_rng(0)
    for at in range(3):
        columns = [random.random(2000) for _ in range(3)]
        correct = columns[at] < 0.7 if at == 0 else columns[at] > 0.3
        columns[at] = np.where(correct, columns[at], columns[at] + (1 if at == 0 else -1))
        found = fit_reliability(Criteria(*columns), correct, error_rate=0.05)
        assert found.reason is None
        assert found.coverage > 0.3
        assert found.accuracy > 0.95


def test_less_error_accepts_fewer() -> None:
    known, correct = draw(4000, seed=1)
    found = [fit_reliability(known, correct, error_rate=rate) for rate in (0.06, 0.1, 0.15, 0.2)]
    coverage = [one.coverage for one in found]
    assert coverage == sorted(coverage)
    assert 0 < coverage[0] < coverage[-1] <= 1
    distances = [one.max_distance for one in found]
    assert distances == sorted(distances)


def test_units_are_nothing() -> None:
    """Any increasing change of a criterion changes its threshold alike, and no answer."""
    known, correct = draw(800, seed=2)
    plain = fit_reliability(known, correct, error_rate=0.1)
    other = Criteria(known.distance * 40 + 3, known.margin**3, np.log(known.concentration))
    turned = fit_reliability(other, correct, error_rate=0.1)
    assert turned.max_distance == pytest.approx(plain.max_distance * 40 + 3)
    assert (turned.accepts(*other) == plain.accepts(*known)).all()


def test_a_budget_for_unknown_things_raises_the_thresholds() -> None:
    known, correct = draw(2000, seed=3)
    unknown, _ = draw(400, seed=4, unknown=True)
    options: dict[str, Any] = {"error_rate": 0.2, "unknown": unknown}
    free = fit_reliability(known, correct, **options)
    held = fit_reliability(known, correct, false_accept_rate=0.05, **options)
    assert free.false_accept_rate is None
    assert held.false_accept_rate == 0.05
    assert held.max_distance < free.max_distance
    assert held.unknown_accepted < 0.05 * 400 < free.unknown_accepted
    assert held.lower_bound >= 0.8


def test_nothing_that_can_be_promised_says_what_can() -> None:
    known, correct = draw(60, seed=0)
    none = fit_reliability(known, correct, error_rate=0.001)
    assert none.max_distance is None
    assert none.min_margin is None
    assert none.min_concentration is None
    assert "at most 0.1% wrong answers" in none.reason
    assert "of 60 answers" in none.reason
    assert "infer." not in none.reason
    assert not none.accepts(*known).any()
    assert (none.accepted, none.coverage, none.accuracy) == (0, 0.0, None)


def test_too_few_unknown_things_say_how_many_it_takes() -> None:
    known, correct = draw(600, seed=0)
    few = Criteria(*(one[:10] for one in known))
    none = fit_reliability(known, correct, error_rate=0.3, unknown=few, false_accept_rate=0.05)
    assert none.max_distance is None
    # 0.95^58 is above 0.05, and 0.95^59 below.
    assert "10 unknown things" in none.reason
    assert "takes 59" in none.reason


def test_unknown_things_that_look_like_the_best_leave_nothing() -> None:
    known, correct = draw(300, seed=0)
    best = Criteria(np.zeros(100), np.full(100, 2.0), np.full(100, 2.0))
    none = fit_reliability(known, correct, error_rate=0.3, unknown=best, false_accept_rate=0.05)
    assert "more reliable than unknown" in none.reason
    assert not none.accepts(*known).any()


def test_a_saved_rule_decides_alike() -> None:
    known, correct = draw(500, seed=5)
    known = Criteria(*(one.astype(np.float32) for one in known))
    found = fit_reliability(known, correct, error_rate=0.1)
    again = Reliability.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False)))
    assert again == found
    assert (again.accepts(*known) == found.accepts(*known)).all()
    none = fit_reliability(known, ~correct, error_rate=0.01)
    assert Reliability.from_dict(json.loads(json.dumps(none.as_dict()))) == none
    with pytest.raises(TypeError):
        Reliability.from_dict({**found.as_dict(), "max_distanec": 1})


def test_wrong_input_is_refused() -> None:
    known, correct = draw(30, seed=0)
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        (known, correct[:3], {}, "whether each was right"),
        (Criteria(*(one[:0] for one in known)), [], {}, "not empty"),
        (known._replace(margin=known.margin[:4]), correct, {}, "of one length"),
        (known._replace(margin=known.margin * np.nan), correct, {}, "NaN"),
        (known._replace(distance=known.distance + np.inf), correct, {}, "no finite criteria"),
        (known, correct, {"error_rate": 0.0}, "no share"),
        (known, correct, {"delta": 1.0}, "no share"),
        (known, correct, {"unknown": known, "false_accept_rate": 1.5}, "no share"),
        (known, correct, {"false_accept_rate": 0.1}, "answers on unknown things"),
    ]
    for answers, right, change, message in cases:
        with pytest.raises(DataError, match=message):
            fit_reliability(answers, right, **{"error_rate": 0.1, **change})


def test_the_share_of_false_accepts_is_exact_over_images() -> None:
    found = false_accept_estimate([True] * 3 + [False] * 27)
    assert (found.value, found.n, found.unit) == (0.1, 30, "image")
    # Clopper & Pearson for 3 of 30: three or more have probability 0.025 at the lower end.
    fewer = binom.cdf(2, 30, found.low), binom.cdf(3, 30, found.high)
    assert (1 - fewer[0], fewer[1]) == pytest.approx((0.025, 0.025))


def test_no_false_accept_is_no_proof_of_none() -> None:
    images = false_accept_estimate(np.zeros(40, bool))
    groups = false_accept_estimate(np.zeros(40, bool), groups=np.repeat(range(10), 4))
    assert (images.value, groups.value) == (0, 0)
    assert images.high == pytest.approx(1 - 0.025 ** (1 / 40))
    assert groups.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert (groups.n, groups.unit) == (10, "group")
    every = false_accept_estimate(np.ones(40, bool), groups=np.repeat(range(10), 4))
    assert (every.low, every.high) == (pytest.approx(0.025 ** (1 / 10)), 1)
    mixed = false_accept_estimate(np.arange(40) < 4, groups=np.repeat(range(10), 4))
    assert mixed.value == pytest.approx(0.1)
    assert 0 == mixed.low < mixed.high < 0.5
    assert false_accept_estimate([]).n == 0
