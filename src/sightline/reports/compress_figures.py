"""The figures of compression: recall beside PCA, recall of single queries, and recall by bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import (
    INK,
    LINES,
    QUIET,
    dress,
    key_of,
    new_figure,
    save_figure,
)
from sightline.reports.cells import finite_or_none, number_in
from sightline.reports.record import RunRecord
from sightline.reports.wording import metric_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENCODER = "encoder"
_METRIC = "recall_at_"


def write_compress_figures(folder: Path, record: RunRecord, split: str) -> list[Path]:
    """Write ``recall_SPLIT`` and ``recall_of_queries_SPLIT``, PNG and CSV, and return the paths."""
    result, files = record.evaluations[split], list[Path]()
    bars = recall_bars(result)
    if bars:
        columns = {key: [bar[key] for bar in bars] for key in bars[0]}
        files += save_figure(recall_figure(bars), folder / f"recall_{split}", columns)
    shares = recall_shares(record.predictions(split))
    if shares:
        figure = shares_figure(shares)
        rows = [(way, *one) for way, found in shares.items() for one in found]
        columns = dict(zip(("way", "recall", "share"), map(list, zip(*rows, strict=True)),
                           strict=True))  # fmt: skip
        files += save_figure(figure, folder / f"recall_of_queries_{split}", columns)
    return files


def recall_bars(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return score, way, value, low and high of the encoder and of what is beside it."""
    ways = [(ENCODER, result.get("headline"))]
    ways += [(str(one.get("name")), one.get("scores")) for one in result.get("baselines") or []]
    return [
        {"score": name, "way": way, **{end: one.get(end) for end in ("value", "low", "high")}}
        for way, scores in ways
        if isinstance(scores, Mapping)
        for name, one in scores.items()
        if isinstance(one, Mapping) and finite_or_none(one.get("value")) is not None
    ]


def recall_figure(bars: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw each recall as bars with intervals, one for each way to as many numbers."""
    names = list(dict.fromkeys(str(bar["score"]) for bar in bars))
    ways = list(dict.fromkeys(str(bar["way"]) for bar in bars))
    figure = new_figure((7.2, 3.4))
    axes = figure.add_subplot()
    width = 0.8 / len(ways)
    for number, way in enumerate(ways):
        mine = {bar["score"]: bar for bar in bars if bar["way"] == way}
        shown = [name for name in names if name in mine]
        places = [names.index(name) + (number - (len(ways) - 1) / 2) * width for name in shown]
        values = [float(mine[name]["value"]) for name in shown]
        axes.bar(places, values, 0.92 * width, color=LINES[number % len(LINES)], label=_title(way))
        low, high = ([_end(mine[name], end) for name in shown] for end in ("low", "high"))
        apart = [
            [value - one for value, one in zip(values, low, strict=True)],
            [one - value for value, one in zip(values, high, strict=True)],
        ]
        axes.errorbar(places, values, apart, fmt="none", ecolor=INK, capsize=3, linewidth=1)
        for place, value, above in zip(places, values, high, strict=True):
            axes.text(place, above + 0.015, f"{value:.3f}", ha="center", fontsize=8, color=INK)
    axes.set_xticks(range(len(names)), [metric_title(name) for name in names])
    axes.set_ylim(0, 1.1)
    dress(axes, title="Neighbours that are kept", x_label="", y_label="recall", grid="y")
    key_of(axes)
    return figure


def recall_shares(rows: Any) -> dict[str, list[tuple[float, float]]]:
    """Return how large a share of the queries has each recall, of the largest k, for each way."""
    table = list(rows)
    if not table:
        return {}
    columns = [name for name in table[0] if _METRIC in name]
    most = max((int(name.rsplit("_", 1)[1]) for name in columns), default=0)
    found = {}
    for name in columns:
        if not name.endswith(f"{_METRIC}{most}"):
            continue
        way = name.removesuffix(f"{_METRIC}{most}").rstrip("_") or ENCODER
        values = [number_in(row.get(name)) for row in table]
        steps = [round(value * most) for value in values if value == value]
        found[way] = [
            (step / most, steps.count(step) / max(len(steps), 1)) for step in range(most + 1)
        ]
    return found


def shares_figure(shares: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw the share of queries with each recall, the encoder beside the others."""
    figure = new_figure((7.2, 3.2))
    axes = figure.add_subplot()
    width = 0.8 / len(shares)
    for number, (way, found) in enumerate(shares.items()):
        step = 1 / (len(found) - 1)
        places = [value + (number - (len(shares) - 1) / 2) * width * step for value, _ in found]
        heights = [share for _, share in found]
        axes.bar(places, heights, width * step, color=LINES[number % len(LINES)], label=_title(way))
    most = len(next(iter(shares.values()))) - 1
    dress(axes, title="Single queries", x_label=f"recall@{most} of a query",
          y_label="share of queries", grid="y")  # fmt: skip
    key_of(axes)
    return figure


def forms_figure(search: Mapping[str, Any]) -> Figure:
    """Draw recall on val by bytes for every form that was tried, the target and what was chosen."""
    figure = new_figure((7.6, 4.2))
    axes = figure.add_subplot()
    families: dict[str, list[tuple[float, float]]] = {}
    chosen = {str(row.get("form")) for row in search.get("rows") or [] if row.get("chosen")}
    for one in search.get("tried") or []:
        families.setdefault(family_of(str(one.get("form"))), []).append(
            (one["bytes"], one["value"])
        )
        if str(one.get("form")) in chosen:
            axes.scatter(one["bytes"], one["value"], s=150, facecolors="none", edgecolors=INK,
                         linewidths=1.6, zorder=4, label=f"chosen: {one['form']}")  # fmt: skip
    for number, (family, points) in enumerate(sorted(families.items(), key=_best_first)):
        points.sort()
        axes.plot(*zip(*points, strict=True), "os^Dv"[number // len(LINES) % 5] + "-", markersize=4,
                  linewidth=1.2, color=LINES[number % len(LINES)], label=family)  # fmt: skip
    target = search.get("target")
    asked = finite_or_none(number_in(str(target).partition(">=")[2])) if target else None
    if asked is not None:
        axes.axhline(asked, color=QUIET, linewidth=1, linestyle="--", label=str(target))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(0, 1.02)
    dress(axes, title="What was tried on val", x_label="bytes of a vector", y_label="recall",
          grid="both")  # fmt: skip
    key_of(axes)
    return figure


def family_of(form: str) -> str:
    """Return the form without its numbers.

    >>> family_of("learned-128-opq-32"), family_of("pca-24-int8"), family_of("pca-whiten-24-int8")
    ('learned-opq', 'pca-int8', 'pca-whiten-int8')
    """
    return "-".join(part for part in form.split("-") if not part.isdigit())


def _end(bar: Mapping[str, Any], end: str) -> float:
    """An end of the interval; the value itself where there is none."""
    found = finite_or_none(bar.get(end))
    return float(bar["value"]) if found is None else found


def _best_first(family: tuple[str, list[tuple[float, float]]]) -> float:
    """Families that keep much with few bytes come first in the key."""
    return -max(value / math.pow(max(size, 1.0), 0.15) for size, value in family[1])


def _title(way: str) -> str:
    return "PCA with as many numbers" if way == "pca" else way
