"""Scores of a classifier, all derived from its confusion matrix.

C is the number of classes, N the number of images, ... any number of leading axes: every score
takes a stack of confusion matrices (..., C, C), so that a bootstrap scores all resamples at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def confusion_matrix(targets: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> Counts:
    """Return how often each class was taken for each: (C, C), rows are the truth.

    ``targets`` and ``predictions`` are (N,) class indices in 0..classes-1; N = 0 gives zeros.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    truth = checked_codes(targets, classes, name="targets")
    guess = checked_codes(predictions, classes, name="predictions")
    if truth.shape != guess.shape:
        raise DataError(
            "Targets and predictions do not belong together.",
            expected=f"{len(truth)} predictions, one for each target",
            got=len(guess),
            remedy="join them by sample id before scoring",
        )
    cells = np.bincount(truth * classes + guess, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64, copy=False)


def accuracy(confusion: npt.ArrayLike) -> Floats:
    """Return the fraction of images on the diagonal, shape (...); NaN where there are no images.

    >>> float(accuracy([[3, 1], [0, 4]]))
    0.875
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    correct = np.trace(matrix, axis1=-2, axis2=-1)
    return _divide(correct, matrix.sum(axis=(-2, -1)), empty=np.nan)


def precision(confusion: npt.ArrayLike) -> Floats:
    """Return, for each class, the fraction of its predictions that are right: (..., C), 0/0 = 0."""
    matrix = np.asarray(confusion, dtype=np.float64)
    return _divide(_diagonal(matrix), matrix.sum(axis=-2), empty=0.0)


def recall(confusion: npt.ArrayLike) -> Floats:
    """Return, for each class, the fraction of its images that were found: (..., C), 0/0 = 0."""
    matrix = np.asarray(confusion, dtype=np.float64)
    return _divide(_diagonal(matrix), matrix.sum(axis=-1), empty=0.0)


def f1(confusion: npt.ArrayLike) -> Floats:
    """Return the harmonic mean of precision and recall of each class: (..., C), 0/0 = 0.

    >>> f1([[1, 1], [0, 1]]).round(4).tolist()
    [0.6667, 0.6667]
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    mentions = matrix.sum(axis=-2) + matrix.sum(axis=-1)
    return _divide(2 * _diagonal(matrix), mentions, empty=0.0)


def macro_f1(confusion: npt.ArrayLike) -> Floats:
    """Return the mean F1 over the classes that occur in the truth, shape (...); NaN without images.

    A class that no image of the split belongs to cannot be found, so it has no F1 and is left out;
    predicting it still costs the classes whose images were lost to it. ``absent_classes`` says
    which were left out. Equals scikit-learn's macro ``f1_score`` over the labels in the truth.

    >>> float(macro_f1([[2, 0, 0], [0, 1, 1], [0, 0, 0]]).round(4))
    0.8333
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    present = matrix.sum(axis=-1) > 0
    # The F1 of an absent class is 0, so it adds nothing to the sum and is not counted.
    return _divide(f1(matrix).sum(axis=-1), present.sum(axis=-1), empty=np.nan)


def absent_classes(confusion: npt.ArrayLike) -> list[int]:
    """Return the classes of one (C, C) matrix that have no image and so no part in the macro F1."""
    return np.flatnonzero(np.asarray(confusion).sum(axis=-1) == 0).tolist()


@dataclass(frozen=True, slots=True)
class ClassificationScores:
    """Every score of one confusion matrix; the arrays are (C,) in class order."""

    n: int
    accuracy: float
    macro_f1: float
    precision: Floats
    recall: Floats
    f1: Floats
    support: Counts

    def per_class(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return one plain row for each class: name, precision, recall, f1, support."""
        arrays = (self.precision, self.recall, self.f1, self.support)
        columns = (names, *(array.tolist() for array in arrays))
        return [
            {
                "name": name,
                "precision": float(p),
                "recall": float(r),
                "f1": float(f),
                "support": int(n),
            }
            for name, p, r, f, n in zip(*columns, strict=True)
        ]


def classification_scores(confusion: npt.ArrayLike) -> ClassificationScores:
    """Return all scores of one (C, C) confusion matrix with the truth in its rows."""
    matrix = np.asarray(confusion, dtype=np.int64)
    return ClassificationScores(
        n=int(matrix.sum()),
        accuracy=float(accuracy(matrix)),
        macro_f1=float(macro_f1(matrix)),
        precision=precision(matrix),
        recall=recall(matrix),
        f1=f1(matrix),
        support=matrix.sum(axis=-1),
    )


def mean_cross_entropy(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the mean negative log-likelihood in nats of (N, C) logits; NaN for N = 0.

    Computed in float64 with the largest logit taken out, so large logits do not overflow.

    >>> round(mean_cross_entropy([[0.0, 0.0], [0.0, 0.0]], [0, 1]), 6)
    0.693147
    """
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 2:
        raise DataError(
            "Logits are no table.", expected="shape (N, C)", got=f"shape {scores.shape}"
        )
    truth = checked_codes(targets, scores.shape[1], name="targets")
    if len(truth) != len(scores):
        raise DataError(
            "Logits and targets do not belong together.",
            expected=f"{len(scores)} targets, one for each row of logits",
            got=len(truth),
        )
    if not len(truth):
        return float("nan")
    shifted = scores - scores.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]
    return float(losses.mean())


def checked_codes(values: npt.ArrayLike, classes: int, *, name: str) -> Counts:
    """Return class indices as (N,) int64, or raise a DataError that names the first bad row."""
    codes = np.asarray(values)
    if codes.ndim != 1 or (codes.size and not np.issubdtype(codes.dtype, np.integer)):
        raise DataError(
            f"The {name} are no list of class indices.",
            expected="whole numbers, shape (N,)",
            got=f"{codes.dtype}, shape {codes.shape}",
        )
    codes = codes.astype(np.int64)
    outside = np.flatnonzero((codes < 0) | (codes >= classes))
    if len(outside):
        raise DataError(
            f"The {name} hold a class that does not exist.",
            expected=f"0 to {classes - 1}",
            got=int(codes[outside[0]]),
            where=f"row {outside[0]}",
            remedy="use the class order of the model that made the predictions",
        )
    return codes


def _diagonal(matrix: Floats) -> Floats:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _divide(above: npt.ArrayLike, below: npt.ArrayLike, *, empty: float) -> Floats:
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    filled = np.full(np.broadcast_shapes(above.shape, below.shape), empty)
    np.divide(above, below, out=filled, where=below > 0)
    return filled
