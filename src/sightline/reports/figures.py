"""Figures: data in, a matplotlib Figure out, no pyplot and so no global state and no display."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import (
    GRID,
    INK,
    LINES,
    QUIET,
    SOFT,
    dress,
    key_of,
    literal,
    new_figure,
    say,
    short_name,
    whole_numbers,
)
from sightline.reports.history import (
    FOLD_MEAN,
    Panel,
    collect_history,
    curve_panels,
    fold_title,
)
from sightline.reports.pictures import open_thumbnail

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTS_UP_TO = 24
"""Above this many classes the cells are too small to hold a number."""


def training_curves(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Return loss, metrics and learning rate over epochs, from the rows of metrics.jsonl.

    A single epoch is a point; missing values are passed over; without rows the figure says so.
    With several folds each measure has a panel, with a line for each fold and their mean.
    """
    history = collect_history(rows)
    panels = curve_panels(history)
    figure = new_figure((10, 3.1 * max(1, len(panels))))
    if not panels:
        return say(figure, "No epoch has been recorded yet.")
    for axes, panel in zip(_rows_of_axes(figure, len(panels)), panels, strict=True):
        draw_panel(axes, panel, history.epochs)
    return figure


def draw_panel(axes: Axes, panel: Panel, epochs: Sequence[int]) -> None:
    """Draw each column of a panel as a line over the epochs; the mean of folds is a bold one."""
    for place, (name, values) in enumerate(panel.columns.items()):
        points = [(e, v) for e, v in zip(epochs, values, strict=True) if v is not None]
        drawn, numbers = zip(*points, strict=True)
        # After eight columns the colours start again, dashed.
        style = "-" if place < len(LINES) else "--"
        color, width = LINES[place % len(LINES)], 1.6
        if name == FOLD_MEAN:
            color, width, style = INK, 2.6, "-"
        label = _curve_label(name, by_measure=panel.by_measure)
        axes.plot(
            drawn, numbers, style, color=color, marker="o", markersize=3, linewidth=width,
            label=label,
        )  # fmt: skip
    dress(axes, title=panel.title, x_label="epoch", grid="both")
    whole_numbers(axes.xaxis)
    if panel.by_measure:
        key_of(axes)
    else:
        key_of(axes, loc="best", bbox_to_anchor=None, ncols=1 + (len(panel.columns) > 6))


def scale_of_losses(axes: Axes, values: Iterable[float]) -> None:
    """Make the y axis logarithmic, and safe: a zero or a negative value is drawn, not lost.

    Down to the smallest positive value the scale is logarithmic, below it linear; without a
    positive value, or with one value only, it stays linear.
    """
    found = [value for value in values if value == value]
    positive = [value for value in found if value > 0]
    if not positive or min(found) == max(found):
        return
    if min(found) > 0:
        axes.set_yscale("log")
    else:
        least = max(min(positive), 1e-9 * max(positive))
        axes.set_yscale("symlog", linthresh=least)
    _plain_ticks(axes, decades=log10(max(positive) / min(positive)))


def _plain_ticks(axes: Axes, *, decades: float) -> None:
    """Write 0.02 rather than a power of ten; over few decades also between the powers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    if axes.get_yscale() == "log" and decades < 2.5:
        axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", colors=QUIET, labelsize=8, length=0)


def _curve_label(column: str, *, by_measure: bool) -> str:
    return fold_title(column) if by_measure else column


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
    figure = new_figure((side + 0.8, side))
    if not len(names):
        return say(figure, "There are no classes.")
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
    dress(axes, title="Confusion matrix", x_label="prediction")
    axes.set_ylabel("truth", color=QUIET, fontsize=9)
    return figure


def per_class_figure(per_class: Sequence[Mapping[str, Any]]) -> Figure:
    """Return F1 of each class as bars from the weakest up, with precision and recall as marks."""
    rows = sorted(per_class, key=lambda row: float(row["f1"]), reverse=True)
    figure = new_figure((8, 1.4 + 0.26 * max(4, len(rows))))
    if not rows:
        return say(figure, "There are no classes.")
    axes = figure.add_subplot()
    places = range(len(rows))
    axes.barh(places, [r["f1"] for r in rows], color=SOFT, height=0.66, label="F1")
    for key, marker, color in (("precision", "|", LINES[0]), ("recall", ".", LINES[1])):
        values = [r[key] for r in rows]
        axes.scatter(values, places, marker=marker, s=60, color=color, label=key, zorder=3)
    labels = [f"{short_name(str(r['name']))}  ({r['support']})" for r in rows]
    axes.set_yticks(list(places), labels, fontsize=8)
    literal(axes.get_yticklabels())
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    key_of(axes)
    dress(axes, title="Each class (number of images)", x_label="score")
    return figure


def image_grid(files: Sequence[Path], captions: Sequence[str], *, columns: int = 6) -> Figure:
    """Return the pictures in a grid, upright, each with its caption; a missing one is a text."""
    pairs = list(zip(files, captions, strict=True))
    columns = max(1, min(columns, len(pairs)))
    lines = max(1, -(-len(pairs) // columns))
    figure = new_figure((1.8 * columns, 2.1 * lines))
    if not pairs:
        return say(figure, "There are no pictures.")
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


def _rows_of_axes(figure: Figure, count: int) -> list[Axes]:
    return [figure.add_subplot(count, 1, place + 1) for place in range(count)]


def _name_cells(axes: Axes, names: Sequence[str]) -> None:
    stride = 1 if len(names) <= 60 else -(-len(names) // 50)
    places = list(range(0, len(names), stride))
    labels = [short_name(names[place]) for place in places]
    axes.set_xticks(places, labels, rotation=90)
    axes.set_yticks(places, labels)
    literal([*axes.get_xticklabels(), *axes.get_yticklabels()])
