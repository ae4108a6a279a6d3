"""The rows of a re-identification run's predictions file, and the queries worth looking at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from sightline.reports.cells import number_in, whole_number_in

WORST, TYPICAL, BEST = 12, 4, 4
"""Queries that are shown of each kind."""
Mark = Literal["right", "wrong", "junk"]
_MARKS: Mapping[str, Mark] = {"right": "right", "wrong": "wrong", "junk": "junk"}


@dataclass(frozen=True, slots=True)
class Match:
    """A gallery picture near a query; junk is left out of the ranking by the camera rule.

    ``rank`` counts what is ranked, from 1; it is 0 for junk. ``distance`` may be NaN.
    """

    id: str
    identity: str
    camera: str
    distance: float
    mark: Mark
    rank: int


@dataclass(frozen=True, slots=True)
class ReidQuery:
    """One picture that was asked for, and what is nearest to it in the gallery.

    ``first_rank`` is the rank of its nearest match, 0 where the gallery has none; the scores are
    NaN then.
    """

    id: str
    path: str
    identity: str
    camera: str
    first_rank: int
    matches: int
    average_precision: float
    inverse_penalty: float
    nearest: tuple[Match, ...] = ()

    @property
    def is_matched(self) -> bool:
        """Whether the gallery has a picture for it to find."""
        return self.first_rank > 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """Queries of three kinds; none is in two."""

    worst: list[ReidQuery]
    typical: list[ReidQuery]
    best: list[ReidQuery]

    def all(self) -> list[ReidQuery]:
        """Return every query that was chosen."""
        return [*self.worst, *self.typical, *self.best]


def read_reid_queries(rows: Iterable[Mapping[str, str]]) -> list[ReidQuery]:
    """Return the queries of a predictions file in its order; rows of another form are passed."""
    return [
        ReidQuery(
            id=row.get("id") or "",
            path=row.get("path") or "",
            identity=row.get("identity") or "",
            camera=row.get("camera") or "",
            first_rank=whole_number_in(row.get("first_rank")),
            matches=whole_number_in(row.get("matches")),
            average_precision=number_in(row.get("average_precision")),
            inverse_penalty=number_in(row.get("inverse_penalty")),
            nearest=tuple(_matches(row)),
        )
        for row in rows
        if "identity" in row and "first_rank" in row
    ]


def choose_queries(
    queries: Sequence[ReidQuery], *, worst: int = WORST, typical: int = TYPICAL, best: int = BEST
) -> Chosen:
    """Return the worst, typical and best of the queries that have a match; ties by id.

    Worst is the latest first match, then the lowest average precision; a perfect query never is.
    Typical are those with an average precision nearest to the median, best those with the highest,
    of equal ones those with the most matches to find.
    """
    matched = [one for one in queries if one.is_matched and isfinite(one.average_precision)]
    late = sorted(matched, key=lambda one: (-one.first_rank, one.average_precision, one.id))
    lowest = [one for one in late if one.average_precision < 1][:worst]
    order = sorted(matched, key=lambda one: (-one.average_precision, -one.matches, one.id))
    middle = order[len(order) // 2].average_precision if order else 0.0
    rest = _without(order, lowest)
    usual = sorted(rest, key=lambda one: abs(one.average_precision - middle))[:typical]
    return Chosen(lowest, usual, _without(rest, usual)[:best])


def _without(queries: Iterable[ReidQuery], taken: Iterable[ReidQuery]) -> list[ReidQuery]:
    ids = {one.id for one in taken}
    return [one for one in queries if one.id not in ids]


def _matches(row: Mapping[str, str]) -> Iterator[Match]:
    place, rank = 1, 0
    while name := row.get(f"nearest_{place}"):
        identity = row.get(f"nearest_{place}_label") or ""
        derived: Mark = "right" if identity == row.get("identity") else "wrong"
        mark = _MARKS.get(row.get(f"nearest_{place}_mark") or "", derived)
        rank += mark != "junk"
        camera = row.get(f"nearest_{place}_camera") or ""
        distance = number_in(row.get(f"nearest_{place}_distance"))
        yield Match(name, identity, camera, distance, mark, 0 if mark == "junk" else rank)
        place += 1
