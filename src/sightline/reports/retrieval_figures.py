"""The figures of a retrieval run: a map of its embeddings, and each class by search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.anomaly_words import mapping
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
)
from sightline.reports.record import RunRecord
from sightline.reports.retrieval_map import (
    COLOURS,
    EmbeddingMap,
    MapPoint,
    mark_of,
    read_embedding_map,
)
from sightline.reports.retrieval_rows import read_queries
from sightline.reports.retrieval_sections import CLASSES_SHOWN, sorted_classes
from sightline.reports.retrieval_sheet import write_neighbours_figure
from sightline.reports.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {"circle": "o", "square": "s"}


def write_retrieval_figures(folder: Path, record: RunRecord, split: str) -> list[Path]:
    """Write the figures of a retrieval split into ``folder`` and return the files' paths.

    ``map_SPLIT``, ``retrieval_classes_SPLIT`` and ``neighbours_SPLIT``, those that there is data
    for. Pictures are looked for as the page does.
    """
    result, queries = record.evaluations[split], read_queries(record.predictions(split))
    files: list[Path] = []
    found = read_embedding_map(record.folder / "predictions" / f"{split}.maps.npz", queries)
    if found is not None and found.points:
        files += save_figure(map_figure(found), folder / f"map_{split}", _map_columns(found))
    rows = sorted_classes(
        row for row in result.get("retrieval_per_class") or [] if isinstance(row, Mapping)
    )
    if rows:
        figure, columns = (
            class_search_figure(rows),
            {key: [r[key] for r in rows] for key in rows[0]},
        )
        files += save_figure(figure, folder / f"retrieval_classes_{split}", columns)
    own = mapping(result.get("gallery")).get("kind") == "own"
    stem = folder / f"neighbours_{split}"
    return [*files, *write_neighbours_figure(stem, record, queries, own_gallery=own)]


def map_figure(found: EmbeddingMap) -> Figure:
    """Return the map: a mark for each class, grey without one, and a ring on wrong answers."""
    figure = new_figure((9, 6.4))
    if not found.points:
        return say(figure, found.problem or "There is no map.")
    axes = figure.add_subplot()
    names: dict[int | None, str] = {
        None: f"{number(found.others)} other classes",
        **dict(enumerate(found.classes)),
    }
    for mark, name in names.items():
        points = [one for one in found.points if one.mark == mark]
        colour, shape = (None, "circle") if mark is None else mark_of(mark)
        _scatter(
            axes,
            points,
            color=QUIET if colour is None else COLOURS[colour],
            marker=_MARKERS[shape],
            label=f"{short_name(name)} ({number(len(points))})",
            s=22,
            alpha=0.5 if colour is None else 0.9,
            linewidths=0,
        )
    wrong = [one for one in found.points if not one.query.is_right]
    _scatter(
        axes, wrong, facecolors="none", edgecolors=INK, linewidths=1, s=70,
        label=f"wrong answer ({number(len(wrong))})",
    )  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    dress(axes, title="Embeddings by t-SNE: only nearness has a meaning", x_label="")
    axes.set_xticks([])
    axes.set_yticks([])
    key_of(axes)
    return figure


def class_search_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return Recall@1 of each class as bars, the weakest on top, with MAP@R as a mark.

    ``rows`` come with the weakest first; above ``CLASSES_SHOWN`` the others are left out.
    """
    shown = list(reversed(rows[:CLASSES_SHOWN]))
    figure = new_figure((8, 1.4 + 0.26 * max(4, len(shown))))
    if not shown:
        return say(figure, "There are no classes.")
    axes, places = figure.add_subplot(), range(len(shown))
    recall, precision = ([_or_nan(r.get(k)) for r in shown] for k in ("recall_at_1", "map_at_r"))
    axes.barh(places, recall, color=SOFT, height=0.66, label="Recall@1")
    axes.scatter(precision, places, marker="|", s=60, color=LINES[0], label="mAP@R", zorder=3)
    names = [f"{short_name(str(r.get('name')))}  ({r.get('queries')})" for r in shown]
    axes.set_yticks(list(places), names, fontsize=8)
    literal(axes.get_yticklabels())
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    key_of(axes)
    left_out = len(rows) > len(shown)
    what = f"The {len(shown)} weakest of {number(len(rows))} classes" if left_out else "Each class"
    dress(axes, title=f"{what} by search (number of queries)", x_label="score")
    return figure


def _scatter(axes: Axes, points: Sequence[MapPoint], **looks: Any) -> None:
    if points:
        axes.scatter([one.x for one in points], [one.y for one in points], **looks)


def _map_columns(found: EmbeddingMap) -> dict[str, list[Any]]:
    points = found.points
    return {
        "id": [one.query.id for one in points],
        "x": [one.x for one in points],
        "y": [one.y for one in points],
        "target": [one.query.target for one in points],
        "prediction": [one.query.prediction for one in points],
        "right": [int(one.query.is_right) for one in points],
    }


def _or_nan(value: Any) -> float:
    return float("nan") if value is None else float(value)
