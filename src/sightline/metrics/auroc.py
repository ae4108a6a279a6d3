"""How well scores tell anomalous from normal: AUROC, average precision, F1, exact with ties.

A score is higher for what is more anomalous; a label is 1 (or True) for anomalous and 0 for
normal. N scores, of images or of pixels. Every function compares scores only with each other, so
any strictly increasing change of them leaves AUROC, average precision and the best F1 as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats, checked_codes

Scores = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]

_AT_ONCE = 1 << 17
"""Scores are ranked in slices of this many, so that ranks of millions need no memory."""


def compute_auroc(scores: npt.ArrayLike, labels: npt.ArrayLike, *, strict: bool = False) -> float:
    """Return the probability that an anomalous score is above a normal one, ties counting half.

    The area under the ROC curve as the Mann-Whitney statistic (Hanley & McNeil, The Meaning and
    Use of the Area under a ROC Curve, 1982). ``scores`` and ``labels`` have one shape, (N,) or
    any other. Float32 stays float32: the memory needed is about five bytes for each score.

    A single class has no AUROC: NaN with a warning that names the counts, or a DataError if
    ``strict``. A NaN score and labels other than 0 and 1 are a DataError.

    >>> compute_auroc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    0.875
    """
    anomalous, normal = split_scores(scores, labels)
    if not (anomalous.size and normal.size):
        return _undefined("AUROC", len(normal), len(anomalous), strict=strict)
    return _area(anomalous, normal)


def compute_auroc_per_class(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    normal: int = 0,
    strict: bool = False,
) -> dict[str, float]:
    """Return the AUROC of each defect type against all normal images, by name in class order.

    ``labels`` (N,) are indices into ``class_names``; ``normal`` is the index of the normal class,
    which has no entry of its own. A type without images, or no normal image at all, gives NaN
    with a warning, or a DataError if ``strict``.

    >>> compute_auroc_per_class([0.1, 0.3, 0.2, 0.9], [0, 0, 1, 2], ["good", "dent", "hole"])
    {'dent': 0.5, 'hole': 1.0}
    """
    values = _checked_scores(scores)
    codes = checked_codes(labels, len(class_names), name="labels")
    _same_size(values, codes)
    if not 0 <= normal < len(class_names):
        raise DataError(
            "The normal class does not exist.",
            expected=f"an index from 0 to {len(class_names) - 1}",
            got=normal,
        )
    good = np.sort(values[codes == normal])
    areas = {}
    for code, name in enumerate(class_names):
        if code == normal:
            continue
        chosen = values[codes == code]
        if good.size and chosen.size:
            areas[name] = _area(chosen, good)
        else:
            what = f"AUROC of {name!r}"
            areas[name] = _undefined(what, len(good), len(chosen), strict=strict)
    return areas


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean precision over the anomalous scores, each at its own threshold.

    The sum over thresholds of precision times gained recall, without interpolation, as
    scikit-learn defines it; tied scores share one threshold. A single class gives NaN with a
    warning. Chance is the share of anomalous scores, not a half.

    >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
    0.8333
    """
    anomalous, normal = split_scores(scores, labels)
    if not (anomalous.size and normal.size):
        return _undefined("average precision", len(normal), len(anomalous), strict=False)
    anomalous.sort()
    normal.sort()
    total = 0.0
    for start in range(0, len(anomalous), _AT_ONCE):
        part = anomalous[start : start + _AT_ONCE]
        hits = len(anomalous) - np.searchsorted(anomalous, part)
        alarms = hits + len(normal) - np.searchsorted(normal, part)
        total += float((hits / alarms).sum())
    return total / len(anomalous)


def f1_score_at(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> float:
    """Return the F1 of calling every score above the threshold an alarm.

    2 TP / (2 TP + FP + FN); a score equal to the threshold is no alarm. NaN with a warning where
    nothing is anomalous, since then there is nothing to find.

    >>> f1_score_at([0.1, 0.6, 0.5, 0.9], [0, 0, 1, 1], threshold=0.5)
    0.5
    """
    anomalous, normal = split_scores(scores, labels)
    if not anomalous.size:
        return _undefined("F1", len(normal), 0, strict=False)
    hits, false = int((anomalous > threshold).sum()), int((normal > threshold).sum())
    return 2 * hits / (hits + false + len(anomalous))


def best_f1(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the highest F1 that any threshold reaches on these very labels.

    The maximum over the precision-recall curve. It is an oracle: no threshold chosen without the
    labels of the test set can promise it. NaN with a warning where nothing is anomalous.

    >>> best_f1([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.8
    """
    anomalous, normal = split_scores(scores, labels)
    if not anomalous.size:
        return _undefined("best F1", len(normal), 0, strict=False)
    anomalous.sort()
    normal.sort()
    hits = len(anomalous) - np.searchsorted(anomalous, anomalous)
    false = len(normal) - np.searchsorted(normal, anomalous)
    return float((2 * hits / (hits + false + len(anomalous))).max())


def roc_curve(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return false-positive rates, true-positive rates and thresholds, from no alarm to all.

    Each has one entry for each distinct score, falling, after a first (0, 0, infinity): point k
    is the share of normal and of anomalous scores that are at least ``thresholds[k]``. A class
    without scores has the rate NaN, with a warning.

    >>> fpr, tpr, thresholds = roc_curve([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    >>> fpr.tolist(), tpr.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    anomalous, normal = split_scores(scores, labels)
    if not (anomalous.size and normal.size):
        _undefined("ROC curve", len(normal), len(anomalous), strict=False)
    thresholds = np.unique(np.concatenate([anomalous, normal]))[::-1]
    rates = [_share_from(np.sort(part), thresholds) for part in (normal, anomalous)]
    top = np.concatenate([[np.inf], thresholds.astype(np.float64)])
    return rates[0], rates[1], top


def split_scores(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Scores, Scores]:
    """Return copies of the anomalous and the normal scores, each (N,), or raise a DataError."""
    values, flags = _checked_scores(scores), _checked_flags(labels)
    _same_size(values, flags)
    return values[flags], values[~flags]


def _area(anomalous: Scores, normal: Scores) -> float:
    """The Mann-Whitney share; both arrays are sorted in place."""
    # The smaller side is looked up in the larger: sorted queries walk through memory in order.
    turned = len(anomalous) > len(normal)
    few, many = (normal, anomalous) if turned else (anomalous, normal)
    few.sort()
    many.sort()
    twice_below = 0
    for start in range(0, len(few), _AT_ONCE):
        part = few[start : start + _AT_ONCE]
        twice_below += int(np.searchsorted(many, part, side="left").sum())
        twice_below += int(np.searchsorted(many, part, side="right").sum())
    area = twice_below / (2 * len(few) * len(many))
    return 1 - area if turned else area


def _share_from(ordered: Scores, thresholds: Scores) -> Floats:
    if not ordered.size:
        return np.full(len(thresholds) + 1, np.nan)
    reached = len(ordered) - np.searchsorted(ordered, thresholds)
    return np.concatenate([[0.0], reached / len(ordered)])


def _checked_scores(scores: npt.ArrayLike) -> Scores:
    values = np.asarray(scores).reshape(-1)
    if values.dtype != np.float32:
        values = values.astype(np.float64)
    missing = np.isnan(values).sum() if values.size and np.isnan(values.max()) else 0
    if missing:
        raise DataError(
            "Some scores are no numbers.",
            expected="scores without NaN",
            got=f"{missing} NaN among {len(values)} scores",
            remedy="find out which images the model cannot score; a NaN has no rank",
        )
    return values


def _checked_flags(labels: npt.ArrayLike) -> Flags:
    flags: npt.NDArray[Any] = np.asarray(labels).reshape(-1)
    if flags.dtype == np.bool_:
        return flags
    anomalous: Flags = flags == 1
    others = flags.size - np.count_nonzero(anomalous) - np.count_nonzero(flags == 0)
    if others:
        wrong = flags[~anomalous & (flags != 0)][0]
        raise DataError(
            "The labels do not say normal or anomalous.",
            expected="0 for normal, 1 for anomalous",
            got=f"{others} other labels, the first is {wrong!s}",
        )
    return anomalous


def _same_size(values: Scores, labels: npt.NDArray[Any]) -> None:
    if len(values) != len(labels):
        raise DataError(
            "Scores and labels do not belong together.",
            expected=f"{len(values)} labels, one for each score",
            got=len(labels),
            remedy="join them by sample id before scoring",
        )


def _undefined(what: str, normal: int, anomalous: int, *, strict: bool) -> float:
    """NaN with a warning shown at the caller of the public function, or the strict error."""
    counts = f"{normal} normal and {anomalous} anomalous"
    if strict:
        raise DataError(
            f"The {what} needs normal and anomalous scores.",
            expected="at least one of each",
            got=counts,
        )
    warnings.warn(f"The {what} is undefined: the scores are {counts}.", stacklevel=3)
    return float("nan")
