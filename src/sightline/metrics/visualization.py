"""Two pictures of a detector, drawn without a display: the ROC curve and the confusion matrix."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.auroc import compute_auroc, roc_curve, split_scores
from sightline.metrics.classification import confusion_matrix
from sightline.metrics.score_histogram import thin_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".png", ".svg")
NAMES = ("normal", "anomalous")
_INK, _QUIET, _LINE = "#1f2933", "#6b7785", "#2563b0"
_POINTS = 2000


def plot_roc_curve(
    scores: npt.ArrayLike, labels: npt.ArrayLike, save_path: str | os.PathLike[str] | None = None
) -> Figure:
    """Return the ROC curve of scores (N,) and labels (N,), 1 for anomalous, with its area.

    With ``save_path`` (png, pdf or svg) it is written there too; folders that lack are made. A
    single class has no curve: the figure says so, without a warning. Raises DataError for a NaN,
    other labels, or a path that cannot be written.
    """
    target = _checked_path(save_path)
    anomalous, normal = split_scores(scores, labels)
    figure = _new_figure()
    counts = f"{len(normal)} normal, {len(anomalous)} anomalous"
    if not (len(anomalous) and len(normal)):
        return _save(_say(figure, f"There is no ROC curve of one class ({counts})."), target)
    area = compute_auroc(scores, labels)
    fpr, tpr, _ = roc_curve(scores, labels)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], ":", color=_QUIET, linewidth=1)
    axes.plot(*thin_curve(fpr, tpr, points=_POINTS), color=_LINE, linewidth=1.8)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    title = f"ROC curve, AUROC {area:.3f} ({counts})"
    _dress(axes, title, "share of normal images that alarm", "share of anomalous images found")
    return _save(figure, target)


def plot_confusion_matrix(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    save_path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Return the confusion matrix of predictions (N,) and labels (N,), both 0 or 1, as a picture.

    Rows are the truth; the numbers are counts, the colours shares of the row. A class without
    images has an empty row, and a sentence says so. ``save_path`` and errors as in
    ``plot_roc_curve``.
    """
    target = _checked_path(save_path)
    matrix = confusion_matrix(_codes(labels), _codes(predictions), 2)
    figure = _new_figure()
    rows = matrix.sum(axis=1, keepdims=True)
    if not rows.any():
        return _save(_say(figure, "There are no images."), target)
    axes = figure.add_subplot()
    shares = matrix / np.maximum(rows, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if shares[row, column] > 0.55 else _INK
        axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=14)
    axes.set_xticks([0, 1], [f"called {name}" for name in NAMES])
    axes.set_yticks([0, 1], NAMES)
    absent = [name for name, count in zip(NAMES, rows[:, 0], strict=True) if not count]
    note = f"no image is {absent[0]}" if absent else ""
    _dress(axes, f"Confusion matrix ({rows.sum()} images)", note, "")
    return _save(figure, target)


def _codes(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    codes = np.asarray(values).reshape(-1)
    others = codes[(codes != 0) & (codes != 1)]
    if others.size:
        raise DataError(
            "Predictions and labels do not say normal or anomalous.",
            expected="0 for normal, 1 for anomalous",
            got=f"{others.size} other values, the first is {others[0]!s}",
            remedy="compare scores with a threshold first: alarm = score > threshold",
        )
    return codes.astype(np.int64)


def _new_figure() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.8), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _say(figure: Figure, sentence: str) -> Figure:
    figure.text(0.5, 0.5, sentence, ha="center", va="center", color=_QUIET)
    return figure


def _dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel(x_label, color=_QUIET, fontsize=9)
    axes.set_ylabel(y_label, color=_QUIET, fontsize=9)
    axes.tick_params(colors=_QUIET, labelsize=8, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _checked_path(save_path: str | os.PathLike[str] | None) -> Path | None:
    if save_path is None:
        return None
    path = Path(save_path)
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise DataError(
            "A figure cannot be written there.",
            expected=f"a file that ends with {', '.join(SUFFIXES)}",
            got=path.name or path,
            where=path,
        )
    return path


def _save(figure: Figure, path: Path | None) -> Figure:
    if path is None:
        return figure
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(part, format=path.suffix[1:].lower())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise DataError(
            "A figure cannot be written.",
            expected="a folder that can be made and written to",
            got=error,
            where=path,
        ) from error
    return figure
