"""The figures of an anomaly run's split: scores of each group, ROC, PRO, each with its numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sightline.reports.anomaly_rows import NORMAL, ScoredImage, score_groups
from sightline.reports.canvas import (
    GRID,
    INK,
    LINES,
    QUIET,
    dress,
    key_of,
    new_figure,
    say,
    short_name,
)
from sightline.reports.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 40
Curve = Mapping[str, Sequence[float]]


def score_histogram(images: Sequence[ScoredImage], threshold: float | None = None) -> Figure:
    """Return how the scores of normal images and of each defect lie, a row each, one score axis.

    Each row is drawn to its own highest bar: groups of 5 and of 500 images must both be readable.
    The dashed line is the threshold; an image to its right raises an alarm.
    """
    groups = score_groups(images)
    figure = new_figure((8, 1.0 + 0.62 * max(2, len(groups))))
    if not groups:
        return say(figure, "No image has a score.")
    edges = score_edges([one.score for one in images if one.has_score])
    inside = threshold is not None and edges[0] <= threshold <= edges[-1]
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, group) in zip(panels, groups.items(), strict=True):
        counts = _counts(edges, group)
        color = LINES[0] if name == NORMAL else LINES[1]
        widths = [high - low for low, high in pairwise(edges)]
        axes.bar(edges[:-1], counts, widths, align="edge", color=color, linewidth=0)
        if inside:
            axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        dress(axes, title="", x_label="")
        axes.axhline(0, color=GRID, linewidth=1.0)
        axes.set_yticks([])
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, max(counts) * 1.08)
        label = f"{short_name(name)}\n{len(group):,}"
        axes.set_ylabel(
            label, rotation=0, ha="right", va="center", color=INK, fontsize=8.5, parse_math=False
        )
        if threshold is not None:
            above = sum(one.score > threshold for one in group)
            said = f"{above / len(group):.0%} above"
            axes.text(
                1.01, 0.5, said, transform=axes.transAxes, va="center", fontsize=8, color=QUIET
            )
    panels[0].set_title("Scores of each group (number of images)", loc="left", fontsize=11)
    panels[0].title.set_color(INK)
    panels[-1].set_xlabel(_score_label(edges, images, threshold), color=QUIET, fontsize=9)
    return figure


def score_columns(images: Sequence[ScoredImage]) -> dict[str, list[Any]]:
    """Return the bars of the histogram: group, low, high (edges of the bar) and count.

    The first and the last bar also hold what lies beyond them, and say so by their edges.
    """
    groups = score_groups(images)
    scores = [one.score for group in groups.values() for one in group]
    columns: dict[str, list[Any]] = {"group": [], "low": [], "high": [], "count": []}
    if not scores:
        return columns
    edges = score_edges(scores)
    told = [min(edges[0], *scores), *edges[1:-1], max(edges[-1], *scores)]
    for name, group in groups.items():
        for place, count in enumerate(_counts(edges, group)):
            cells = (name, told[place], told[place + 1], count)
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)
    return columns


def score_edges(scores: Sequence[float]) -> list[float]:
    """Return the edges of the histogram's bars over finite scores, equally wide.

    They reach from the 2nd to the 98th percentile and half of that beyond, or to the outermost
    score where that is nearer: a single wild score cannot squeeze the others into one bar.
    """
    ordered = sorted(scores)
    last = len(ordered) - 1
    # Rounded towards the middle, so that of a few scores the outermost one is not the percentile.
    low, high = ordered[-(-last * 2 // 100)], ordered[last * 98 // 100]
    room = (high - low) / 2 if high > low else ordered[-1] - ordered[0]
    start, end = max(ordered[0], low - room), min(ordered[-1], high + room)
    if not end > start:
        start, end = start - (abs(start) or 1.0) / 2, end + (abs(end) or 1.0) / 2
    return [start + (end - start) * place / BINS for place in range(BINS + 1)]


def roc_figure(curves: Mapping[str, Curve], points: Mapping[str, float] | None = None) -> Figure:
    """Return ROC curves by name, with the diagonal of chance.

    A curve holds ``fpr`` and ``tpr``; ``points`` may hold them for the threshold in use.
    """
    figure = new_figure((5.4, 4.6))
    if not curves:
        return say(figure, "There is no ROC curve.")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label="chance")
    for place, (name, curve) in enumerate(curves.items()):
        style = "-" if place == 0 else "--"
        axes.plot(curve["fpr"], curve["tpr"], style, color=LINES[place], linewidth=1.8, label=name)
    if points:
        axes.plot(
            points["fpr"], points["tpr"], "o", color=INK, markersize=6, label="at the threshold"
        )
    _square(axes, limit=1.0)
    dress(
        axes,
        title="ROC",
        x_label="false alarms, fraction of normal",
        y_label="detected, fraction of anomalous",
        grid="both",
    )
    key_of(axes, loc="lower right", bbox_to_anchor=None)
    return figure


def pro_figure(curve: Curve, *, limit: float = 0.3, aupro: float | None = None) -> Figure:
    """Return the overlap per region over the share of normal pixels wrongly marked, up to limit.

    The area under it, divided by the limit, is the AUPRO (Bergmann et al., The MVTec Anomaly
    Detection Dataset, IJCV 2021, section 5.1).
    """
    figure = new_figure((5.4, 4.6))
    pairs = list(zip(curve.get("fpr", ()), curve.get("pro", ()), strict=False))
    if not pairs:
        return say(figure, "There is no PRO curve: no image has a mask.")
    axes = figure.add_subplot()
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    said = "" if aupro is None else f"AUPRO {number(aupro)}"
    axes.fill_between(xs, ys, color=LINES[2], alpha=0.18, linewidth=0)
    axes.plot(xs, ys, color=LINES[2], linewidth=1.8, label=said)
    _square(axes, limit=limit)
    dress(
        axes,
        title=f"PRO up to a false-positive rate of {limit:g}",
        x_label="fraction of normal pixels above the threshold",
        y_label="mean overlap of the defect regions",
        grid="both",
    )
    if said:
        key_of(axes, loc="lower right", bbox_to_anchor=None)
    return figure


def curve_columns(curves: Mapping[str, Curve], height: str) -> dict[str, list[Any]]:
    """Return curves as a long table: curve, fpr and ``height``, the name of the other column."""
    rows = [
        (name, x, y)
        for name, curve in curves.items()
        for x, y in zip(curve["fpr"], curve[height], strict=True)
    ]
    return {
        "curve": [row[0] for row in rows],
        "fpr": [row[1] for row in rows],
        height: [row[2] for row in rows],
    }


def _counts(edges: Sequence[float], group: Sequence[ScoredImage]) -> list[int]:
    """How many scores lie in each bar; the outer bars take what lies beyond."""
    counts = [0] * (len(edges) - 1)
    for one in group:
        counts[min(max(bisect_right(edges, one.score) - 1, 0), len(counts) - 1)] += 1
    return counts


def _score_label(
    edges: Sequence[float], images: Sequence[ScoredImage], threshold: float | None
) -> str:
    scores = [one.score for one in images if one.has_score]
    beyond = sum(not edges[0] <= score <= edges[-1] for score in scores)
    parts = ["score (higher is more anomalous)"]
    if threshold is not None:
        side = "dashed" if edges[0] <= threshold <= edges[-1] else "outside this range"
        parts.append(f"threshold {number(threshold)}, {side}")
    if beyond:
        parts.append(f"{beyond} beyond the ends counted in the outer bars")
    return "; ".join(parts)


def _square(axes: Axes, *, limit: float) -> None:
    axes.set_xlim(0, limit)
    axes.set_ylim(0, 1.02)
