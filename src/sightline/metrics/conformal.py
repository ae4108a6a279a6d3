"""Thresholds that keep a false-alarm budget, from the scores of normal images alone.

Split conformal prediction (Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005;
Lei et al., Distribution-Free Predictive Inference for Regression, 2018, section 2.2), with the
score itself as nonconformity: the threshold is an order statistic of n normal scores that the model
was not fitted on. A new normal image that is exchangeable with them is above the k-th smallest with
probability at most (n + 1 - k) / (n + 1), whatever the distribution. An alarm is a score above the
threshold; ties only lower the rate. ``conformal_pixels`` does the same for pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, expm1, floor, log, log1p, log10
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError


class TooFewNormalsError(DataError):
    """Too few normal images for the budget: ``n``, ``budget``, ``smallest`` and ``needed``."""

    def __init__(self, n: int, budget: float, confidence: float | None = None) -> None:
        self.n, self.budget = n, budget
        self.smallest = smallest_budget(n, confidence)
        self.needed = needed_normals(budget, confidence)
        sure = "" if confidence is None else f" with confidence {confidence:g}"
        super().__init__(
            f"{n} normal images cannot promise a false-alarm rate of {budget:g}{sure}.",
            expected=f"at least {self.needed} normal images that were not trained on",
            got=n,
            remedy=f"ask for {self.smallest:g} or more, the smallest budget that {n} allow, "
            f"or set aside {self.needed} normal images",
        )


@dataclass(frozen=True, slots=True)
class ConformalThreshold:
    """The ``rank``-th smallest of ``n`` normal scores; an alarm is a score above ``value``.

    ``confidence`` None: the rate is at most ``budget`` on average over the choice of the normal
    images; else it is at most ``budget`` for that share of all choices.
    """

    value: float
    rank: int
    n: int
    budget: float
    smallest_budget: float
    confidence: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold, with the name of the method."""
        return {
            "value": self.value,
            "method": "conformal",
            "budget": self.budget,
            "n": self.n,
            "rank": self.rank,
            "smallest_budget": self.smallest_budget,
            "confidence": self.confidence,
        }


def conformal_threshold(
    scores: npt.ArrayLike, budget: float, *, confidence: float | None = None
) -> ConformalThreshold:
    """Return the threshold whose false-alarm rate on new normal images is at most ``budget``.

    ``scores`` (n,) are finite, of held-out normal images; ``budget`` is in (0, 1). Raises
    TooFewNormalsError, which says what n images can promise, where n is too small.

    Without ``confidence`` the rank is ceil((n + 1)(1 - budget)): the rate, averaged over such
    sets of normal images, keeps the budget (Lei et al. 2018, theorem 2.2). With it, for example
    0.9, the rate given these very images keeps the budget for 90 % of all sets (Vovk, Conditional
    Validity of Inductive Conformal Predictors, 2012, proposition 2): the rate of rank k has a
    Beta(n + 1 - k, k) distribution, or lies below it where scores tie.

    >>> found = conformal_threshold(range(1, 20), 0.1)
    >>> found.value, found.rank
    (18.0, 18)
    """
    values = _checked(scores)
    _check_shares(budget=budget, confidence=confidence)
    n = len(values)
    rank = _rank(n, budget, confidence)
    if rank > n:
        raise TooFewNormalsError(n, budget, confidence)
    value = float(np.partition(values, rank - 1)[rank - 1])
    return ConformalThreshold(value, rank, n, budget, smallest_budget(n, confidence), confidence)


def smallest_budget(n: int, confidence: float | None = None) -> float:
    """Return the smallest false-alarm rate that n normal images can promise, rounded up.

    1 / (n + 1), or 1 - (1 - confidence)^(1/n) with a confidence: that of the highest score as
    threshold. Rounded up to three digits, so that asking for it works. 1 for n = 0.

    >>> smallest_budget(19), smallest_budget(30), smallest_budget(19, 0.9)
    (0.05, 0.0323, 0.115)
    """
    _check_shares(confidence=confidence)
    if n < 1:
        return 1.0
    exact = Fraction(1, n + 1)
    if confidence is not None:
        exact = Fraction(-expm1(log1p(-confidence) / n))
    step = Fraction(10) ** (floor(log10(exact)) - 2)
    return float(ceil(exact / step) * step)


def needed_normals(budget: float, confidence: float | None = None) -> int:
    """Return how many normal images it takes to promise the budget.

    >>> needed_normals(0.05), needed_normals(0.01), needed_normals(0.05, 0.9)
    (19, 99, 45)
    """
    _check_shares(budget=budget, confidence=confidence)
    if confidence is None:
        return max(1, ceil(1 / _ratio(budget)) - 1)
    n = max(1, ceil(log(1 - confidence) / log1p(-budget)))
    # Logarithms may miss by one where the quotient is a whole number.
    while n > 1 and _rank(n - 1, budget, confidence) <= n - 1:
        n -= 1
    while _rank(n, budget, confidence) > n:
        n += 1
    return n


def expected_false_alarms(
    n: int, rank: int, n_test: int, confidence: float = 0.95
) -> tuple[int, int]:
    """Return the fewest and most alarms to expect on ``n_test`` new normal images.

    If they are exchangeable with the n the threshold was chosen on, and no scores tie, the number
    above the rank-th smallest is beta-binomial with a = n + 1 - rank and b = rank (Vovk 2012).
    Each tail has at most (1 - confidence) / 2; more alarms than the second number speak against
    the test images being like the others. Ties can only make alarms fewer.

    >>> expected_false_alarms(n=99, rank=95, n_test=100)
    (0, 12)
    """
    if not (1 <= rank <= n and n_test >= 0 and 0 < confidence < 1):
        raise DataError(
            "The false alarms to expect cannot be computed.",
            expected="1 <= rank <= n, n_test >= 0 and 0 < confidence < 1",
            got=f"rank={rank}, n={n}, n_test={n_test}, confidence={confidence}",
        )
    from scipy.special import betaln, gammaln

    alarms = np.arange(n_test + 1, dtype=np.float64)
    ways = gammaln(n_test + 1) - gammaln(alarms + 1) - gammaln(n_test - alarms + 1)
    a, b = n + 1 - rank, rank
    chances = np.exp(ways + betaln(alarms + a, n_test - alarms + b) - betaln(a, b))
    below, tail = np.cumsum(chances), (1 - confidence) / 2
    # Rounding may leave the last sum a little short of one.
    low, high = (min(int(np.searchsorted(below, one)), n_test) for one in (tail, 1 - tail))
    return low, high


def _rank(n: int, budget: float, confidence: float | None) -> int:
    """The smallest rank that keeps the budget; n + 1 where none does."""
    if confidence is None:
        # (n + 1)(1 - budget) in floating point can be a hair above a whole number.
        return n + 1 - floor((n + 1) * _ratio(budget))
    from scipy.special import betainc

    ranks = np.arange(1, n + 1)
    kept = betainc(n + 1 - ranks, ranks, budget) >= confidence
    return int(np.argmax(kept)) + 1 if kept.any() else n + 1


def _ratio(budget: float) -> Fraction:
    """The ratio that was meant: 0.1 is a tenth and 0.333...3 a third."""
    return Fraction(budget).limit_denominator(10**9) or Fraction(budget)


def _checked(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise DataError(
            "Normal scores are no list.", expected="shape (n,)", got=f"shape {values.shape}"
        )
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise DataError(
            "Some normal scores are not finite.",
            expected="finite scores",
            got=f"{bad} that are NaN or infinite among {len(values)}",
        )
    return values


def _check_shares(**shares: float | None) -> None:
    for name, share in shares.items():
        if share is not None and not 0 < share < 1:
            raise DataError(
                f"The {name} is no share.", expected="a number between 0 and 1", got=share
            )
