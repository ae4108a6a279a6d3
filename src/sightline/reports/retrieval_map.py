"""The map of a retrieval run's embeddings: which points have which mark, and where they lie.

M points in two dimensions.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.reports.record import RunRecord
from sightline.reports.retrieval_rows import Query, read_queries
from sightline.reports.retrieval_words import retrieval_splits
from sightline.reports.sections import PageSection
from sightline.reports.wording import number, split_title

COLOURS = ("#002760", "#b99100", "#0bb071", "#ea5ebc", "#7769f6", "#5a361b")
"""On white; the page has others on dark. Searched so that any two differ by at least 34 in CIE Lab
for people without red, green or blue cones too (as Machado, Oliveira and Fernandes 2009 simulate
it), and stand out from the ground."""
SHAPES = ("circle", "square")
MARKS = len(COLOURS) * len(SHAPES)
"""Classes with a mark of their own, a colour and a shape; the points of all others are grey."""
WIDTH, MARGIN = 720.0, 16.0
_FLATTEST, _TALLEST = 0.5, 0.72


@dataclass(frozen=True, slots=True)
class MapPoint:
    """A query on the map; ``mark`` is the place of its class among those with one, else None."""

    x: float
    y: float
    query: Query
    mark: int | None


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """The points of a split, and the classes that have a mark, by name, with their points."""

    points: list[MapPoint] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)
    others: int = 0
    """Classes without a mark."""
    problem: str = ""
    """Why there is no map although there should be one, in a sentence."""


def read_embedding_map(file: Path, queries: Iterable[Query]) -> EmbeddingMap | None:
    """Return the map of ``SPLIT.maps.npz``; None where no map was kept, or not one of embeddings.

    Points without a query of their id, and those that are not finite, are left out.
    """
    if not file.is_file():
        return None
    unusable = EmbeddingMap(problem=f"{file.name} could not be read, so no map is shown.")
    try:
        # Opened here: of a torn file numpy would leave its handle open.
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as content:
            if not {"map", "map_ids"} <= set(content.files):
                return None
            places = np.asarray(content["map"], np.float64)
            ids = [str(one) for one in content["map_ids"]]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return unusable
    if places.shape != (len(ids), 2):
        return unusable
    known = {one.id: one for one in queries}
    found = [
        (known[one], place)
        for one, place in zip(ids, places, strict=True)
        if one in known and np.isfinite(place).all()
    ]
    return _with_marks(found)


def map_section(record: RunRecord) -> PageSection | None:
    """Return the map of the first split that has one, as marks in a drawing of ``WIDTH``."""
    for split, _ in retrieval_splits(record):
        file = record.folder / "predictions" / f"{split}.maps.npz"
        queries = read_queries(record.predictions(split))
        found = read_embedding_map(file, queries)
        if found is None or not (found.points or found.problem):
            continue
        places, height = _on_page(found.points)
        data = {
            "split": split_title(split),
            "problem": found.problem,
            "width": WIDTH,
            "height": height,
            "groups": _groups(found, places),
            "radius": 5.0 if len(found.points) <= 300 else 4.0,
            "n": len(found.points),
            "of": len(queries),
            "wrong": sum(not one.query.is_right for one in found.points),
            "others": found.others,
        }
        return PageSection("map", "Map", data)
    return None


def mark_of(place: int) -> tuple[int, str]:
    """Return the number of the colour and the shape of the class at a place.

    >>> mark_of(0), mark_of(7)
    ((0, 'circle'), (1, 'square'))
    """
    return place % len(COLOURS), SHAPES[place // len(COLOURS)]


def _with_marks(found: list[tuple[Query, npt.NDArray[np.float64]]]) -> EmbeddingMap:
    counts = Counter(query.target for query, _ in found)
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    marked = dict(sorted(order[:MARKS]))
    marks = {name: place for place, name in enumerate(marked)}
    points = [
        MapPoint(float(x), float(y), query, marks.get(query.target)) for query, (x, y) in found
    ]
    return EmbeddingMap(points, marked, len(order) - len(marked))


def _on_page(points: list[MapPoint]) -> tuple[list[tuple[float, float]], float]:
    """Where the points lie in the drawing, one unit in both directions, and its height."""
    if not points:
        return [], 0.0
    spots = np.array([(one.x, one.y) for one in points])
    low, high = spots.min(axis=0), spots.max(axis=0)
    spans = np.maximum(high - low, 1e-9)
    height = WIDTH * float(np.clip(spans[1] / spans[0], _FLATTEST, _TALLEST))
    room = np.array([WIDTH, height]) - 2 * MARGIN
    centred = (spots - (low + high) / 2) * float((room / spans).min())
    # Downwards on a page is upwards on a map.
    placed = np.array([WIDTH, height]) / 2 + centred * (1, -1)
    return [(round(float(x), 1), round(float(y), 1)) for x, y in placed], round(height, 1)


def _groups(found: EmbeddingMap, places: list[tuple[float, float]]) -> list[dict[str, Any]]:
    """The points by class, the grey ones first so that they lie beneath."""
    groups: dict[int | None, list[dict[str, Any]]] = {None: []}
    groups |= {mark: [] for mark in range(len(found.classes))}
    for point, (x, y) in zip(found.points, places, strict=True):
        wrong = not point.query.is_right
        groups[point.mark].append({"x": x, "y": y, "said": _said(point.query), "wrong": wrong})
    names: Mapping[int | None, str] = dict(enumerate(found.classes))
    return [
        {
            "name": names.get(mark, f"{number(found.others)} other classes"),
            "colour": None if mark is None else mark_of(mark)[0],
            "shape": "circle" if mark is None else mark_of(mark)[1],
            "n": len(points),
            "points": points,
        }
        for mark, points in groups.items()
        if points
    ]


def _said(query: Query) -> str:
    answer = query.prediction or "nothing"
    return f"{query.id}: {query.target}, answer {answer}{'' if query.is_right else ' (wrong)'}"
