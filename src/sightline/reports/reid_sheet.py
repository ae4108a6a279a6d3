"""Queries of a re-identification run beside what is nearest to them, as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import INK, LINES, QUIET, new_figure, save_figure, say, short_name
from sightline.reports.framed_axes import caption, draw_framed
from sightline.reports.record import RunRecord
from sightline.reports.reid_pictures import ReidPictures, open_reid_pictures
from sightline.reports.reid_rows import ReidQuery, choose_queries
from sightline.reports.wording import number, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST, TYPICAL, BEST, MATCHES = 4, 2, 2, 10
"""Queries of each kind on the sheet, and pictures beside each."""
_SIDE = 224
_LOOKS: dict[str, tuple[str, Any, str]] = {
    "right": (LINES[2], "-", "own"),
    "wrong": ("#a93226", (0, (3, 2)), "other"),
    "junk": (QUIET, ":", "left out"),
}
"""Mark -> colour, line, and the word for it."""


def write_matches_figure(stem: Path, record: RunRecord, queries: Sequence[ReidQuery]) -> list[Path]:
    """Write the sheet as ``stem.png`` with its ``stem.csv``; nothing where there is no query."""
    shown = choose_queries(queries, worst=WORST, typical=TYPICAL, best=BEST)
    if not shown.all():
        return []
    pictures = open_reid_pictures(record, shown.all(), side=_SIDE, most_pixels=None)
    groups = [
        (name, one)
        for name, members in (
            ("worst", shown.worst), ("typical", shown.typical), ("best", shown.best)
        )
        for one in members
    ]  # fmt: skip
    return save_figure(matches_figure(shown.all(), pictures), stem, _columns(groups, pictures))


def matches_figure(queries: Sequence[ReidQuery], pictures: ReidPictures) -> Figure:
    """Return each query and, right of it, its nearest gallery pictures, in a row of its own."""
    across = 1 + min(MATCHES, max((len(one.nearest) for one in queries), default=0))
    figure = new_figure((1.2 * across, 1.6 * max(1, len(queries))))
    if not queries:
        return say(figure, "There are no queries.")
    grid = figure.subplots(len(queries), across, squeeze=False)
    for line, query in zip(grid, queries, strict=True):
        draw_framed(line[0], pictures.of(query.id), INK, "-")
        said = f"first at {query.first_rank}, AP {score(query.average_precision)}"
        caption(line[0], f"{_name(query.identity, query.camera)}\n{said}", INK)
        for axes in line[1:]:
            axes.set_axis_off()
        for axes, one in zip(line[1:], query.nearest, strict=False):
            colour, style, word = _LOOKS[one.mark]
            draw_framed(axes, pictures.of(one.id), colour, style)
            said = f"{_name(one.identity, one.camera)}\n{word}, {number(one.distance)}"
            caption(axes, said, colour)
    return figure


def _name(identity: str, camera: str) -> str:
    return f"{short_name(identity, 12)}, {short_name(camera, 6)}" if camera else (
        short_name(identity, 18)
    )  # fmt: skip


def _columns(
    shown: Sequence[tuple[str, ReidQuery]], pictures: ReidPictures
) -> dict[str, list[Any]]:
    cells = [
        (group, query, place, one)
        for group, query in shown
        for place, one in enumerate(query.nearest[:MATCHES], start=1)
    ]
    return {
        "group": [group for group, *_ in cells],
        "id": [query.id for _, query, *_ in cells],
        "identity": [query.identity for _, query, *_ in cells],
        "camera": [query.camera for _, query, *_ in cells],
        "first_rank": [query.first_rank for _, query, *_ in cells],
        "place": [place for *_, place, _ in cells],
        "match": [one.id for *_, one in cells],
        "match_identity": [one.identity for *_, one in cells],
        "match_camera": [one.camera for *_, one in cells],
        "distance": [one.distance for *_, one in cells],
        "mark": [one.mark for *_, one in cells],
        "path": [pictures.paths.get(one.id, "") for *_, one in cells],
    }
