"""When to ask for another photo: thresholds on distance, margin and concentration of a vote.

n validation answers, Q new ones, U answers on unknown things. An answer is accepted if its nearest
neighbour is near, the vote is clear and the votes are concentrated: all three, by thresholds that
are fitted, not set. So that one number orders all answers, each criterion becomes its rank among
the validation answers (no label is used for that), and an answer is as reliable as the least of
its three ranks. Raising the least rank that is accepted tightens all three thresholds together:
a family of nested rules with one parameter, which is chosen with a guaranteed error rate
(``selective.choose_threshold``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts
from sightline.metrics.conformal import TooFewNormalsError, conformal_threshold
from sightline.metrics.grouped_means import mean_estimate
from sightline.metrics.intervals import Estimate, binomial_interval
from sightline.metrics.selective import Acceptance, choose_threshold
from sightline.metrics.voting import Criteria

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Which answers to give: those within all three thresholds; none where they are None.

    Of ``n`` validation answers ``accepted`` were within, a share of ``coverage``, and
    ``accuracy`` of them were right. On new images of the same kind at least ``lower_bound`` of
    the accepted answers are right, with confidence 1 - ``delta``.
    """

    max_distance: float | None
    min_margin: float | None
    min_concentration: float | None
    error_rate: float
    """Share of wrong answers that is allowed among the accepted."""
    delta: float
    n: int
    accepted: int = 0
    coverage: float = 0.0
    accuracy: float | None = None
    lower_bound: float | None = None
    false_accept_rate: float | None = None
    """Share of unknown things that may be accepted; None: nothing is promised about them."""
    unknown: int = 0
    """Answers on unknown things that were looked at."""
    unknown_accepted: int = 0
    reason: str | None = None
    """Why there are no thresholds."""

    def accepts(
        self, distance: npt.ArrayLike, margin: npt.ArrayLike, concentration: npt.ArrayLike
    ) -> Flags:
        """Return which answers (Q,) to give; the others should ask for another photo."""
        criteria = _checked(Criteria(*map(np.asarray, (distance, margin, concentration))))
        if self.max_distance is None or self.min_margin is None or self.min_concentration is None:
            return np.zeros(len(criteria.distance), dtype=bool)
        clear = criteria.margin >= self.min_margin
        concentrated = criteria.concentration >= self.min_concentration
        return (criteria.distance <= self.max_distance) & clear & concentrated

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Reliability:
        """Return what ``as_dict`` was made of; a TypeError names a missing or unknown key."""
        return cls(**content)


def fit_reliability(
    answers: Criteria,
    correct: npt.ArrayLike,
    *,
    error_rate: float,
    delta: float = 0.05,
    unknown: Criteria | None = None,
    false_accept_rate: float | None = None,
) -> Reliability:
    """Return the widest thresholds whose accepted answers are wrong at most at ``error_rate``.

    ``answers`` (n,) are validation answers of a model that did not learn from them, and
    ``correct`` (n,) says which were right. The error rate on new images of the same kind is kept
    with confidence 1 - delta (Geifman & El-Yaniv, Selective Classification for Deep Neural
    Networks, 2017, algorithm 1), provided that the answers are independent. Photos of one object
    are not: with many of each the promise is weaker than it says.

    ``unknown`` (U,) are answers on things whose class was taken out of the gallery. With
    ``false_accept_rate`` only answers that are more reliable than an order statistic of theirs are
    considered, so that at most this share of unknown things is accepted, with confidence 1 - delta
    too (Vovk, Conditional Validity of Inductive Conformal Predictors, 2012, proposition 2). Both
    promises hold together with confidence 1 - 2 delta.

    Where nothing can be promised there are no thresholds, nothing is accepted, and ``reason``
    says what was missing. A DataError is for input that makes no sense.
    """
    known = _checked(answers, what="validation answers")
    strange = None if unknown is None else _checked(unknown, what="unknown answers")
    right = np.asarray(correct)
    _check_request(known, right, (error_rate, delta, false_accept_rate), strange)
    places = _Places(known)
    ranks = places.of(known)
    others = np.empty(0, dtype=np.int64) if strange is None else places.of(strange)
    rule = Reliability(
        None, None, None, error_rate, delta, len(ranks),
        false_accept_rate=false_accept_rate, unknown=len(others),
    )  # fmt: skip
    floor = 0.0
    if false_accept_rate is not None:
        try:
            floor = conformal_threshold(others, false_accept_rate, confidence=1 - delta).value
        except TooFewNormalsError as error:
            return replace(rule, reason=_too_few_unknown(error))
    above = ranks > floor
    if not above.any():
        return replace(rule, reason="no validation answer is more reliable than unknown things are")
    try:
        # What is not above the floor is withheld anyway, so it has no part in the search.
        chosen = choose_threshold(ranks[above] / len(ranks), right[above], 1 - error_rate, delta)
    except DataError as error:
        return replace(rule, reason=_unreachable(error_rate, error))
    return _with_thresholds(rule, chosen, places, others)


def false_accept_estimate(accepted: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Estimate:
    """Return the share of unknown things that were accepted (U,), with its 95 % interval.

    Over images the interval is the exact one of Clopper & Pearson (1934). With ``groups`` (U,) it
    is a bootstrap over them; where none or all were accepted, which no resample can vary, it is
    the exact one with each group as one trial.

    >>> print(false_accept_estimate([False] * 20))
    0.000 [0.000, 0.168] (n=20 images)
    """
    flags = np.asarray(accepted, dtype=bool)
    found = mean_estimate(flags, groups=groups)
    if groups is not None and 0 < found.value < 1:
        return found
    low, high = binomial_interval(round(found.value * found.n) if found.n else 0, found.n)
    return replace(found, low=low, high=high)


class _Places:
    """Turns criteria into ranks among n validation answers, 0..n, and ranks into criteria."""

    def __init__(self, known: Criteria) -> None:
        self.columns = [np.sort(one) for one in _larger_is_better(known)]

    def of(self, answers: Criteria) -> Counts:
        """The least of three: how many validation answers are no better by that criterion."""
        ranks = [
            np.searchsorted(column, one, side="right")
            for column, one in zip(self.columns, _larger_is_better(answers), strict=True)
        ]
        least: Counts = np.min(ranks, axis=0).astype(np.int64)
        return least

    def at(self, rank: int) -> tuple[float, float, float]:
        """The criteria that exactly the answers of this rank or more reach."""
        distance, margin, concentration = (float(one[rank - 1]) for one in self.columns)
        return -distance, margin, concentration


def _with_thresholds(
    rule: Reliability, chosen: Acceptance, places: _Places, others: Counts
) -> Reliability:
    rank = round(chosen.threshold * rule.n)
    distance, margin, concentration = places.at(rank)
    return replace(
        rule,
        max_distance=distance,
        min_margin=margin,
        min_concentration=concentration,
        accepted=chosen.accepted,
        coverage=chosen.accepted / rule.n,
        accuracy=chosen.accuracy,
        lower_bound=chosen.lower_bound,
        unknown_accepted=int((others >= rank).sum()),
    )


def _larger_is_better(criteria: Criteria) -> Criteria:
    return criteria._replace(distance=-criteria.distance)


def _checked(criteria: Criteria, what: str = "answers") -> Criteria:
    columns = [np.asarray(one, dtype=np.float64) for one in criteria]
    if len({one.shape for one in columns}) > 1 or columns[0].ndim != 1:
        raise DataError(
            f"The criteria of the {what} do not belong together.",
            expected="distance, margin and concentration of one length",
            got=", ".join(str(one.shape) for one in columns),
        )
    if np.isnan(columns).any():
        raise DataError(f"Some criteria of the {what} are NaN.", expected="numbers")
    return Criteria(*columns)


def _check_request(
    known: Criteria,
    right: npt.NDArray[Any],
    shares: tuple[float, float, float | None],
    unknown: Criteria | None,
) -> None:
    if right.shape != known.distance.shape or not right.size:
        raise DataError(
            "Reliability is fitted on answers and whether each was right.",
            expected="columns of one length, not empty",
            got=f"shapes {known.distance.shape} and {right.shape}",
        )
    if not np.isfinite(known).all():
        raise DataError("Some validation answers have no finite criteria.", expected="numbers")
    wrong = [one for one in shares if one is not None and not 0 < one < 1]
    if wrong:
        raise DataError(
            "An error rate, a delta or a false-accept rate is no share.",
            expected="numbers between 0 and 1",
            got=wrong[0],
        )
    if shares[2] is not None and unknown is None:
        raise DataError(
            "A false-accept rate needs answers on unknown things.",
            expected="criteria of queries whose class was taken out of the gallery",
            got="none",
        )


def _too_few_unknown(error: TooFewNormalsError) -> str:
    return (
        f"{error.n} unknown things cannot promise that at most {error.budget:.1%} of them are "
        f"accepted: that takes {error.needed}"
    )


def _unreachable(error_rate: float, error: DataError) -> str:
    found = str(error.got).replace("confidence", "reliability").replace("images", "answers")
    return f"no thresholds guarantee at most {error_rate:.1%} wrong answers: {found}"
