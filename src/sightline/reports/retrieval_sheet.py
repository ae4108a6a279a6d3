"""Queries of a retrieval run beside their nearest gallery pictures, as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import INK, LINES, new_figure, save_figure, say, short_name
from sightline.reports.framed_axes import caption, draw_framed
from sightline.reports.record import RunRecord
from sightline.reports.retrieval_pictures import Thumbnails, gallery_paths, open_thumbnails
from sightline.reports.retrieval_rows import Query, spread_sample, worst_queries
from sightline.reports.wording import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, NEIGHBOURS = 8, 5
"""Queries on the sheet, half of them the worst and half a sample, and neighbours of each."""
_SIDE = 224
_GOOD, _BAD = LINES[2], "#a93226"


def write_neighbours_figure(
    stem: Path, record: RunRecord, queries: Sequence[Query], *, own_gallery: bool
) -> list[Path]:
    """Write the sheet as ``stem.png`` with its ``stem.csv``; nothing where there is no query.

    Pictures are looked for as the page does.
    """
    shown = choose_rows(queries)
    picked = [query for _, query in shown]
    if not picked:
        return []
    paths = gallery_paths(record.folder, picked, queries, own_gallery=own_gallery)
    pictures = open_thumbnails(picked, paths, record.roots(), side=_SIDE)
    return save_figure(neighbours_figure(picked, pictures), stem, _columns(shown, pictures))


def choose_rows(queries: Sequence[Query], rows: int = ROWS) -> list[tuple[str, Query]]:
    """Return the queries of the sheet with their groups: the worst, then a sample of the rest."""
    worst = worst_queries(queries, rows // 2)
    taken = {one.id for one in worst}
    sample = spread_sample([one for one in queries if one.id not in taken], rows - len(worst))
    return [("worst", one) for one in worst] + [("sample", one) for one in sample]


def neighbours_figure(queries: Sequence[Query], pictures: Thumbnails) -> Figure:
    """Return each query and, right of it, its nearest gallery pictures, in a row of its own."""
    figure = new_figure((1.35 * (1 + NEIGHBOURS), 1.72 * max(1, len(queries))))
    if not queries:
        return say(figure, "There are no queries.")
    grid = figure.subplots(len(queries), 1 + NEIGHBOURS, squeeze=False)
    for line, query in zip(grid, queries, strict=True):
        draw_framed(line[0], pictures.of_query(query), INK, "-")
        caption(line[0], f"{short_name(query.target, 18)}\n{_answer(query)}", INK)
        for axes in line[1:]:
            axes.set_axis_off()
        for axes, one in zip(line[1:], query.neighbours, strict=False):
            right = one.label == query.target
            colour = _GOOD if right else _BAD
            draw_framed(axes, pictures.of_neighbour(one.id), colour, "-" if right else (0, (3, 2)))
            sign = "own class" if right else "other class"
            said = f"{short_name(one.label, 18)}\n{sign}, {number(one.distance)}"
            caption(axes, said, colour)
    return figure


def _answer(query: Query) -> str:
    said = f"answer {short_name(query.prediction or 'nothing', 14)}"
    return f"{said}\n{query.verdict}" if query.verdict else said


def _columns(shown: Sequence[tuple[str, Query]], pictures: Thumbnails) -> dict[str, list[Any]]:
    cells = [
        (group, query, rank, one)
        for group, query in shown
        for rank, one in enumerate(query.neighbours[:NEIGHBOURS], start=1)
    ]
    return {
        "group": [group for group, *_ in cells],
        "id": [query.id for _, query, *_ in cells],
        "target": [query.target for _, query, *_ in cells],
        "prediction": [query.prediction for _, query, *_ in cells],
        "rank": [rank for *_, rank, _ in cells],
        "neighbour": [one.id for *_, one in cells],
        "label": [one.label for *_, one in cells],
        "distance": [one.distance for *_, one in cells],
        "path": [pictures.paths.get(one.id, "") for *_, one in cells],
    }
