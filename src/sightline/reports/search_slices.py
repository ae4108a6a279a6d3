"""Slices of a search: the value of each finished trial against each parameter."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import LINES, dress, literal, new_figure, say, short_name
from sightline.reports.search_trials import Trials, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
LOG_FROM, LOW_MIDDLE = 10.0, 0.12
"""Values are drawn on a logarithmic scale when their ends differ by this factor and their median
lies in this lowest part of the range: there a linear axis would crowd half of them."""


def slices_figure(trials: Trials) -> Figure:
    """Return a panel for each parameter, the best trial marked; numbers are axes, words places."""
    scored = trials.scored
    names = [n for n in trials.parameters() if any(n in trial.params for trial in scored)]
    columns = max(1, min(COLUMNS, len(names)))
    lines = max(1, -(-len(names) // columns))
    figure = new_figure((3.4 * columns if names else 8.0, 2.9 * lines))
    if not names:
        return say(figure, "No trial with parameters has finished yet.")
    best = trials.ranked()[0].number
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(lines, columns, place)
        points = [
            (t.params[name], t.value or 0.0, t.number == best) for t in scored if name in t.params
        ]
        places = _place(axes, [point[0] for point in points])
        axes.scatter(places, [p[1] for p in points], s=18, color=LINES[0], alpha=0.6, zorder=2)
        top = [(at, p[1]) for at, p in zip(places, points, strict=True) if p[2]]
        for at, value in top:
            axes.scatter([at], [value], s=70, facecolors="none", edgecolors=LINES[1], zorder=3)
        title = short_name(name, 34)
        dress(axes, title=title, x_label="", y_label="value", grid="both")
        axes.title.set_fontsize(9)
    return figure


def _place(axes: Axes, values: Sequence[Any]) -> list[float]:
    """Prepare the x axis for the values and return where each of them lies."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        low, high = min(values), max(values)
        crowded = statistics.median(values) - low < LOW_MIDDLE * (high - low)
        if low > 0 and high / low >= LOG_FROM and crowded:
            axes.set_xscale("log")
            # Less than a decade has no room for what matplotlib writes at its minor ticks.
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g}"))
        return [float(v) for v in values]
    names = list(dict.fromkeys(plain(v) for v in values))
    names.sort()
    rotation = 0 if sum(map(len, names)) <= 24 else 60
    axes.set_xticks(range(len(names)), [short_name(name) for name in names], rotation=rotation)
    literal(axes.get_xticklabels())
    axes.set_xlim(-0.5, len(names) - 0.5)
    return [float(names.index(plain(v))) for v in values]
