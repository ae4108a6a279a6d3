"""The rows of a retrieval run's predictions file, and the queries of them worth looking at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan

from sightline.reports.cells import number_in, whole_number_in

ACCEPTED, ASKED_AGAIN = "accept", "ask again"
WORST, VERDICTS, SAMPLE = 12, 4, 8
"""Queries that are shown: the worst, of each kind of wrong verdict, and of the sample."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A picture of the gallery that is near a query; NaN where no distance was written."""

    id: str
    label: str
    distance: float


@dataclass(frozen=True, slots=True)
class Query:
    """One picture that was asked about, and what was found for it.

    ``first_rank`` is the rank of the nearest picture of its class, 0 where the gallery has none;
    ``ap_at_r`` is NaN then. ``verdict`` is empty where the run has no thresholds.
    """

    id: str
    path: str
    target: str
    prediction: str
    confidence: float
    verdict: str
    first_rank: int
    relevant: int
    ap_at_r: float
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def is_matched(self) -> bool:
        """Whether the gallery has a picture of its class."""
        return self.first_rank > 0

    @property
    def is_right(self) -> bool:
        """Whether the answer is its class."""
        return self.prediction == self.target

    @property
    def nearest(self) -> float:
        """The distance to its nearest neighbour; infinity where there is none."""
        found = self.neighbours[0].distance if self.neighbours else nan
        return found if isfinite(found) else float("inf")


def read_queries(rows: Iterable[Mapping[str, str]]) -> list[Query]:
    """Return the queries of a predictions file in its order; rows without truth are passed over."""
    return [
        Query(
            id=row.get("id") or "",
            path=row.get("path") or "",
            target=row["target"],
            prediction=row.get("prediction") or "",
            confidence=number_in(row.get("confidence")),
            verdict=row.get("verdict") or "",
            first_rank=whole_number_in(row.get("first_rank")),
            relevant=whole_number_in(row.get("relevant")),
            ap_at_r=number_in(row.get("ap_at_r")),
            neighbours=tuple(_neighbours(row)),
        )
        for row in rows
        if row.get("target") and "first_rank" in row
    ]


def worst_queries(queries: Sequence[Query], shown: int = WORST) -> list[Query]:
    """Return the queries that were found worst.

    First those with another class at rank 1, the nearest wrong neighbour first: the surest
    mistakes. Then those with the lowest average precision that is not 1. Ties by id.
    """
    matched = [one for one in queries if one.is_matched]
    wrong = sorted((o for o in matched if o.first_rank > 1), key=lambda o: (o.nearest, o.id))
    rest = [one for one in matched if one.first_rank == 1 and one.ap_at_r < 1]
    return [*wrong, *sorted(rest, key=lambda o: (o.ap_at_r, o.id))][:shown]


def accepted_although_wrong(queries: Iterable[Query]) -> list[Query]:
    """Return the queries whose wrong answer was accepted, the most confident first, ties by id.

    Those whose class the gallery does not have are among them.
    """
    return _surest(o for o in queries if o.verdict == ACCEPTED and not o.is_right)


def asked_although_right(queries: Iterable[Query]) -> list[Query]:
    """Return the queries whose right answer was held back, the most confident first, ties by id."""
    return _surest(o for o in queries if o.verdict == ASKED_AGAIN and o.is_right)


def spread_sample(queries: Sequence[Query], shown: int = SAMPLE) -> list[Query]:
    """Return queries at even steps of their order by average precision, the worst first.

    No draw: the middle of each of ``shown`` equal parts, so typical ones are among them.
    """
    ordered = sorted((o for o in queries if o.is_matched), key=lambda o: (o.ap_at_r, o.id))
    if len(ordered) <= shown:
        return ordered
    return [ordered[(2 * place + 1) * len(ordered) // (2 * shown)] for place in range(shown)]


def _surest(queries: Iterable[Query]) -> list[Query]:
    return sorted(queries, key=lambda o: (-o.confidence if isfinite(o.confidence) else 0.0, o.id))


def _neighbours(row: Mapping[str, str]) -> Iterator[Neighbour]:
    place = 1
    while name := row.get(f"nearest_{place}"):
        label = row.get(f"nearest_{place}_label") or ""
        yield Neighbour(name, label, number_in(row.get(f"nearest_{place}_distance")))
        place += 1
