"""Where the pictures of a re-identification run lie, and small ones of those that are shown."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.reports.anomaly_words import mapping
from sightline.reports.mask_outlines import find_file
from sightline.reports.picture_sheet import open_thumbnails_at
from sightline.reports.record import RunRecord
from sightline.reports.reid_rows import ReidQuery

if TYPE_CHECKING:
    from PIL import Image

SIDE, MOST_PIXELS = 136, 96 * 96
"""Of a thumbnail: up to 220 of them lie in a page, and a tall one may be as sharp as a square."""


@dataclass(frozen=True, slots=True)
class ReidPictures:
    """Pictures by id; None for one that is missing or unreadable. ``paths`` says where they lie."""

    paths: Mapping[str, str]
    pictures: Mapping[str, Image.Image | None]

    def of(self, identifier: str) -> Image.Image | None:
        """Return the picture of a query or of the gallery."""
        return self.pictures.get(self.paths.get(identifier, ""))


def open_reid_pictures(
    record: RunRecord,
    shown: Sequence[ReidQuery],
    image_root: Path | None = None,
    *,
    nearest: bool = True,
    side: int = SIDE,
    most_pixels: int | None = MOST_PIXELS,
) -> ReidPictures:
    """Return the pictures of the queries that are shown and, with ``nearest``, of all near them.

    A query's path stands in its row; all others, and those that moved with the run folder, are
    looked up in the run's ``splits.csv``, line by line since a gallery may be large.
    """
    roots = record.roots(image_root)
    rows = {query.id: query.path for query in shown}
    near = [one.id for query in shown for one in query.nearest] if nearest else []
    listed = _listed_paths(record, {*rows, *near})
    paths = {}
    for identifier in dict.fromkeys([*rows, *near]):
        named = [one for one in (rows.get(identifier), listed.get(identifier)) if one]
        paths[identifier] = next((p for p in named if find_file(p, roots)), "".join(named[:1]))
    opened = open_thumbnails_at(paths.values(), roots, side=side, most_pixels=most_pixels)
    return ReidPictures(paths, opened)


def _listed_paths(record: RunRecord, wanted: set[str]) -> dict[str, str]:
    table = record.folder / "splits.csv"
    if not table.is_file():
        return {}
    recorded = mapping(record.info.get("data")).get("root")
    root = Path(recorded) if isinstance(recorded, str) else None
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        return dict(_below(record.folder, root, wanted, csv.DictReader(lines)))


def _below(
    folder: Path, root: Path | None, wanted: set[str], rows: Iterable[Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """Each wanted id with its path: below the data's root where it lies there, else in full."""
    for row in rows:
        identifier, path = row.get("id") or "", row.get("path") or ""
        if identifier in wanted and path:
            full = Path(os.path.normpath(folder.resolve() / path))
            inside = root is not None and full.is_relative_to(root)
            yield identifier, str(full.relative_to(root) if inside and root else full)
