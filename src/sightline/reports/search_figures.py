"""The figures of a search: its progress, what mattered, and how each setting did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import (
    INK,
    LINES,
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
from sightline.reports.search_slices import slices_figure
from sightline.reports.search_trials import TOP, Trial, Trials, read_trials, setting
from sightline.reports.wording import time_span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (6.2, 3.5)
NOTHING = "No trial has finished yet."
MARKS = {
    "finished": ("o", LINES[0]),
    "pruned": ("x", LINES[1]),
    "failed": ("v", LINES[4]),
    "running": ("|", LINES[2]),
    "waiting": ("|", LINES[7]),
}
"""State -> mark and colour."""


def write_search_figures(
    folder: Path,
    trials: Sequence[Mapping[str, Any]],
    *,
    importance: Mapping[str, float],
    higher_is_better: bool = True,
) -> list[Path]:
    """Write the figures of a search into ``folder`` and return the paths of the files.

    Each trial has number, state (finished, pruned, failed, running or waiting), value, seconds,
    params and intermediate (epoch -> value); ``importance`` is a fraction for each parameter. A
    search in which nothing has finished has the figures too: they say so.
    """
    read = read_trials(trials, higher_is_better=higher_is_better)
    tables = search_tables(read, importance)
    files: list[Path] = []
    for stem, figure in search_figures(read, importance).items():
        files += save_figure(figure, folder / stem, tables[stem])
    return files


def search_figures(trials: Trials, importance: Mapping[str, float]) -> dict[str, Figure]:
    """Return the figures of a search by the name of their file."""
    return {
        "search_progress": progress_figure(trials),
        "search_best": best_figure(trials),
        "search_importance": importance_figure(importance),
        "search_top": top_figure(trials),
        "search_summary": summary_figure(trials),
        "search_convergence": convergence_figure(trials),
        "search_slices": slices_figure(trials),
    }


def search_tables(
    trials: Trials, importance: Mapping[str, float]
) -> dict[str, dict[str, list[Any]]]:
    """Return the data behind each figure, by the same names."""
    ranked = Trials(trials.ranked()[:TOP], trials.higher_is_better)
    ordered = _by_importance(importance)
    counts = trials.counts()
    seconds = {s: [t.seconds or 0.0 for t in trials.all if t.state == s] for s in counts}
    return {
        "search_progress": trials.table(),
        "search_best": trials.best_so_far(),
        "search_importance": {"parameter": list(ordered), "importance": list(ordered.values())},
        "search_top": ranked.table(),
        "search_summary": {
            "state": list(counts),
            "n": list(counts.values()),
            "seconds": [sum(seconds[state]) for state in counts],
        },
        "search_convergence": trials.intermediate_table(),
        "search_slices": Trials(trials.scored, trials.higher_is_better).table(),
    }


def progress_figure(trials: Trials) -> Figure:
    """Return the value of each trial; a trial without a value is a mark on the ground line."""
    figure = new_figure(SIZE)
    if not trials.all:
        return say(figure, "There are no trials yet.")
    axes = figure.add_subplot()
    heights = [trial.height for trial in trials.all if trial.height is not None]
    ground = min(heights) - 0.08 * (max(heights) - min(heights) or 1.0) if heights else 0.0
    for state, (mark, color) in MARKS.items():
        group = [trial for trial in trials.all if trial.state == state]
        if group:
            values = [ground if trial.height is None else trial.height for trial in group]
            numbers = [trial.number for trial in group]
            label = f"{state} ({len(group)})"
            axes.scatter(numbers, values, marker=mark, color=color, s=26, label=label, zorder=3)
    if not heights:
        axes.set_yticks([])
    dress(axes, title="Progress", x_label="trial", y_label="value", grid="both")
    whole_numbers(axes.xaxis)
    key_of(axes)
    return figure


def best_figure(trials: Trials) -> Figure:
    """Return the best value up to each trial."""
    table = trials.best_so_far()
    figure = new_figure(SIZE)
    if not table["trial"]:
        return say(figure, NOTHING)
    axes = figure.add_subplot()
    axes.step(table["trial"], table["best"], where="post", color=LINES[0], linewidth=1.8)
    axes.scatter(table["trial"], table["best"], color=LINES[0], s=12)
    dress(axes, title="Best so far", x_label="trial", y_label="best value", grid="both")
    whole_numbers(axes.xaxis)
    return figure


def importance_figure(importance: Mapping[str, float]) -> Figure:
    """Return how much of the spread of values each parameter explains, the most first."""
    ordered = _by_importance(importance)
    figure = new_figure((SIZE[0], 1.4 + 0.28 * max(3, len(ordered))))
    if not ordered:
        return say(figure, "There are too few finished trials to say which parameter matters.")
    axes = figure.add_subplot()
    places = range(len(ordered))
    axes.barh(places, list(ordered.values()), color=SOFT, height=0.66)
    for place, value in enumerate(ordered.values()):
        axes.text(value, place, f" {value:.1%}", va="center", fontsize=8, color=INK)
    axes.set_yticks(places, [short_name(name, 36) for name in ordered])
    literal(axes.get_yticklabels())
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.margins(x=0.12)
    dress(axes, title="Parameter importance", x_label="share of importance", grid="x")
    return figure


def top_figure(trials: Trials) -> Figure:
    """Return the ten best trials with their settings, the best first."""
    best = trials.ranked()[:TOP]
    figure = new_figure((9, 1.2 + 0.46 * max(3, len(best))))
    if not best:
        return say(figure, NOTHING)
    axes = figure.add_subplot()
    values = [float(trial.value or 0.0) for trial in best]
    axes.barh(range(len(best)), values, color=SOFT, height=0.5)
    # From the ground a gap of a hundredth could not be seen.
    low, high = min([*values]), max([*values])
    room = (high - low) or abs(high) * 0.1 or 1.0
    axes.set_xlim(low - room, high + room * 0.1)
    for place, trial in enumerate(best):
        settings = ", ".join(setting(name, value) for name, value in trial.params.items())
        text = f"{trial.value:.4f}   {short_name(settings, 110)}"
        axes.text(
            0.005, place, text, va="center", fontsize=7.5, color=INK, parse_math=False,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set_yticks(range(len(best)), [f"trial {trial.number}" for trial in best])
    axes.set_ylim(len(best) - 0.4, -0.6)
    dress(axes, title=f"Top {len(best)} of {len(trials.scored)}", x_label="value", grid="x")
    return figure


def summary_figure(trials: Trials) -> Figure:
    """Return the number of trials in each state and the seconds that each trial took."""
    figure = new_figure((9, 3.4))
    left, right = figure.subplots(1, 2, width_ratios=[1.0, 1.6])
    counts = trials.counts()
    colors = [MARKS[state][1] for state in counts]
    left.bar(list(counts), list(counts.values()), color=colors, alpha=0.75, width=0.66)
    for place, n in enumerate(counts.values()):
        left.text(place, n, str(n), ha="center", va="bottom", fontsize=8, color=INK)
    left.margins(y=0.12)
    dress(left, title=f"{len(trials.all)} trials", x_label="state", y_label="trials", grid="y")
    _draw_seconds(right, trials.all)
    return figure


def convergence_figure(trials: Trials) -> Figure:
    """Return the value of each trial by epoch: pruned ones dashed, the best one bold."""
    figure = new_figure(SIZE)
    drawn = [trial for trial in trials.all if trial.intermediate]
    if not drawn:
        return say(figure, "No trial has reported an epoch yet.")
    axes = figure.add_subplot()
    best = trials.ranked()[0].number if trials.scored else None
    faint = 0.75 if len(drawn) <= 20 else max(0.12, 15 / len(drawn))
    named: set[str] = set()
    for trial in sorted(drawn, key=lambda trial: trial.number == best):
        epochs, values = zip(*sorted(trial.intermediate.items()), strict=True)
        is_best = trial.number == best
        label = f"best, trial {trial.number}" if is_best else trial.state
        axes.plot(
            epochs, values, "--" if trial.state == "pruned" else "-", marker=".",
            color=INK if is_best else MARKS[trial.state][1], linewidth=2.6 if is_best else 1.0,
            alpha=1.0 if is_best else faint, label=None if label in named else label,
        )  # fmt: skip
        named.add(label)
    dress(axes, title="Convergence", x_label="epoch", y_label="value", grid="both")
    whole_numbers(axes.xaxis)
    key_of(axes)
    return figure


def _draw_seconds(axes: Axes, trials: Sequence[Trial]) -> None:
    timed = [trial for trial in trials if trial.seconds is not None]
    for state, (_, color) in MARKS.items():
        group = [trial for trial in timed if trial.state == state]
        if group:
            seconds = [trial.seconds or 0.0 for trial in group]
            axes.scatter([t.number for t in group], seconds, color=color, s=16, label=state)
    total = sum(trial.seconds or 0.0 for trial in timed)
    title = f"Time of each trial, together {time_span(total)}"
    dress(axes, title=title, x_label="trial", y_label="seconds", grid="both")
    axes.set_ylim(bottom=0)
    whole_numbers(axes.xaxis)
    if timed:
        key_of(axes)


def _by_importance(importance: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(importance.items(), key=lambda item: (-item[1], item[0])))
