"""The picture of a comparison: losses over epochs, scores with intervals, recall over epochs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.reports.canvas import (
    LINES,
    QUIET,
    dress,
    key_of,
    literal,
    new_figure,
    say,
    short_name,
    whole_numbers,
)
from sightline.reports.comparison import ComparedRun, Comparison
from sightline.reports.comparison_bars import NAMED, Draw, scores_panel
from sightline.reports.figures import scale_of_losses
from sightline.reports.history import History, collect_history, measure
from sightline.reports.wording import metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DRAWN = 100
"""Of more runs only the first are drawn: more curves are a grey cloud."""
_MOST_SCORES = 4
_TITLES = {
    "loss": "Training loss",
    "valid_loss": "Validation loss",
    "rank": "Rank term",
    "pairdist": "Pair-distance term",
}
_RECALL = re.compile(r"recall_at_(\d+)")


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: which run it belongs to, by its place, and its points."""

    place: int
    label: str
    epochs: list[int]
    values: list[float]


def comparison_figure(
    comparison: Comparison, *, recall: bool = True, recall_history: bool = False
) -> Figure:
    """Return losses overlaid on a log scale, and the headline scores with their intervals.

    ``recall`` False leaves every recall out; ``recall_history`` adds recall over epochs. Runs
    without an epoch or an evaluation are passed over; where nothing is left the figure says so.
    """
    shown = comparison.runs[:MOST_DRAWN]
    histories = [read_history(run.folder) for run in shown]
    panels = [
        _curves_panel(title, curves, losses=True)
        for name, title in _TITLES.items()
        if (curves := _curves(shown, histories, name))
    ]
    if recall and recall_history:
        panels += _recall_panels(shown, histories)
    panels += [
        scores_panel(shown, name, split=comparison.split)
        for name in comparison.metrics(recall=recall)[:_MOST_SCORES]
    ]
    columns = 2 if len(panels) in (2, 4) else min(3, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure = new_figure((5.4 * columns, 3.9 * lines + 0.4))
    if len(shown) > NAMED:
        # No name of a run stands beside an axis, so fixed margins do, in a fraction of the time.
        figure.set_layout_engine(None)
        figure.subplots_adjust(0.05, 0.08, 0.98, 0.9, wspace=0.22, hspace=0.36)
    figure.suptitle(_headline(comparison), x=0.01, ha="left", fontsize=10, color=QUIET)
    literal(figure.texts)
    if not panels:
        return say(figure, "None of the runs has an epoch or an evaluation yet.")
    for place, draw in enumerate(panels, start=1):
        draw(figure.add_subplot(lines, columns, place))
    return figure


def read_history(folder: Path) -> History:
    """Return the epochs of a run; lines that cannot be read are passed over."""
    rows = []
    try:
        lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")
    except OSError:
        lines = []
    for line in lines:
        try:
            row = json.loads(line) if line else None
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return collect_history(rows)


def loss_kind(column: str) -> str | None:
    """Return which chart of a comparison a column of losses belongs to; None for other columns.

    >>> [loss_kind(name) for name in ("train_loss", "valid_loss", "train_rank", "valid_pairdist")]
    ['loss', 'valid_loss', 'rank', None]
    """
    plain = measure(column).removesuffix("_loss") if "_loss" in column else measure(column)
    kinds = {
        "train": "loss",
        "total": "loss",
        "valid": "valid_loss",
        "train_rank": "rank",
        "rank": "rank",
        "train_pairdist": "pairdist",
        "pairdist": "pairdist",
    }
    return kinds.get(plain)


def _headline(comparison: Comparison) -> str:
    total, drawn = len(comparison.runs), min(len(comparison.runs), MOST_DRAWN)
    said = f"{total} runs of {comparison.task or 'an unknown task'}"
    if drawn < total:
        said += f", of which the first {drawn} are drawn"
    return said + ("" if drawn <= NAMED else f"; colours name the first {NAMED}")


def _curves(runs: Sequence[ComparedRun], histories: Sequence[History], kind: str) -> list[Curve]:
    found = []
    for place, (run, history) in enumerate(zip(runs, histories, strict=True)):
        for column, values in history.columns.items():
            if loss_kind(column) == kind:
                found += _curve(place, run.label, history.epochs, values)
    return found


def _curve(
    place: int, label: str, epochs: Sequence[int], values: Sequence[float | None]
) -> list[Curve]:
    points = [(e, v) for e, v in zip(epochs, values, strict=True) if v is not None]
    return [Curve(place, label, [e for e, _ in points], [v for _, v in points])] if points else []


def _recall_panels(runs: Sequence[ComparedRun], histories: Sequence[History]) -> list[Draw]:
    names = {name for history in histories for name in history.columns if _RECALL.fullmatch(name)}
    panels = []
    for name in sorted(names, key=lambda one: int(one.rpartition("_")[2]))[:3]:
        curves = [
            curve
            for place, (run, history) in enumerate(zip(runs, histories, strict=True))
            for curve in _curve(place, run.label, history.epochs, history.columns.get(name, []))
            if name in history.columns
        ]
        panels.append(_curves_panel(f"{metric_title(name)} by epoch", curves, losses=False))
    return panels


def _curves_panel(title: str, curves: Sequence[Curve], *, losses: bool) -> Draw:
    def draw(axes: Axes) -> None:
        from matplotlib.collections import LineCollection

        faint = [curve for curve in curves if curve.place >= NAMED]
        lines = [list(zip(curve.epochs, curve.values, strict=True)) for curve in faint]
        axes.add_collection(LineCollection(lines, colors=QUIET, linewidths=0.6, alpha=0.35))
        named: set[int] = set()
        for curve in curves:
            if curve.place < NAMED:
                _draw_curve(axes, curve, with_name=curve.place not in named)
                named.add(curve.place)
        axes.autoscale_view()
        if losses:
            scale_of_losses(axes, (value for curve in curves for value in curve.values))
        scale = f", {axes.get_yscale()} scale" if losses and axes.get_yscale() != "linear" else ""
        dress(axes, title=f"{title}{scale}", x_label="epoch", grid="both")
        whole_numbers(axes.xaxis)
        if named:
            key_of(axes, loc="best", bbox_to_anchor=None)

    return draw


def _draw_curve(axes: Axes, curve: Curve, *, with_name: bool) -> None:
    axes.plot(
        curve.epochs,
        curve.values,
        "-" if curve.place < len(LINES) else "--",
        color=LINES[curve.place % len(LINES)],
        marker="o" if len(curve.epochs) <= 60 else None,
        markersize=3,
        linewidth=1.6,
        label=short_name(curve.label) if with_name else "_",
    )
