"""The figures of a re-identification run: CMC, pairs of cameras, distances, and its matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import (
    GRID,
    INK,
    LINES,
    QUIET,
    dress,
    key_of,
    literal,
    new_figure,
    save_figure,
    say,
    short_name,
)
from sightline.reports.record import RunRecord
from sightline.reports.reid_curves import (
    PAIRS,
    CameraPairs,
    PairDistances,
    filled_bins,
    read_camera_pairs,
    read_cmc,
    read_pair_distances,
)
from sightline.reports.reid_rows import read_reid_queries
from sightline.reports.reid_sheet import write_matches_figure
from sightline.reports.wording import number, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = ("-", "--", ":")
_RANK_TICKS = (1, 5, 10, 15, 20, 30, 40, 50)


def write_reid_figures(folder: Path, record: RunRecord, split: str) -> list[Path]:
    """Write the figures of a re-identification split into ``folder``; return the files' paths.

    ``cmc_SPLIT``, ``distances_SPLIT``, ``camera_pairs_SPLIT`` and ``matches_SPLIT``, those that
    there is data for. Pictures are looked for as the page does.
    """
    result, files = record.evaluations[split], list[Path]()
    curves = read_cmc(result)
    if curves:
        ranks = list(range(1, 1 + max(map(len, curves.values()))))
        columns: dict[str, list[Any]] = {"rank": ranks, **curves}
        files += save_figure(cmc_figure(curves), folder / f"cmc_{split}", columns)
    distances = read_pair_distances(result)
    if distances:
        figure = distances_figure(distances)
        files += save_figure(figure, folder / f"distances_{split}", distances.columns())
    pairs = read_camera_pairs(result)
    if pairs:
        figure = camera_pairs_figure(pairs)
        files += save_figure(figure, folder / f"camera_pairs_{split}", pairs.columns())
    queries = read_reid_queries(record.predictions(split))
    return [*files, *write_matches_figure(folder / f"matches_{split}", record, queries)]


def cmc_figure(curves: Mapping[str, Sequence[float | None]]) -> Figure:
    """Return CMC curves by name: the share of queries with a match among the first k.

    The vertical axis begins just below the lowest value: curves of good models lie near the top.
    """
    figure = new_figure((7.4, 3.8))
    values = [one for curve in curves.values() for one in curve if one is not None]
    if not values:
        return say(figure, "There is no CMC curve.")
    axes = figure.add_subplot()
    last = 1
    for place, (name, curve) in enumerate(curves.items()):
        points = [(rank, one) for rank, one in enumerate(curve, start=1) if one is not None]
        last = max(last, points[-1][0])
        axes.plot(
            [rank for rank, _ in points],
            [one for _, one in points],
            _STYLES[place % len(_STYLES)],
            color=LINES[place % len(LINES)],
            linewidth=1.8,
            marker="o",
            markersize=2.6,
            label=f"{name}, rank-1 {score(points[0][1])}",
        )
    axes.set_ylim(max(0.0, floor(10 * min(values) - 0.5) / 10), 1.01)
    axes.set_xlim(0.5, last + 0.5)
    axes.set_xticks([rank for rank in _RANK_TICKS if rank <= last])
    title = "CMC: queries with a match among the first k"
    dress(axes, title=title, x_label="rank k", y_label="share of the queries", grid="both")
    key_of(axes, loc="lower right", bbox_to_anchor=None)
    return figure


def distances_figure(found: PairDistances) -> Figure:
    """Return how far apart pairs of pictures are, each kind as shares of its own number.

    Pairs of other identities are so many that counts would leave nothing of the others.
    """
    figure = new_figure((7.4, 3.8))
    axes = figure.add_subplot()
    first, last = filled_bins(found)
    edges = found.edges[first : last + 1]
    for place, (kind, title) in enumerate(PAIRS.items()):
        counts = found.counts.get(kind)
        if not counts:
            continue
        total = sum(counts)
        shares = [one / total for one in counts[first:last]]
        colour = LINES[(2, 4, 0)[place]]
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.1)
        axes.stairs(
            shares,
            edges,
            color=colour,
            linewidth=1.6,
            linestyle=_STYLES[(0, 2, 1)[place]],
            label=f"{title} ({number(total)} {'pair' if total == 1 else 'pairs'})",
        )
    axes.set_ylim(0, None)
    axes.set_xlim(edges[0], edges[-1])
    title = "Distances of pairs of pictures"
    dress(axes, title=title, x_label="distance", y_label="share of the pairs", grid="y")
    key_of(axes, loc="best", bbox_to_anchor=None)
    return figure


def camera_pairs_figure(found: CameraPairs) -> Figure:
    """Return rank-1 by the camera of the query (rows) and of the gallery, with the queries."""
    import numpy as np

    size = len(found.cameras)
    figure = new_figure((2.4 + 0.72 * max(3, size), 1.6 + 0.56 * max(3, size)))
    axes = figure.add_subplot()
    shown = np.array([[np.nan if one is None else one for one in row] for row in found.rank_1])
    image = axes.imshow(shown, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    scale = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    scale.outline.set_visible(False)
    scale.ax.tick_params(colors=QUIET, labelsize=8, length=0)
    for row, column in np.ndindex(size, size):
        value = found.rank_1[row][column]
        said = "–" if value is None else f"{value:.2f}\n{found.queries[row][column]:,}"
        colour = "white" if value is not None and value > 0.55 else INK if value else QUIET
        axes.text(column, row, said, ha="center", va="center", color=colour, fontsize=7.5)
    names = [short_name(one, 12) for one in found.cameras]
    axes.set_xticks(range(size), names)
    axes.set_yticks(range(size), names)
    literal([*axes.get_xticklabels(), *axes.get_yticklabels()])
    title = "Rank-1 by camera (number of queries)"
    dress(axes, title=title, x_label="camera of the gallery", y_label="camera of the query")
    axes.set_xticks([edge - 0.5 for edge in range(1, size)], minor=True)
    axes.set_yticks([edge - 0.5 for edge in range(1, size)], minor=True)
    axes.grid(which="minor", color=GRID, linewidth=1)
    axes.tick_params(which="minor", length=0)
    return figure
