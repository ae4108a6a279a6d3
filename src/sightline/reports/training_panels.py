"""One run's training in one picture: its losses, its scores, its recall, and a summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from math import fsum
from typing import TYPE_CHECKING, Any, Literal

from sightline.reports.canvas import INK, LINES, QUIET, dress, key_of, literal, new_figure
from sightline.reports.cells import finite_or_none
from sightline.reports.comparison_scores import baseline_of, pool_of
from sightline.reports.figures import draw_panel, scale_of_losses
from sightline.reports.history import History, Panel, collect_history, curve_panels, measure
from sightline.reports.record import RunRecord
from sightline.reports.wording import MISSING, metric_title, number, time_span
from sightline.runs import displayed_status
from sightline.runs.listing import best_of, run_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Recall = Literal["final", "history", "none"]
"""How kNN recall is shown: as bars at the end, as lines over epochs, or not at all."""
_RECALL = re.compile(r"recall_at_(\d+)")
_PARTS = {"Rank term": ("rank",), "Pair-distance term": ("pairdist",)}
_TOGETHER = "All together"
Draw = Callable[["Axes"], None]


def training_figure(record: RunRecord, *, recall: Recall = "final") -> Figure:
    """Return the panels that the run has data for, and a summary as the last one.

    An encoder that keeps distances has the whole loss, its two terms and all of them together on
    a logarithmic scale; other tasks have loss, metrics and learning rate. Missing values are
    passed over; a run without an epoch has its summary alone.
    """
    history = History([], {}) if record.computed else collect_history(record.rows)
    panels: list[Draw] = [_drawing(panel, history) for panel in _panels(record, history)]
    if recall != "none" and (columns := recall_columns(history)):
        drawn = _recall_bars(record, history, columns)
        if recall == "history":
            drawn = _drawing(Panel("kNN recall by epoch", _titled(columns)), history)
        panels.append(drawn)
    panels.append(_summary(record, history))
    wide = 2 if len(panels) in (2, 4) else min(3, len(panels))
    lines = -(-len(panels) // wide)
    figure = new_figure((5.4 * wide, 3.9 * lines + 0.4))
    name = str(record.info.get("name") or record.folder.name)
    figure.suptitle(f"{name}  ({record.info.get('task') or 'run'})", x=0.01, ha="left", color=INK)
    literal(figure.texts)
    for place, draw in enumerate(panels, start=1):
        draw(figure.add_subplot(lines, wide, place))
    return figure


def recall_columns(history: History) -> dict[str, list[float | None]]:
    """Return the columns ``recall_at_K`` that hold a value, the smallest K first."""
    names = [name for name in history.columns if _RECALL.fullmatch(name)]
    return history.only(sorted(names, key=lambda name: int(name.rpartition("_")[2])))


def summary_facts(record: RunRecord) -> dict[str, str]:
    """Return what the training was and cost, in words: epochs, seconds of each, best, losses."""
    history, info = collect_history(record.rows), record.info
    times = [t for t in history.columns.get("time_s", []) if t is not None]
    asked = record.config.get("train")
    total = asked.get("epochs") if isinstance(asked, Mapping) else None
    done, best, seconds = len(history.epochs), best_of(info), run_seconds(info)
    epoch = info["best"].get("epoch") if best else None
    facts = {
        "status": displayed_status(info),
        "epochs": f"{done} of {total}" if isinstance(total, int) else str(done),
        "time per epoch": f"{fsum(times) / len(times):.2f} s" if times else MISSING,
        "whole time": time_span(seconds) if seconds is not None else MISSING,
        "best": f"{best[0]} {number(best[1], 4)}, epoch {epoch}" if best else MISSING,
    }
    for column in ("train_loss", "valid_loss"):
        values = [v for v in history.columns.get(column, []) if v is not None]
        if values:
            said = f"{number(values[-1], 4)} at the end, {number(min(values), 4)} at best"
            facts[metric_title(column).lower()] = said
    if isinstance(reason := info.get("stop_reason") or info.get("error"), str):
        facts["reason"] = reason.splitlines()[0][:60] if reason else MISSING
    return facts


def _panels(record: RunRecord, history: History) -> list[Panel]:
    if record.info.get("task") != "compress":
        kept = {n: v for n, v in history.columns.items() if not _RECALL.fullmatch(measure(n))}
        return curve_panels(History(history.epochs, kept))
    panels = [Panel("Total loss", history.only(["train_loss", "valid_loss"]))]
    for title, words in _PARTS.items():
        names = [n for n in history.columns if _is_part(n, words)]
        panels.append(Panel(title, history.only(names)))
    together = {name: values for panel in panels for name, values in panel.columns.items()}
    return [panel for panel in (*panels, Panel(_TOGETHER, together)) if panel.columns]


def _is_part(column: str, words: Iterable[str]) -> bool:
    side, _, rest = column.removesuffix("_loss").partition("_")
    return side in ("train", "valid") and rest in words


def _drawing(panel: Panel, history: History) -> Draw:
    logarithmic = panel.title in ("Total loss", *_PARTS, _TOGETHER)

    def draw(axes: Axes) -> None:
        draw_panel(axes, panel, history.epochs)
        if logarithmic:
            values = [v for one in panel.columns.values() for v in one if v is not None]
            scale_of_losses(axes, values)
            scale = axes.get_yscale()
            axes.set_ylabel("" if scale == "linear" else f"{scale} scale", color=QUIET, fontsize=8)

    return draw


def _titled(columns: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
    return {metric_title(name): values for name, values in columns.items()}


def _recall_bars(
    record: RunRecord, history: History, columns: Mapping[str, list[float | None]]
) -> Draw:
    """The recall of the evaluated checkpoint with its interval, else that of the last epoch."""
    evaluation = record.evaluations.get("val", {})
    headline = evaluation.get("headline")
    scores = headline if isinstance(headline, Mapping) else {}
    judged = any(name in scores for name in columns)
    pool = pool_of(evaluation)
    where = "evaluated on val" if judged else f"after epoch {history.epochs[-1]}"
    title = f"kNN recall, {where}" + (f", pool of {pool:,}" if judged and pool else "")

    def draw(axes: Axes) -> None:
        for place, (name, values) in enumerate(columns.items()):
            one: Any = scores.get(name) if judged else None
            one = one if isinstance(one, Mapping) else {}
            last = [v for v in values if v is not None][-1]
            value = finite_or_none(one.get("value")) if judged else last
            if value is None:
                continue
            axes.bar(place, value, color=LINES[place % len(LINES)], alpha=0.55, width=0.6)
            low, high = (finite_or_none(one.get(end)) for end in ("low", "high"))
            if low is not None and high is not None:
                axes.plot([place, place], [low, high], color=INK, linewidth=1.4)
            if judged and (found := baseline_of(evaluation, name)):
                label = f"{found[0].upper()}, as many numbers" if place == 0 else "_"
                axes.plot([place - 0.36, place + 0.36], [found[1]] * 2, ":", color=INK, label=label)
            top = max(value, high or 0.0)
            axes.text(place, top, f"{value:.3f}", ha="center", va="bottom", fontsize=8, color=INK)
        axes.set_xticks(range(len(columns)), [metric_title(name) for name in columns])
        axes.set_ylim(0.0, 1.08)
        if axes.get_legend_handles_labels()[1]:
            key_of(axes, loc="upper left", bbox_to_anchor=None)
        dress(axes, title=title, x_label="", grid="y")

    return draw


def _summary(record: RunRecord, history: History) -> Draw:
    facts = summary_facts(record)

    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        axes.set_title("Summary", loc="left", fontsize=11, color=INK)
        for line, (name, value) in enumerate(facts.items()):
            height = 0.94 - 0.105 * line
            place: dict[str, Any] = {"va": "top", "fontsize": 9, "transform": axes.transAxes}
            axes.text(0.0, height, name, color=QUIET, **place)
            axes.text(0.36, height, value, color=INK, parse_math=False, **place)
        if not history.epochs:
            height = 0.94 - 0.105 * (len(facts) + 0.5)
            said = "No epoch has been recorded."
            axes.text(0.0, height, said, color=QUIET, va="top", transform=axes.transAxes)

    return draw


def epochs_in_words(count: int) -> str:
    """Return a number of epochs as people say it.

    >>> epochs_in_words(1), epochs_in_words(12)
    ('1 epoch', '12 epochs')
    """
    return f"{count} epoch{'' if count == 1 else 's'}"
