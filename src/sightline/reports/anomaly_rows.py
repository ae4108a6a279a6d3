"""The rows of an anomaly run's predictions file, and the images of them worth looking at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from sightline.reports.cells import number_in

NORMAL = "good"
"""The label of an image without a defect, as the manifest has it."""
TYPES_UP_TO = 10
"""Above this many defect types they share one group: nobody reads more rows of a histogram."""
MISSES, FALSE_ALARMS, HITS = 8, 8, 4


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """One image: higher scores are more anomalous, NaN where there is none.

    ``target`` is its defect type or ``good``, ``alarm`` None where the run has no threshold, and
    ``mask`` the path of its mask or "".
    """

    id: str
    path: str
    target: str
    score: float
    alarm: bool | None = None
    mask: str = ""

    @property
    def is_normal(self) -> bool:
        """Whether the truth is that nothing is wrong with it."""
        return self.target == NORMAL

    @property
    def has_score(self) -> bool:
        """Whether its score is a finite number."""
        return isfinite(self.score)


@dataclass(frozen=True, slots=True)
class Examples:
    """Anomalous images from the lowest score up, normal ones from the highest down, clear hits."""

    misses: list[ScoredImage]
    false_alarms: list[ScoredImage]
    hits: list[ScoredImage]

    def all(self) -> list[ScoredImage]:
        """Return all of them, in that order; no image is there twice."""
        return [*self.misses, *self.false_alarms, *self.hits]


def read_scored_images(rows: Iterable[Mapping[str, str]]) -> list[ScoredImage]:
    """Return the images of a predictions file in its order; rows without truth are passed over.

    A score that is no number becomes NaN; so does one that is infinite.
    """
    return [
        ScoredImage(
            id=row.get("id") or "",
            path=row.get("path") or "",
            target=row["target"],
            score=number_in(row.get("score")),
            alarm={"1": True, "0": False}.get(row.get("alarm") or ""),
            mask=row.get("mask") or "",
        )
        for row in rows
        if row.get("target") and "score" in row
    ]


def choose_examples(
    images: Sequence[ScoredImage],
    *,
    misses: int = MISSES,
    false_alarms: int = FALSE_ALARMS,
    hits: int = HITS,
) -> Examples:
    """Return the images that tell most: the worst first in each group, ties by id.

    Hits are the anomalous images with the highest scores that raise an alarm (where there is a
    threshold) and are not among the misses. Images without a score are in no group.
    """
    scored = [one for one in images if one.has_score]
    rising = sorted((one for one in scored if not one.is_normal), key=lambda o: (o.score, o.id))
    normal = sorted((one for one in scored if one.is_normal), key=lambda o: (-o.score, o.id))
    lowest = rising[:misses]
    detected = [one for one in rising[misses:] if one.alarm is not False]
    highest = sorted(detected, key=lambda one: (-one.score, one.id))[:hits]
    return Examples(lowest, normal[:false_alarms], highest)


def score_groups(images: Iterable[ScoredImage]) -> dict[str, list[ScoredImage]]:
    """Return the images with a score: the normal ones, then each defect type, most images first.

    More than ``TYPES_UP_TO`` types are one group named ``anomalous``.
    """
    groups: dict[str, list[ScoredImage]] = {}
    for one in images:
        if one.has_score:
            groups.setdefault(one.target, []).append(one)
    normal = {NORMAL: groups.pop(NORMAL)} if NORMAL in groups else {}
    if len(groups) > TYPES_UP_TO:
        return normal | {"anomalous": [one for group in groups.values() for one in group]}
    return normal | dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))
