"""The most confident wrong predictions of a split, with their pictures."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.reports.pictures import open_thumbnail, picture_uri

SHOWN = 24
SIDE = 160
"""Pixels of a thumbnail's longer side: sharp at the 120 or so that the page gives it."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong prediction; ``picture`` is a data URI, or None where the file could not be read."""

    id: str
    path: str
    target: str
    prediction: str
    confidence: float
    picture: str | None
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Mistakes:
    """How many predictions with a known truth there were, how many were wrong, and the worst."""

    rows: int
    wrong: int
    worst: list[Mistake]


def find_mistakes(
    rows: Iterable[Mapping[str, str]], *, roots: Sequence[Path] = (), shown: int = SHOWN
) -> Mistakes:
    """Return the wrong predictions with the highest confidence, highest first, ties by id.

    ``rows`` are those of a predictions file; a row without truth or prediction is passed over. A
    relative path is looked for under each root in turn.
    """
    total, wrong = 0, []
    for row in rows:
        target, prediction = row.get("target") or "", row.get("prediction") or ""
        if not target or not prediction:
            continue
        total += 1
        if target != prediction:
            wrong.append(row)
    worst = heapq.nsmallest(shown, wrong, key=lambda row: (-_confidence(row), row.get("id") or ""))
    return Mistakes(total, len(wrong), [_with_picture(row, roots) for row in worst])


def _with_picture(row: Mapping[str, str], roots: Sequence[Path]) -> Mistake:
    path = row.get("path") or ""
    # An absolute path stands for itself: joining it to a root gives it back.
    places = [root / path for root in (*roots, Path())] if path else []
    file = next((place for place in places if place.is_file()), None)
    picture = open_thumbnail(file, side=SIDE) if file else None
    width, height = picture.size if picture else (0, 0)
    return Mistake(
        id=row.get("id") or "",
        path=path,
        target=row.get("target") or "",
        prediction=row.get("prediction") or "",
        confidence=_confidence(row),
        picture=picture_uri(picture) if picture else None,
        width=width,
        height=height,
    )


def _confidence(row: Mapping[str, str]) -> float:
    try:
        value = float(row.get("confidence") or 0.0)
    except ValueError:
        return 0.0
    return value if value == value else 0.0
