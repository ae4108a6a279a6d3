"""Sample pictures of a split with their answers: a query and, where there are, its matches."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.reports.pictures import open_thumbnail
from sightline.runs import RunFolder

if TYPE_CHECKING:
    from PIL import Image

SIDE, FRAME, MATCHES = 112, 4, 10
"""Pixels of a picture's side and of its frame; matches that are shown beside a query."""
_SEEK = 4
_COLOURS = {"query": "#1f2933", "right": "#2e7d32", "wrong": "#a93226", "junk": "#9aa5b1"}

Row = Mapping[str, str]


def sample_pictures(
    run: RunFolder, split: str, folder: Path, *, count: int
) -> list[tuple[Path, str]]:
    """Write a PNG for each of some samples of a split, and return files and captions.

    The samples stand at even steps in predictions/SPLIT.csv, so that they are the same in every
    run of a data set. A frame is green for a match of the query's own label, red for another and
    grey for one that does not count; a picture without matches is framed by its answer. Nothing
    is written where pictures cannot be found.
    """
    rows = _sample(run.predictions / f"{split}.csv", count)
    files = _files_of(run, {name for row in rows for name in _names_in(row)}) if rows else {}
    written = []
    for place, row in enumerate(rows, 1):
        strip = _strip(row, files)
        if strip is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{split}_{place:03d}.png"
        strip.save(file)
        written.append((file, _caption(row)))
    return written


def _sample(table: Path, count: int) -> list[Row]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except OSError:
        return []
    count = min(count, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def _names_in(row: Row) -> list[str]:
    """The ids of the query and of its matches, in their order."""
    nearest = [row.get(f"nearest_{rank}") for rank in range(1, MATCHES + 1)]
    return [row.get("id") or "", *(name for name in nearest if name)]


def _files_of(run: RunFolder, wanted: set[str]) -> dict[str, Path]:
    """The files of samples, by what splits.csv says; paths there start from the run's folder."""
    try:
        with (run.path / "splits.csv").open(encoding="utf-8-sig", newline="") as lines:
            return {
                row["id"]: run.path / row["path"]
                for row in csv.DictReader(lines)
                if row.get("id") in wanted and row.get("path")
            }
    except OSError:
        return {}


def _strip(row: Row, files: Mapping[str, Path]) -> Image.Image | None:
    """The query and its matches in a row; None where the query's picture is not to be had."""
    from PIL import Image

    query, *matches = _names_in(row)
    kinds = ["query", *(_kind(row, rank) for rank in range(1, len(matches) + 1))]
    if not matches:
        kinds = [_answer_kind(row)]
    cells = [
        _cell(files.get(name), kind) for name, kind in zip([query, *matches], kinds, strict=True)
    ]
    if cells[0] is None:
        return None
    side = SIDE + 2 * FRAME
    strip = Image.new("RGB", (side * len(cells), side), "white")
    for place, cell in enumerate(cells):
        if cell is not None:
            strip.paste(cell, (place * side, 0))
    return strip


def _cell(file: Path | None, kind: str) -> Image.Image | None:
    from PIL import Image, ImageOps

    picture = None if file is None else open_thumbnail(file, side=SIDE)
    if picture is None:
        return None
    whole = picture.size if max(picture.size) * _SEEK > SIDE else tuple(
        edge * (SIDE // max(picture.size)) for edge in picture.size
    )  # fmt: skip
    framed = Image.new("RGB", (SIDE, SIDE), "white")
    enlarged = picture.resize((int(whole[0]), int(whole[1])), Image.Resampling.NEAREST)
    framed.paste(enlarged, ((SIDE - enlarged.width) // 2, (SIDE - enlarged.height) // 2))
    return ImageOps.expand(framed, FRAME, _COLOURS[kind])


def _kind(row: Row, rank: int) -> str:
    mark = row.get(f"nearest_{rank}_mark")
    if mark in _COLOURS:
        return str(mark)
    return "right" if row.get(f"nearest_{rank}_label") == row.get("target") else "wrong"


def _answer_kind(row: Row) -> str:
    target, answer = row.get("target"), row.get("prediction")
    if not target or not answer:
        return "query"
    return "right" if target == answer else "wrong"


def _caption(row: Row) -> str:
    said: Sequence[str] = [row.get("id") or ""]
    if row.get("target"):
        said = [*said, f"is {row['target']}"]
    if row.get("prediction"):
        said = [*said, f"answer {row['prediction']}"]
    return ", ".join(said)
