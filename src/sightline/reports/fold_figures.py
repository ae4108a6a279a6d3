"""The figures of cross-validation: scores, their spread and statistics, and every fold's curves.

fold_scores holds F1 and accuracy of each fold, fold_f1_accuracy one against the other,
fold_statistics the distribution and its numbers, fold_history and fold_losses the curves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    new_figure,
    save_figure,
    say,
)
from sightline.reports.figures import draw_panel
from sightline.reports.fold_scores import FoldScores, Spread
from sightline.reports.history import History, collect_history, fold_panel, folds_of
from sightline.reports.wording import metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSSES = ("train_loss", "valid_loss")


def write_fold_figures(
    folder: Path, scores: FoldScores | None, rows: Iterable[Mapping[str, Any]]
) -> list[Path]:
    """Write the figures of the folds there are and return their paths; none without folds.

    Scores come from fold_results.yaml, curves from the rows of metrics.jsonl; while folds are
    still being trained there are curves of at least two of them and no scores.
    """
    files: list[Path] = []
    if scores is not None and scores.folds:
        files += save_figure(fold_scores_figure(scores), folder / "fold_scores", scores.table())
        files += save_figure(
            fold_against_figure(scores), folder / "fold_f1_accuracy", scores.table()
        )
        statistics = scores.statistics()
        files += save_figure(fold_statistics_figure(scores), folder / "fold_statistics", statistics)
    history = collect_history(rows)
    if not folds_of(history) or (scores is None and len(folds_of(history)) < 2):
        return files
    watched = [scores.metric] if scores and "loss" not in scores.metric else []
    measures = tuple(dict.fromkeys(["macro_f1", *watched]))
    for stem, names in (("fold_history", measures), ("fold_losses", LOSSES)):
        columns = _columns(history, names)
        if len(columns) > 1:
            files += save_figure(fold_curves(history, names), folder / stem, columns)
    return files


def fold_scores_figure(scores: FoldScores) -> Figure:
    """Return F1 and accuracy of each fold as bars, with their mean and the out-of-fold score."""
    spreads = scores.spreads()
    figure = new_figure((max(6.0, 3.4 + 0.55 * len(scores.folds)), 3.4 * max(1, len(spreads))))
    if not spreads:
        return say(figure, "No fold has a score.")
    for place, spread in enumerate(spreads, start=1):
        axes = figure.add_subplot(len(spreads), 1, place)
        labels = [str(fold) for fold in spread.folds]
        axes.bar(labels, spread.values, color=SOFT, width=0.62)
        for spot, value in enumerate(spread.values):
            axes.text(
                spot, 0.03, f"{value:.3f}", ha="center", fontsize=8, color=INK,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
        axes.axhline(spread.mean, color=LINES[0], linewidth=1.4, label="mean of folds")
        _draw_out_of_fold(axes, spread)
        # A gap between folds is a few percent: with bars from 0 it could not be seen.
        marks = [*spread.values, spread.oof, spread.low, spread.high]
        known = [mark for mark in marks if mark is not None]
        axes.set_ylim(max(0.0, min(known) - 0.1), min(1.01, max(known) + 0.05))
        title = f"{spread.title} of each fold"
        dress(axes, title=title, x_label="fold", y_label=spread.title, grid="y")
        key_of(axes)
    return figure


def fold_against_figure(scores: FoldScores) -> Figure:
    """Return F1 against accuracy, a point for each fold: where one fold is weak in one only."""
    figure = new_figure((5.4, 4.6))
    pairs = [
        (fold["fold"], fold["accuracy"], fold["f1"])
        for fold in scores.folds
        if fold["accuracy"] is not None and fold["f1"] is not None
    ]
    if not pairs:
        return say(figure, "No fold has both scores.")
    axes = figure.add_subplot()
    accuracy, f1 = [p[1] for p in pairs], [p[2] for p in pairs]
    low, high = min([*accuracy, *f1]), max([*accuracy, *f1])
    room = 0.1 * (high - low) or 0.05
    ends = (low - room, high + room)
    axes.plot(ends, ends, color=GRID, linewidth=1.4, zorder=1)
    axes.scatter(accuracy, f1, color=LINES[0], s=46, zorder=3)
    for fold, x, y in pairs:
        axes.annotate(
            str(fold), (x, y), xytext=(7, 0), textcoords="offset points", va="center",
            color=INK, fontsize=9,
        )  # fmt: skip
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    y_label = metric_title("macro_f1")
    title = f"{y_label} against accuracy, each fold"
    dress(axes, title=title, x_label="accuracy", y_label=y_label, grid="both")
    return figure


def fold_statistics_figure(scores: FoldScores) -> Figure:
    """Return how the folds spread beside mean and out-of-fold score, and the numbers below."""
    spreads = scores.spreads()
    figure = new_figure((8, 1.9 + 1.0 * max(1, len(spreads))))
    if not spreads:
        return say(figure, "No fold has a score.")
    top, below = figure.subplots(2, 1, height_ratios=[2.2, 1.0])
    for place, spread in enumerate(spreads):
        top.scatter(
            spread.values, [place] * len(spread.values), s=44, color=LINES[0], alpha=0.6,
            label="fold" if not place else None, zorder=3,
        )  # fmt: skip
        label = "mean of folds, one standard deviation each way" if not place else None
        top.errorbar(
            spread.mean, place + 0.18, xerr=spread.std, fmt="D", color=INK, capsize=4, markersize=5,
            label=label,
        )  # fmt: skip
        if spread.oof is not None:
            error = _interval(spread)
            top.errorbar(
                spread.oof, place - 0.18, xerr=error, fmt="s", color=LINES[1], capsize=4,
                markersize=5, label=_oof_label(spread) if not place else None,
            )  # fmt: skip
    top.set_yticks(range(len(spreads)), [spread.title for spread in spreads])
    top.set_ylim(len(spreads) - 0.4, -0.6)
    dress(top, title="Distribution over the folds", x_label="score", grid="x")
    key_of(top, loc="lower left", bbox_to_anchor=(0.0, 1.12), ncols=1)
    _draw_table(below, scores.statistics())
    return figure


def fold_curves(history: History, names: Sequence[str]) -> Figure:
    """Return each named measure over epochs, a line for each fold and their mean as a bold one."""
    panels = [panel for name in names if (panel := fold_panel(history, name)).columns]
    figure = new_figure((9, 3.4 * max(1, len(panels))))
    if not panels:
        return say(figure, "No epoch of a fold has been recorded yet.")
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, place)
        draw_panel(axes, panel, history.epochs)
        axes.set_title(metric_title(panel.title), loc="left")
    return figure


def _columns(history: History, names: Sequence[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"epoch": history.epochs}
    for name in names:
        for column, values in fold_panel(history, name).columns.items():
            # The mean has no measure in its name, and there may be two of them.
            columns[column if column.startswith(name) else f"{name} ({column})"] = values
    return columns


def _draw_out_of_fold(axes: Axes, spread: Spread) -> None:
    if spread.oof is None:
        return
    axes.axhline(
        spread.oof, color=LINES[1], linewidth=1.4, linestyle="--", label=_oof_label(spread)
    )
    if spread.low is not None and spread.high is not None:
        axes.axhspan(spread.low, spread.high, color=LINES[1], alpha=0.12, linewidth=0)


def _oof_label(spread: Spread) -> str:
    interval = spread.low is not None and spread.high is not None
    return "all out-of-fold predictions" + (f", {spread.level} interval" if interval else "")


def _interval(spread: Spread) -> list[list[float]] | None:
    if spread.oof is None or spread.low is None or spread.high is None:
        return None
    return [[max(0.0, spread.oof - spread.low)], [max(0.0, spread.high - spread.oof)]]


def _draw_table(axes: Axes, columns: Mapping[str, Sequence[Any]]) -> None:
    axes.set_axis_off()
    heads = [name.replace("_", " ") for name in columns]
    cells = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    table = axes.table(
        cells, colLabels=heads, loc="center", cellLoc="right", colLoc="right", edges="horizontal"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8.5)
    for cell in table.get_celld().values():
        cell.set_edgecolor(GRID)
        cell.get_text().set_color(QUIET if cell.get_text().get_text() in heads else INK)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
