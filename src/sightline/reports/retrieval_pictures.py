"""Small pictures of queries and of their neighbours, each opened once however often it is shown."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.reports.picture_sheet import open_thumbnails_at
from sightline.reports.retrieval_rows import Query

if TYPE_CHECKING:
    from PIL import Image

SIDE = 112
"""Pixels of a thumbnail's longer side: up to 170 of them lie in a page."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Pictures by the path of their files; None for one that is missing or unreadable.

    ``paths`` leads from the id of a gallery picture to its path, as far as it is known.
    """

    paths: Mapping[str, str]
    pictures: Mapping[str, Image.Image | None]

    def of_query(self, query: Query) -> Image.Image | None:
        """Return the picture of a query."""
        return self.pictures.get(query.path)

    def of_neighbour(self, identity: str) -> Image.Image | None:
        """Return the picture of the gallery with this id."""
        return self.pictures.get(self.paths.get(identity, ""))


def open_thumbnails(
    shown: Sequence[Query], gallery: Mapping[str, str], roots: Sequence[Path], *, side: int = SIDE
) -> Thumbnails:
    """Return the pictures of the queries that are shown, and of all their neighbours."""
    named = [gallery.get(one.id, "") for query in shown for one in query.neighbours]
    paths = [*(query.path for query in shown), *named]
    return Thumbnails(gallery, open_thumbnails_at(paths, roots, side=side))


def gallery_paths(
    run_folder: Path, shown: Iterable[Query], queries: Iterable[Query], *, own_gallery: bool
) -> dict[str, str]:
    """Return id -> path of the neighbours of the queries that are shown.

    From ``index/rows.csv``, read line by line since a gallery may be large; from the queries
    themselves where these are each other's gallery. Those that are in neither are left out.
    """
    wanted = {one.id for query in shown for one in query.neighbours}
    if own_gallery:
        return {one.id: one.path for one in queries if one.id in wanted}
    table = run_folder / "index" / "rows.csv"
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = csv.DictReader(lines)
        return {row["id"]: row.get("path") or "" for row in rows if (row.get("id") or "") in wanted}
