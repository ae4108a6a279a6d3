"""The queries of a re-identification run beside what is nearest to them, as its page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from sightline.reports.anomaly_words import mapping
from sightline.reports.picture_sheet import PictureSheet, usual_aspect
from sightline.reports.record import RunRecord
from sightline.reports.reid_pictures import ReidPictures, open_reid_pictures
from sightline.reports.reid_rows import Chosen, Match, ReidQuery, choose_queries, read_reid_queries
from sightline.reports.reid_words import reid_splits
from sightline.reports.sections import PageSection
from sightline.reports.wording import number, split_title

MARKS = {
    "right": ("✓", "own identity"),
    "wrong": ("✗", "another identity"),
    "junk": ("○", "own identity by the same camera, left out of the ranking"),
}
"""Mark -> its sign, and what it means."""


def matches_section(record: RunRecord, image_root: Path | None) -> PageSection | None:
    """Return queries with their nearest gallery pictures, of the first split that has rows."""
    for split, result in reid_splits(record):
        queries = read_reid_queries(record.predictions(split))
        chosen = choose_queries(queries)
        shown = chosen.all()
        if not shown:
            continue
        pictures, sheet = open_reid_pictures(record, shown, image_root), PictureSheet("match")
        groups = [
            {"title": title, "said": said, "rows": [_row(one, pictures, sheet) for one in members]}
            for title, said, members in _groups(queries, chosen)
        ]
        data = {
            "split": split_title(split),
            "groups": groups,
            "pictures": sheet.pictures,
            "aspect": usual_aspect(sheet.pictures),
            "across": 1 + max(len(one.nearest) for one in shown),
            "marks": [(mark, *MARKS[mark]) for mark in MARKS if _has(shown, mark)],
            "own": bool(mapping(result.get("protocol")).get("own_gallery")),
            "unit": _is_unit(record.config),
        }
        return PageSection("matches", "Queries and matches", data)
    return None


def _groups(
    queries: Sequence[ReidQuery], chosen: Chosen
) -> list[tuple[str, str, Sequence[ReidQuery]]]:
    matched = [one for one in queries if one.is_matched]
    late = sum(one.first_rank > 1 for one in matched)
    said = f"All {number(len(matched))} queries have a match nearest. "
    if late:
        has = "has" if late == 1 else "have"
        said = f"{number(late)} of {number(len(matched))} queries {has} another identity nearest. "
    worst = "The latest first match comes first, then the lowest average precision."
    told = [
        ("Worst queries", said + worst, chosen.worst),
        ("Typical queries", "Their average precision is nearest to the median.", chosen.typical),
        ("Best queries", "The highest average precision, the most to find first.", chosen.best),
    ]
    return [group for group in told if group[2]]


def _row(query: ReidQuery, pictures: ReidPictures, sheet: PictureSheet) -> dict[str, Any]:
    return {
        "id": query.id,
        "path": query.path or query.id,
        "identity": query.identity,
        "camera": query.camera,
        "rank": query.first_rank,
        "matches": query.matches,
        "ap": query.average_precision,
        "inverse_penalty": query.inverse_penalty,
        "picture": sheet.place(pictures.of(query.id)),
        "nearest": [_match(one, pictures, sheet) for one in query.nearest],
    }


def _match(match: Match, pictures: ReidPictures, sheet: PictureSheet) -> dict[str, Any]:
    sign, meaning = MARKS[match.mark]
    place = f"rank {match.rank}" if match.rank else "no rank"
    by = f" by camera {match.camera}" if match.camera else ""
    return {
        "identity": match.identity,
        "camera": match.camera,
        "distance": match.distance if isfinite(match.distance) else None,
        "mark": match.mark,
        "sign": sign,
        "said": f"{place}: {match.identity}{by}, {meaning}",
        "id": match.id,
        "picture": sheet.place(pictures.of(match.id)),
    }


def _has(shown: Sequence[ReidQuery], mark: str) -> bool:
    return any(one.mark == mark for query in shown for one in query.nearest)


def _is_unit(config: Mapping[str, Any]) -> bool:
    """Whether features were brought to length one, so that distances end at 2."""
    return bool(mapping(config.get("eval")).get("normalize", True))
