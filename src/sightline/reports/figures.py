"""Figures: data in, a matplotlib Figure out, no pyplot and so no global state and no display."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import DataError
from sightline.reports.history import collect_history, curve_panels
from sightline.reports.pictures import open_thumbnail
from sightline.runs.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1f2933", "#6b7785", "#e3e8ee"
LINES = ("#2563b0", "#d9622b", "#2a8a63", "#8a4fb3", "#b0333f", "#8a6d1d", "#3f7f93", "#6b7785")
COUNTS_UP_TO = 24
"""Above this many classes the cells are too small to hold a number."""


def training_curves(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Return loss, metrics and learning rate over epochs, from the rows of metrics.jsonl.

    A single epoch is a point; missing values are passed over; without rows the figure says so.
    """
    from matplotlib.ticker import MaxNLocator

    history = collect_history(rows)
    panels = curve_panels(history)
    figure = _new_figure((10, 3.1 * max(1, len(panels))))
    if not panels:
        return _say(figure, "No epoch has been recorded yet.")
    for axes, panel in zip(_rows_of_axes(figure, len(panels)), panels, strict=True):
        for place, (name, values) in enumerate(panel.columns.items()):
            points = [(e, v) for e, v in zip(history.epochs, values, strict=True) if v is not None]
            epochs, numbers = zip(*points, strict=True)
            color = LINES[place % len(LINES)]
            axes.plot(epochs, numbers, color=color, marker="o", markersize=3, label=name)
        _dress(axes, title=panel.title, x_label="epoch")
        axes.grid(color=GRID, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8, ncols=1 + (len(panel.columns) > 6))
    return figure


def confusion_figure(
    matrix: Sequence[Sequence[int]], names: Sequence[str], *, normalize: bool = True
) -> Figure:
    """Return the confusion matrix (C, C) as a picture, rows are the truth.

    ``normalize`` colours each cell by its fraction of the row, else by its count; the numbers
    are always counts. Above 24 classes there are no numbers, above 60 only some names.
    """
    import numpy as np

    counts = np.asarray(matrix, dtype=np.float64).reshape(len(names), len(names))
    rows = counts.sum(axis=1, keepdims=True)
    shown = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
    if not normalize:
        shown = counts
    side = min(16.0, 3.2 + 0.42 * len(names)) if len(names) <= 30 else 13.0
    figure = _new_figure((side + 0.8, side))
    if not len(names):
        return _say(figure, "There are no classes.")
    axes = figure.add_subplot()
    top = max(1.0 if normalize else 0.0, float(shown.max())) or 1.0
    image = axes.imshow(shown, cmap="Blues", vmin=0.0, vmax=top)
    scale = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    scale.outline.set_visible(False)
    scale.ax.tick_params(colors=QUIET, labelsize=8, length=0)
    _name_cells(axes, names)
    if len(names) <= COUNTS_UP_TO:
        for row, column in np.argwhere(counts > 0):
            color = "white" if shown[row, column] > 0.55 * top else INK
            text = f"{counts[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    _dress(axes, title="Confusion matrix", x_label="prediction")
    axes.set_ylabel("truth", color=QUIET, fontsize=9)
    return figure


def per_class_figure(per_class: Sequence[Mapping[str, Any]]) -> Figure:
    """Return F1 of each class as bars from the weakest up, with precision and recall as marks."""
    rows = sorted(per_class, key=lambda row: float(row["f1"]), reverse=True)
    figure = _new_figure((8, 1.4 + 0.26 * max(4, len(rows))))
    if not rows:
        return _say(figure, "There are no classes.")
    axes = figure.add_subplot()
    places = range(len(rows))
    axes.barh(places, [r["f1"] for r in rows], color="#c9dcf2", height=0.66, label="F1")
    for key, marker, color in (("precision", "|", LINES[0]), ("recall", ".", LINES[1])):
        values = [r[key] for r in rows]
        axes.scatter(values, places, marker=marker, s=60, color=color, label=key, zorder=3)
    labels = [f"{_short(str(r['name']))}  ({r['support']})" for r in rows]
    axes.set_yticks(list(places), labels, fontsize=8)
    _literal(axes.get_yticklabels())
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _dress(axes, title="Each class (number of images)", x_label="score")
    return figure


def image_grid(files: Sequence[Path], captions: Sequence[str], *, columns: int = 6) -> Figure:
    """Return the pictures in a grid, upright, each with its caption; a missing one is a text."""
    pairs = list(zip(files, captions, strict=True))
    columns = max(1, min(columns, len(pairs)))
    lines = max(1, -(-len(pairs) // columns))
    figure = _new_figure((1.8 * columns, 2.1 * lines))
    if not pairs:
        return _say(figure, "There are no pictures.")
    for place, (file, caption) in enumerate(pairs, start=1):
        axes = figure.add_subplot(lines, columns, place)
        axes.set_axis_off()
        axes.set_title(caption, fontsize=7, color=INK, wrap=True, parse_math=False)
        picture = open_thumbnail(file, side=256)
        if picture is None:
            axes.text(0.5, 0.5, "not readable", ha="center", va="center", color=QUIET, fontsize=8)
        else:
            axes.imshow(picture)
    return figure


def save_figure(figure: Figure, stem: Path, columns: Mapping[str, Sequence[Any]]) -> list[Path]:
    """Write ``stem.png`` and, beside it, ``stem.csv`` with the data it shows; return both paths.

    ``columns`` maps a heading to its values, all of one length; None becomes an empty cell. Each
    file is written beside its place and renamed, so a reader never meets half of one.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            "The data behind a figure does not form a table.",
            expected="columns of one length",
            got=lengths,
            where=stem,
        )
    picture, table = io.BytesIO(), io.StringIO(newline="")
    with warnings.catch_warnings():
        # A letter that no installed font has is drawn as a box; the CSV has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(picture, format="png")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    paths = [stem.with_name(stem.name + suffix) for suffix in (".png", ".csv")]
    write_atomically(paths[0], picture.getvalue())
    write_atomically(paths[1], table.getvalue())
    return paths


def confusion_columns(
    matrix: Sequence[Sequence[int]], names: Sequence[str]
) -> dict[str, list[Any]]:
    """Return a confusion matrix as a long table: one row for each cell, zeros too."""
    cells = [(t, p, int(matrix[i][j])) for i, t in enumerate(names) for j, p in enumerate(names)]
    return {
        "truth": [cell[0] for cell in cells],
        "prediction": [cell[1] for cell in cells],
        "count": [cell[2] for cell in cells],
    }


def _new_figure(size: tuple[float, float]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _rows_of_axes(figure: Figure, count: int) -> list[Axes]:
    return [figure.add_subplot(count, 1, place + 1) for place in range(count)]


def _say(figure: Figure, sentence: str) -> Figure:
    figure.text(0.5, 0.5, sentence, ha="center", va="center", color=QUIET)
    return figure


def _dress(axes: Axes, *, title: str, x_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x_label, color=QUIET, fontsize=9)
    axes.tick_params(colors=QUIET, labelsize=8, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _name_cells(axes: Axes, names: Sequence[str]) -> None:
    stride = 1 if len(names) <= 60 else -(-len(names) // 50)
    places = list(range(0, len(names), stride))
    labels = [_short(names[place]) for place in places]
    axes.set_xticks(places, labels, rotation=90)
    axes.set_yticks(places, labels)
    _literal([*axes.get_xticklabels(), *axes.get_yticklabels()])


def _literal(labels: Iterable[Any]) -> None:
    for label in labels:
        label.set_parse_math(False)  # a dollar sign in a class name is no formula


def _short(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
