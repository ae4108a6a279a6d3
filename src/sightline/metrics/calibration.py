"""How far a classifier's probabilities can be believed: ECE, NLL, Brier score, reliability.

N images, C classes. Every score is a function of sums over images, so the bootstrap draws units
(images, or groups of them) and adds up their sums instead of touching images again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats, checked_codes
from sightline.metrics.intervals import Estimate, bootstrap_sums

BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. 2017."""
MOST_LOSS = float(-np.log(np.finfo(np.float64).tiny))
"""A probability that underflowed to 0 counts as the smallest float64: a loss of 708 nats."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The images whose confidence lies in (low, high]; both means are NaN for n = 0."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data; the means of an empty bin are None."""
        means = {"confidence": self.confidence, "accuracy": self.accuracy}
        return {
            "low": self.low,
            "high": self.high,
            "n": self.n,
            **{name: value if self.n else None for name, value in means.items()},
        }


@dataclass(frozen=True)
class CalibrationScores:
    """The three scores with intervals, and the bins behind the first; lower is better."""

    ece: Estimate
    nll: Estimate
    brier: Estimate
    bins: tuple[ReliabilityBin, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        scores = {"ece": self.ece, "nll": self.nll, "brier": self.brier}
        return {
            **{name: one.as_dict() for name, one in scores.items()},
            "bins": [one.as_dict() for one in self.bins],
        }


def log_softmax(logits: npt.ArrayLike) -> Floats:
    """Return the (N, C) log-probabilities of logits in float64, without overflow."""
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 2:
        raise DataError(
            "Logits are no table.", expected="shape (N, C)", got=f"shape {scores.shape}"
        )
    shifted = scores - scores.max(axis=1, keepdims=True)
    whole: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return whole


def losses(logits: npt.ArrayLike, targets: npt.ArrayLike) -> Floats:
    """Return the negative log-likelihood of each row in nats, (N,), at most MOST_LOSS.

    >>> losses([[0.0, 0.0]], [1]).round(4).tolist()
    [0.6931]
    """
    whole = log_softmax(logits)
    truth = _targets(targets, whole.shape)
    return np.minimum(-whole[np.arange(len(truth)), truth], MOST_LOSS)


def brier_rows(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> Floats:
    """Return the squared distance of each row from its one-hot truth: (N,), each in 0..2.

    The multi-class score of Brier, Verification of forecasts expressed in terms of probability
    (1950), equation 2, before the mean.

    >>> brier_rows([[0.75, 0.25]], [0]).tolist()
    [0.125]
    """
    table = np.asarray(probabilities, dtype=np.float64)
    truth = _targets(targets, table.shape)
    difference = table.copy()
    difference[np.arange(len(truth)), truth] -= 1
    squares: Floats = np.square(difference).sum(axis=1)
    return squares


def expected_calibration_error(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, bins: int = BINS
) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins; NaN for N = 0.

    Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.

    >>> round(expected_calibration_error([[0.9, 0.1], [0.2, 0.8]], [0, 0]), 6)
    0.45
    """
    parts = reliability_bins(probabilities, targets, bins)
    n = sum(one.n for one in parts)
    gaps = [one.n * abs(one.confidence - one.accuracy) for one in parts if one.n]
    return sum(gaps) / n if n else float("nan")


def reliability_bins(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Return the points of a reliability diagram: images by the confidence of their answer."""
    confidence, correct, place = _answers(probabilities, targets, bins)
    counts = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, values, bins) for values in (confidence, correct)]
    means = [np.divide(s, counts, out=np.full(bins, np.nan), where=counts > 0) for s in sums]
    edges = _edges(bins)
    return tuple(
        ReliabilityBin(
            float(edges[one]),
            float(edges[one + 1]),
            int(counts[one]),
            float(means[0][one]),
            float(means[1][one]),
        )
        for one in range(bins)
    )


def calibration_scores(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> CalibrationScores:
    """Return every score of logits (N, C); intervals resample images, or whole groups (N,)."""
    whole = log_softmax(logits)
    probabilities = np.exp(whole)
    sure, correct, place = _answers(probabilities, targets, BINS)
    # Columns: images, loss, squared distance, and the gap of each bin.
    sums = np.zeros((len(sure), 3 + BINS))
    sums[:, 0] = 1
    sums[:, 1] = losses(whole, targets)
    sums[:, 2] = brier_rows(probabilities, targets)
    sums[np.arange(len(sure)), 3 + place] = sure - correct
    if groups is not None:
        sums = _sums_of_groups(sums, groups)
    statistics: dict[str, Callable[[Floats], Floats]] = {
        "ece": lambda s: np.abs(s[:, 3:]).sum(axis=1) / s[:, 0],
        "nll": lambda s: s[:, 1] / s[:, 0],
        "brier": lambda s: s[:, 2] / s[:, 0],
    }
    estimates = bootstrap_sums(
        sums,
        statistics,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
        unit="image" if groups is None else "group",
    )
    return CalibrationScores(**estimates, bins=reliability_bins(probabilities, targets))


def _answers(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, bins: int
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """The confidence of each answer, whether it is right (0 or 1), and its bin."""
    table = np.asarray(probabilities, dtype=np.float64)
    truth = _targets(targets, table.shape)
    if not len(truth):
        return np.empty(0), np.empty(0), np.empty(0, np.int64)
    confidence = table.max(axis=1)
    if not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise DataError(
            "Probabilities lie outside 0 to 1.",
            expected="the softmax of logits",
            got=f"{confidence.min():g} to {confidence.max():g}",
        )
    correct = (table.argmax(axis=1) == truth).astype(np.float64)
    # (low, high]: a confidence on an edge belongs to the bin below it.
    return confidence, correct, np.searchsorted(_edges(bins)[1:-1], confidence, side="left")


def _edges(bins: int) -> Floats:
    return np.linspace(0, 1, bins + 1)


def _targets(targets: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    if len(shape) != 2:
        raise DataError("Probabilities are no table.", expected="shape (N, C)", got=shape)
    truth = checked_codes(targets, shape[1], name="targets")
    if len(truth) != shape[0]:
        raise DataError(
            "Probabilities and targets do not belong together.",
            expected=f"{shape[0]} targets, one for each row",
            got=len(truth),
        )
    return truth


def _sums_of_groups(sums: Floats, groups: npt.ArrayLike) -> Floats:
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    if codes.size != len(sums):
        raise DataError(
            "Probabilities and groups do not belong together.",
            expected=f"{len(sums)} groups, one for each row",
            got=codes.size,
        )
    whole = np.zeros((len(names), sums.shape[1]))
    np.add.at(whole, codes.reshape(-1), sums)
    return whole
