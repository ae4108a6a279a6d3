"""The evaluation of retrieval: scores with intervals, and what was found for each query.

Q queries, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.metrics.classification import classification_scores, confusion_matrix
from sightline.metrics.intervals import Estimate
from sightline.metrics.reliability import Reliability
from sightline.metrics.retrieval import RetrievalScores
from sightline.tasks.retrieval_evidence import Found

MOST_CLASSES_IN_TABLE = 300
"""Above it a matrix of confusions is too large to be looked at, or kept."""


@dataclass(frozen=True)
class RetrievalResult:
    """Rows in the order of the samples, and every score of them."""

    ids: list[str]
    labels: list[str]
    objects: list[str]
    scores: RetrievalScores
    found: Found
    headline: dict[str, Estimate]
    more: dict[str, Estimate]
    """Scores that are not among the first to look at."""
    per_class: list[dict[str, Any]]
    gallery: dict[str, Any]
    """What the queries were compared with: its kind, splits, pictures and classes."""
    answers: dict[str, Any] = field(default_factory=dict)
    """What became of the thresholds on this split."""
    thresholds: Reliability | None = None
    maps: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Every score as plain data."""
        names = sorted({*self.labels, *self.found.predictions} - {""})
        place = {name: code for code, name in enumerate(names)}
        known = [row for row, one in enumerate(self.found.predictions) if one]
        confusion = None
        if len(names) <= MOST_CLASSES_IN_TABLE:
            confusion = confusion_matrix(
                [place[self.labels[row]] for row in known],
                [place[self.found.predictions[row]] for row in known],
                len(names),
            )
        return {
            "n": len(self.ids),
            "headline": {name: one.as_dict() for name, one in self.headline.items()},
            "more": {name: one.as_dict() for name, one in self.more.items()},
            "undefined": {f"recall_at_{k}": why for k, why in self.scores.undefined.items()},
            "unmatched": self.scores.unmatched,
            "gallery": self.gallery,
            "answers": self.answers,
            "thresholds": None if self.thresholds is None else self.thresholds.as_dict(),
            "retrieval_per_class": self.per_class,
            "per_class": []
            if confusion is None
            else classification_scores(confusion).per_class(names),
            "confusion": [] if confusion is None else confusion.tolist(),
            "class_names": names,
        }

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and one row per query: truth, answer, ranks and the neighbours."""
        scores, found = self.scores, self.found
        columns = ["id", "target", "object", *found.columns]
        columns += ["first_rank", "relevant", "ap_at_r", *found.evidence_columns()]
        table = []
        for place, one in enumerate(self.ids):
            matched = bool(scores.relevant[place])
            ranks = [
                int(scores.first_rank[place]) if matched else "",
                int(scores.relevant[place]),
                round(float(scores.ap_at_r[place]), 6) if matched else "",
            ]
            row = [one, self.labels[place], self.objects[place], *found.row(place), *ranks]
            table.append([*row, *found.evidence(place)])
        return columns, table

    def summary(self) -> list[str]:
        """One line per score, and what the queries were compared with."""
        lines = [f"{name} {one}" for name, one in (self.headline | self.more).items()]
        lines += [f"recall_at_{k} is undefined: {why}" for k, why in self.scores.undefined.items()]
        if self.scores.unmatched:
            lines.append(
                f"{self.scores.unmatched} of {len(self.ids)} queries have no picture of their "
                "class in the gallery and count in no score but false accepts"
            )
        return [*lines, _gallery_in_words(self.gallery), *_answers_in_words(self.answers)]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The map of the embeddings, (Q, 2), with the ids of its points."""
        return self.maps


def _gallery_in_words(gallery: dict[str, Any]) -> str:
    size = f"{gallery['pictures']} pictures of {gallery['classes']} classes"
    return f"gallery: {gallery['said']}, {size}"


def _answers_in_words(answers: dict[str, Any]) -> list[str]:
    if not answers:
        return []
    if answers.get("reason"):
        return [f"no answer is held back: {answers['reason']}"]
    return [
        f"{name.replace('_', ' ')} {_estimate_in_words(answers[name])}"
        for name in ("coverage", "accepted_accuracy", "false_accepts", "unknown_accepts")
        if answers.get(name)
    ]


def _estimate_in_words(one: dict[str, Any]) -> str:
    if one["value"] is None:
        return "undefined"
    return str(
        Estimate(one["value"], one["low"], one["high"], one["n"], one["unit"], one["confidence"])
    )
