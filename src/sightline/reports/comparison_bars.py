"""One score of several runs with its intervals: bars of a few runs, points of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import INK, LINES, QUIET, dress, literal, short_name
from sightline.reports.cells import finite_or_none
from sightline.reports.comparison import ComparedRun
from sightline.reports.wording import metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 10
"""So many runs have a colour and a name of their own; further ones are grey."""
Draw = Callable[["Axes"], None]
Scored = tuple[int, ComparedRun, Mapping[str, Any]]
"""The place of a run, the run, and its score."""


def scores_panel(runs: Sequence[ComparedRun], name: str, *, split: str) -> Draw:
    """Return what draws one score of the runs, the first on top; runs without it are left out."""
    rows = [
        (place, run, one)
        for place, run in enumerate(runs)
        if finite_or_none((one := run.scores.get(name, {})).get("value")) is not None
    ]

    def draw(axes: Axes) -> None:
        crowded = len(rows) > NAMED
        if crowded:
            _draw_points(axes, rows)
        else:
            _draw_bars(axes, rows, name)
        names = [] if crowded else [short_name(run.label) for _, run, _ in rows]
        axes.set_yticks(range(len(names)), names)
        literal(axes.get_yticklabels())
        axes.set_ylim(len(rows) - 0.4, -0.6)
        pools = {run.pool for _, run, _ in rows if run.pool is not None}
        pool = f", pool of {pools.pop():,}" if len(pools) == 1 and "recall" in name else ""
        title = f"{metric_title(name)} on {split}{pool}"
        beaten = {found[0].upper() for _, run, _ in rows if (found := run.baseline(name))}
        dots = f"; dots: {', '.join(sorted(beaten))}, as many numbers" if beaten else ""
        said = "95 % interval as a line" + ("" if crowded else dots)
        dress(axes, title=title, x_label=said, grid="x")

    return draw


def _draw_bars(axes: Axes, rows: Sequence[Scored], name: str) -> None:
    for line, (place, run, one) in enumerate(rows):
        value = float(one["value"])
        axes.barh(line, value, color=LINES[place % len(LINES)], height=0.62, alpha=0.4)
        if (ends := _ends(one)) is not None:
            axes.plot(ends, [line, line], color=INK, linewidth=1.4)
        if (found := run.baseline(name)) is not None:
            axes.plot([found[1]] * 2, [line - 0.36, line + 0.36], ":", color=INK, linewidth=1.6)
        axes.annotate(
            f"{value:.3f}", (0, line), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=8, color=INK,
        )  # fmt: skip


def _draw_points(axes: Axes, rows: Sequence[Scored]) -> None:
    from matplotlib.collections import LineCollection

    colors = [LINES[place % len(LINES)] if place < NAMED else QUIET for place, _, _ in rows]
    ends = [(_ends(one) or (one["value"],) * 2, line) for line, (_, _, one) in enumerate(rows)]
    spans = [((low, line), (high, line)) for (low, high), line in ends]
    axes.add_collection(LineCollection(spans, colors=colors, linewidths=1.0))
    values = [float(one["value"]) for _, _, one in rows]
    axes.scatter(values, range(len(rows)), s=9, c=colors)


def _ends(one: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = (finite_or_none(one.get(end)) for end in ("low", "high"))
    return None if low is None or high is None else (low, high)
