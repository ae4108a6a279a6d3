from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from sightline.errors import DataError
from sightline.metrics.paired import auroc_difference, mcnemar_exact, paired_difference


@pytest.mark.parametrize(("lost", "won"), [(0, 5), (3, 3), (1, 0), (40, 61), (0, 0), (700, 800)])
def test_mcnemar_is_the_two_sided_binomial_test(lost: int, won: int) -> None:
    expected = binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
    assert mcnemar_exact(lost, won) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(won, lost) == pytest.approx(mcnemar_exact(lost, won))


def test_mcnemar_by_hand_and_refused() -> None:
    tail = sum(math.comb(10, i) for i in (0, 1)) / 2**10
    assert mcnemar_exact(1, 9) == pytest.approx(2 * tail)
    with pytest.raises(DataError, match="negative"):
        mcnemar_exact(-1, 2)


def test_paired_difference_sees_what_two_intervals_hide() -> None:
    generator = np.random.default_rng(0)
    first = generator.uniform(size=300)
    second = first + 0.02 + 0.01 * generator.standard_normal(300)
    found = paired_difference(first, second)
    assert found.value == pytest.approx(float(np.mean(second - first)))
    standard_error = np.std(second - first) / np.sqrt(300)
    assert found.low == pytest.approx(found.value - 1.96 * standard_error, abs=2e-4)
    assert found.high == pytest.approx(found.value + 1.96 * standard_error, abs=2e-4)
    assert 0 < found.low < found.high < 0.05
    swapped = paired_difference(second, first)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low), abs=5e-4)


def test_groups_widen_the_interval_and_missing_scores_are_left_out() -> None:
    generator = np.random.default_rng(1)
    shift = np.repeat(generator.standard_normal(20), 30)  # what a group has in common
    alone = paired_difference(np.zeros(600), shift)
    grouped = paired_difference(np.zeros(600), shift, groups=np.repeat(np.arange(20), 30))
    assert grouped.n == 20
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)
    assert paired_difference([0.0, np.nan, 1.0], [1.0, 5.0, 1.0]).value == 0.5


def test_auroc_difference_is_that_of_scikit_learn_on_the_same_draws() -> None:
    generator = np.random.default_rng(2)
    labels = np.arange(60) % 3 == 0
    first, second = (labels * shift + generator.standard_normal(60) for shift in (0.5, 2.0))
    found = auroc_difference(first, second, labels, resamples=200, seed=5)
    assert found.value == pytest.approx(
        roc_auc_score(labels, second) - roc_auc_score(labels, first)
    )
    draws = np.random.default_rng(5)
    kinds, slow = [np.flatnonzero(labels), np.flatnonzero(~labels)], []
    for _ in range(200):
        rows = np.concatenate([draws.choice(kind, len(kind)) for kind in kinds])
        slow.append(
            roc_auc_score(labels[rows], second[rows]) - roc_auc_score(labels[rows], first[rows])
        )
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
    assert math.isnan(auroc_difference([0.1, 0.2], [0.1, 0.2], [1, 1]).value)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="do not belong together"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(DataError, match="do not belong together"):
        auroc_difference([1.0, 2.0], [1.0, 2.0], [1])
