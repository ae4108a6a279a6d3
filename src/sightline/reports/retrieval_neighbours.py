"""The queries of a retrieval run beside their nearest gallery pictures, as its page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.reports.anomaly_words import mapping
from sightline.reports.picture_sheet import PictureSheet
from sightline.reports.record import RunRecord
from sightline.reports.retrieval_pictures import Thumbnails, gallery_paths, open_thumbnails
from sightline.reports.retrieval_rows import (
    ACCEPTED,
    VERDICTS,
    Query,
    accepted_although_wrong,
    asked_although_right,
    read_queries,
    spread_sample,
    worst_queries,
)
from sightline.reports.retrieval_words import retrieval_splits
from sightline.reports.sections import PageSection
from sightline.reports.wording import number, split_title

_SUREST = "The most confident first."


def neighbours_section(record: RunRecord, image_root: Path | None) -> PageSection | None:
    """Return queries with their nearest gallery pictures, of the first split that has rows."""
    for split, result in retrieval_splits(record):
        queries = read_queries(record.predictions(split))
        groups = _groups(queries)
        if not groups:
            continue
        shown = [one for _, _, members in groups for one in members]
        own = mapping(result.get("gallery")).get("kind") == "own"
        gallery = gallery_paths(record.folder, shown, queries, own_gallery=own)
        pictures = open_thumbnails(shown, gallery, record.roots(image_root))
        sheet = PictureSheet()
        data = {
            "split": split_title(split),
            "verdicts": any(one.verdict for one in queries),
            "groups": [
                {
                    "title": title,
                    "said": said,
                    "rows": [_row(one, pictures, sheet) for one in members],
                }
                for title, said, members in groups
            ],
            "pictures": sheet.pictures,
        }
        return PageSection("neighbours", "Neighbours", data)
    return None


def _groups(queries: Sequence[Query]) -> list[tuple[str, str, list[Query]]]:
    matched = [one for one in queries if one.is_matched]
    wrong = sum(one.first_rank > 1 for one in matched)
    accepted, asked = accepted_although_wrong(queries), asked_although_right(queries)
    answered, right = sum(o.verdict == ACCEPTED for o in queries), sum(o.is_right for o in queries)
    worst, sample = worst_queries(queries), spread_sample(queries)
    told = [
        ("Worst queries", _worst_said(len(matched), wrong, len(worst)), worst),
        (
            "Accepted although wrong",
            f"{_of(len(accepted), answered, 'accepted answers')} wrong. {_SUREST}",
            accepted[:VERDICTS],
        ),
        (
            "Asked again although right",
            f"{_of(len(asked), right, 'right answers')} held back. {_SUREST}",
            asked[:VERDICTS],
        ),
        (
            "A sample",
            "At even steps from the lowest average precision to the highest; not chosen by how "
            "they look.",
            sample if len(queries) > len(worst) else [],
        ),
    ]
    return [group for group in told if group[2]]


def _worst_said(matched: int, wrong: int, shown: int) -> str:
    if not wrong:
        return (
            f"All {number(matched)} queries have a picture of their class nearest. Here are those "
            "with the lowest average precision among their nearest."
        )
    said = f"{_of(wrong, matched, 'queries')} nearest to a picture of another class. "
    if wrong >= shown:
        return said + "Those whose wrong neighbour is nearest come first."
    return (
        said + "They come first, the nearest wrong neighbour before others; then those with the "
        "lowest average precision among their nearest."
    )


def _of(count: int, total: int, what: str) -> str:
    return f"{number(count)} of {number(total)} {what} {'is' if count == 1 else 'are'}"


def _row(query: Query, pictures: Thumbnails, sheet: PictureSheet) -> dict[str, Any]:
    return {
        "id": query.id,
        "path": query.path or query.id,
        "target": query.target,
        "prediction": query.prediction,
        "confidence": query.confidence,
        "right": query.is_right,
        "verdict": {ACCEPTED: "accepted", "": ""}.get(query.verdict, "asks again"),
        "bad": (query.verdict == ACCEPTED) is not query.is_right and bool(query.verdict),
        "rank": query.first_rank,
        "relevant": query.relevant,
        "ap": query.ap_at_r,
        "picture": sheet.place(pictures.of_query(query)),
        "neighbours": [
            {
                "label": one.label,
                "distance": one.distance,
                "right": one.label == query.target,
                "id": one.id,
                "picture": sheet.place(pictures.of_neighbour(one.id)),
            }
            for one in query.neighbours
        ],
    }
