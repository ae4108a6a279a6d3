"""Which answers to keep to oneself: thresholds on the confidence with a guaranteed accuracy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Answers with a confidence of at least `threshold` are given, the others withheld.

    ``accepted`` of the ``n`` answers it was chosen on were given, a share of ``coverage``, and
    ``accuracy`` of those were right; on new images of the same kind at least ``lower_bound``
    will be, with the confidence asked for.
    """

    threshold: float
    coverage: float
    accuracy: float
    n: int
    accepted: int
    lower_bound: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def choose_threshold(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    accept_accuracy: float,
    delta: float = 0.05,
) -> Acceptance:
    """Return the lowest threshold whose given answers are right often enough, but for `delta`.

    Selection with guaranteed risk as by Geifman & El-Yaniv, Selective Classification for Deep
    Neural Networks (2017): some thresholds are tested, each at delta divided by their number (the
    union bound), with the exact binomial bound of Clopper & Pearson (1934). Their algorithm 1
    searches for the threshold by halving, which goes astray where few answers are above the middle
    one; here as many thresholds as halving would try are tested, spread evenly over the answers
    that they accept, all of them among these. ``confidence`` (N,) in 0..1 and ``correct`` (N,) are
    of images the model was not trained on; ``accept_accuracy`` is in (0, 1). Raises DataError when
    no threshold reaches it, with the best that was found.
    """
    sure, right = _checked(confidence, correct)
    if not (0 < accept_accuracy < 1 and 0 < delta < 1):
        raise DataError(
            "An accuracy cannot be guaranteed like this.",
            expected="an accuracy and a delta between 0 and 1",
            got=f"accuracy {accept_accuracy:g}, delta {delta:g}",
        )
    thresholds = np.unique(sure)
    order = np.argsort(sure)
    first = np.searchsorted(sure[order], thresholds)
    accepted = len(sure) - first
    hits = np.cumsum(right[order][::-1])[::-1][first]
    tests = len(thresholds).bit_length()
    # By the number of accepted answers and not by the value, and by no truth.
    wanted = len(sure) * np.arange(tests, 0, -1) / tests
    tried = np.unique([int(np.abs(accepted - one).argmin()) for one in wanted])
    bounds = _lower_bounds(hits[tried], accepted[tried], delta / len(tried))
    passing = np.flatnonzero(bounds >= accept_accuracy)
    place = int(passing[0]) if len(passing) else int(bounds.argmax())
    one = int(tried[place])
    best = Acceptance(
        float(thresholds[one]),
        float(accepted[one] / len(sure)),
        float(hits[one] / accepted[one]),
        len(sure),
        int(accepted[one]),
        float(bounds[place]),
    )
    if not len(passing):
        raise _unreachable(best, accept_accuracy, delta)
    return best


def confidence_bins(confidence: npt.ArrayLike) -> list[str]:
    """Return the tenth that each confidence (N,) in 0..1 lies in; 1 belongs to the last.

    >>> confidence_bins([0.05, 0.3, 0.95, 1.0])
    ['0.0-0.1', '0.3-0.4', '0.9-1.0', '0.9-1.0']
    """
    edges = np.arange(1, 10) / 10
    place = np.searchsorted(edges, np.asarray(confidence, dtype=np.float64), side="right")
    return [f"{one / 10:.1f}-{(one + 1) / 10:.1f}" for one in place.tolist()]


def _lower_bounds(hits: npt.ArrayLike, tries: npt.ArrayLike, delta: float) -> Floats:
    """The success rates that so many hits would be too lucky for, with probability delta."""
    from scipy.stats import beta

    won, n = np.asarray(hits, dtype=np.float64), np.asarray(tries, dtype=np.float64)
    lowest: Floats = np.where(won > 0, beta.ppf(delta, np.maximum(won, 1), n - won + 1), 0.0)
    return lowest


def _checked(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    sure = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(correct)
    if sure.ndim != 1 or sure.shape != right.shape or not sure.size:
        raise DataError(
            "A threshold needs confidences and whether each answer was right.",
            expected="two columns of one length, not empty",
            got=f"shapes {sure.shape} and {right.shape}",
        )
    if not np.isfinite(sure).all():
        raise DataError("Some confidences are not finite.", expected="numbers from 0 to 1")
    return sure, right.astype(bool)


def _unreachable(best: Acceptance, wanted: float, delta: float) -> DataError:
    return DataError(
        f"No confidence guarantees {wanted:.1%} of right answers.",
        expected=f"a lower bound of {wanted:.1%} with confidence {1 - delta:.0%}",
        got=f"at best {best.lower_bound:.1%}, for answers with confidence from "
        f"{best.threshold:.3f} up: {best.accepted} of {best.n} images (coverage "
        f"{best.coverage:.1%}), of which {best.accuracy:.1%} are right",
        remedy="ask for less with infer.accept_accuracy, or validate on more images",
    )
