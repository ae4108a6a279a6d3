"""Answers in words, with the gallery pictures they rest on.

Q queries, k neighbours, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.metrics.reliability import Reliability
from sightline.tasks.retrieval_answers import NO_ROW, Answers

ACCEPT, ASK_AGAIN = "accept", "ask again"


@dataclass(frozen=True)
class Found:
    """What was found for each query: its answer, and the evidence for it."""

    predictions: list[str]
    confidence: npt.NDArray[Any]
    distance: npt.NDArray[Any]
    margin: npt.NDArray[Any]
    verdicts: list[str]
    """accept or ask again; empty without thresholds."""
    neighbours: list[list[tuple[str, str, float]]]
    """Id, label and distance of the nearest gallery pictures."""

    columns: tuple[str, ...] = ("prediction", "confidence", "verdict", "distance", "margin")

    def row(self, place: int) -> list[Any]:
        """The answer to one query in the order of `columns`."""
        return [
            self.predictions[place],
            round(float(self.confidence[place]), 6),
            self.verdicts[place],
            _rounded(self.distance[place]),
            round(float(self.margin[place]), 6),
        ]

    def evidence_columns(self) -> list[str]:
        """Names for id, label and distance of each neighbour that is written down."""
        most = max((len(one) for one in self.neighbours), default=0)
        names = ("nearest_{}", "nearest_{}_label", "nearest_{}_distance")
        return [name.format(place) for place in range(1, most + 1) for name in names]

    def evidence(self, place: int) -> list[Any]:
        """Id, label and distance of each neighbour of one query, filled up with nothing."""
        cells = [
            cell
            for one, label, distance in self.neighbours[place]
            for cell in (one, label, _rounded(distance))
        ]
        return cells + [""] * (len(self.evidence_columns()) - len(cells))


def found_by(
    answers: Answers,
    *,
    gallery_ids: npt.NDArray[Any],
    gallery_labels: npt.NDArray[Any],
    names: npt.NDArray[Any],
    evidence: int,
    thresholds: Reliability | None,
) -> Found:
    """The answers in words, and the nearest gallery pictures of each as evidence."""
    votes = answers.votes
    accepted = None
    if thresholds is not None and thresholds.max_distance is not None:
        accepted = thresholds.accepts(*votes.criteria)
    neighbours = [
        [
            (str(gallery_ids[row]), str(gallery_labels[row]), float(distance))
            for row, distance in zip(rows[:evidence], distances[:evidence], strict=True)
            if row != NO_ROW
        ]
        for rows, distances in zip(answers.rows.tolist(), answers.distances.tolist(), strict=True)
    ]
    return Found(
        predictions=[str(names[code]) if code >= 0 else "" for code in votes.winner.tolist()],
        confidence=votes.confidence,
        distance=votes.nearest,
        margin=votes.margin,
        verdicts=[""] * len(votes.winner)
        if accepted is None
        else [ACCEPT if one else ASK_AGAIN for one in accepted.tolist()],
        neighbours=neighbours,
    )


def _rounded(value: float) -> float | str:
    return round(float(value), 6) if np.isfinite(value) else ""
