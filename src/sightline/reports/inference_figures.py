"""The figures of a table of predictions: which classes were predicted, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
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
    save_figure,
    say,
    short_name,
    whole_numbers,
)
from sightline.reports.prediction_table import PredictionTable, read_prediction_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_ROWS = "There are no predictions."
NAMED_CELLS = 20
"""Above this many classes a cell of the heat map is too small to hold its number."""


def write_inference_figures(folder: Path, table: Path) -> list[Path]:
    """Write the six figures of a predictions table into ``folder`` and return the files' paths.

    The table is CSV with the columns id, prediction, confidence and, where there are some,
    ``prob_NAME`` of each class and ``accepted``. DataError where a column or a number is missing.
    """
    rows = read_prediction_table(table)
    files = save_figure(class_figure(rows), folder / "predicted_classes", rows.class_table())
    files += save_figure(confidence_figure(rows), folder / "confidence", rows.row_table())
    files += save_figure(
        class_confidence_figure(rows), folder / "confidence_by_class", rows.box_table()
    )
    files += save_figure(bin_figure(rows), folder / "confidence_bins", rows.bin_table())
    files += save_figure(summary_figure(rows), folder / "prediction_summary", rows.summary())
    if rows.classes:
        figure = probability_figure(rows)
        files += save_figure(figure, folder / "probability_heat_map", rows.probability_table())
    return files


def class_figure(rows: PredictionTable) -> Figure:
    """Return how many rows each class was predicted for, most first; classes without any too."""
    table = rows.class_table()
    names, counts = table["class"], table["n"]
    figure = new_figure((8, 1.4 + 0.26 * max(4, len(names))))
    if not names:
        return say(figure, NO_ROWS)
    axes = figure.add_subplot()
    places = range(len(names))
    accepted = table.get("accepted")
    axes.barh(places, counts, color=SOFT, height=0.66, label="predicted")
    if accepted:
        axes.barh(places, accepted, color=LINES[0], height=0.36, label="accepted")
        key_of(axes)
    for place, count in enumerate(counts):
        share = count / max(1, len(rows.confidence))
        axes.text(count, place, f" {count:,}  {share:.1%}", va="center", fontsize=7.5, color=INK)
    _name_rows(axes, names)
    axes.margins(x=0.14)
    dress(axes, title="Predicted classes", x_label="images", grid="x")
    whole_numbers(axes.xaxis)
    return figure


def confidence_figure(rows: PredictionTable) -> Figure:
    """Return the histogram of the confidence of all rows, with its median."""
    figure = new_figure((8, 3.6))
    if not rows.confidence:
        return say(figure, NO_ROWS)
    axes = figure.add_subplot()
    edges = [place / 50 for place in range(51)]
    axes.hist(rows.confidence, bins=edges, color=SOFT, edgecolor="white", linewidth=0.5)
    middle = rows.median()
    axes.axvline(middle, color=LINES[1], linewidth=1.4, label=f"median {middle:.3f}")
    axes.set_xlim(0, 1)
    dress(axes, title="Confidence", x_label="confidence", y_label="images", grid="y")
    whole_numbers(axes.yaxis)
    key_of(axes, loc="upper left", bbox_to_anchor=None)
    return figure


def class_confidence_figure(rows: PredictionTable) -> Figure:
    """Return the confidence of each predicted class as a box plot (median, quartiles, 1.5 IQR)."""
    groups = rows.by_class()
    figure = new_figure((8, 1.4 + 0.3 * max(4, len(groups))))
    if not groups:
        return say(figure, NO_ROWS)
    axes = figure.add_subplot()
    places = list(range(len(groups)))
    axes.boxplot(
        list(groups.values()),
        positions=places,
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": SOFT, "edgecolor": LINES[0]},
        medianprops={"color": LINES[1], "linewidth": 1.6},
        whiskerprops={"color": LINES[0]},
        capprops={"color": LINES[0]},
        flierprops={"marker": ".", "markersize": 3, "markeredgecolor": QUIET},
    )
    _name_rows(axes, [f"{short_name(n)}  ({len(v):,})" for n, v in groups.items()])
    axes.set_xlim(0, 1.02)
    title = "Confidence of each predicted class (number of images)"
    dress(axes, title=title, x_label="confidence", grid="x")
    return figure


def bin_figure(rows: PredictionTable) -> Figure:
    """Return how many rows lie in each tenth of confidence."""
    table = rows.bin_table()
    figure = new_figure((8, 3.8))
    if not rows.confidence:
        return say(figure, NO_ROWS)
    axes = figure.add_subplot()
    names = [f"{low:.1f}–{high:.1f}" for low, high in zip(table["low"], table["high"], strict=True)]
    axes.bar(names, table["n"], color=SOFT, width=0.8)
    for place, (count, share) in enumerate(zip(table["n"], table["share"], strict=True)):
        text = f"{count:,}\n{share:.1%}"
        axes.text(place, count, text, ha="center", va="bottom", fontsize=7.5, color=INK)
    axes.margins(y=0.18)
    dress(axes, title="Confidence in tenths", x_label="confidence", y_label="images", grid="y")
    whole_numbers(axes.yaxis)
    return figure


def summary_figure(rows: PredictionTable) -> Figure:
    """Return the numbers that sum the table up, as a table."""
    summary = rows.summary()
    figure = new_figure((6.4, 0.7 + 0.3 * len(summary["fact"])))
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title("Summary of the predictions", loc="left", fontsize=11, color=INK)
    cells = [
        [fact, short_name(_plain(value), 40)]
        for fact, value in zip(summary["fact"], summary["value"], strict=True)
    ]
    table = axes.table(cells, loc="upper center", cellLoc="left", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.3)
    for cell in table.get_celld().values():
        cell.set_edgecolor(GRID)
        cell.get_text().set_color(INK)
        literal([cell.get_text()])
    return figure


def probability_figure(rows: PredictionTable) -> Figure:
    """Return the mean probability of every class (columns) over each predicted class (rows)."""
    names, matrix = rows.probabilities()
    side = 3.0 + 0.4 * len(rows.classes) if len(rows.classes) <= 30 else 13.0
    height = 2.2 + (side - 2.2) * max(1, len(names)) / max(1, len(rows.classes))
    figure = new_figure((side + 0.8, height))
    if not names:
        return say(figure, NO_ROWS)
    axes = figure.add_subplot()
    image = axes.imshow(matrix, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    scale = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    scale.outline.set_visible(False)
    scale.ax.tick_params(colors=QUIET, labelsize=8, length=0)
    stride = 1 if len(rows.classes) <= 60 else -(-len(rows.classes) // 50)
    places = list(range(0, len(rows.classes), stride))
    axes.set_xticks(places, [short_name(rows.classes[p]) for p in places], rotation=90)
    places = list(range(0, len(names), stride))
    axes.set_yticks(places, [short_name(names[p]) for p in places])
    literal([*axes.get_xticklabels(), *axes.get_yticklabels()])
    if len(rows.classes) <= NAMED_CELLS:
        for i, line in enumerate(matrix):
            for j, value in enumerate(line):
                color = "white" if value > 0.55 else INK
                text = f"{value:.2f}".removeprefix("0")
                axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color=color)
    dress(axes, title="Mean probability", x_label="class", y_label="predicted class")
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [short_name(name, 36) for name in names])
    literal(axes.get_yticklabels())
    axes.set_ylim(len(names) - 0.4, -0.6)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
