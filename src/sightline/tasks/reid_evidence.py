"""The nearest gallery pictures of each query, and whether they are right.

Q queries, N gallery pictures, D embedding size, K pictures that are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sightline.search import nearest
from sightline.tasks.reid_judging import Floats, Judged

Mark = Literal["right", "wrong", "junk"]
"""Of the query's identity, of another, or left out of the ranking by the camera rule."""
_CELLS = ("", "_label", "_camera", "_distance", "_mark")


@dataclass(frozen=True)
class Shown:
    """One gallery picture beside a query."""

    id: str
    identity: str
    camera: str
    distance: float
    mark: Mark


@dataclass(frozen=True)
class Evidence:
    """What is nearest to each query, the nearest first, (Q) lists of at most K."""

    nearest: list[list[Shown]]

    def columns(self) -> list[str]:
        """Names of the cells of each picture that is shown."""
        most = max((len(one) for one in self.nearest), default=0)
        return [f"nearest_{place}{cell}" for place in range(1, most + 1) for cell in _CELLS]

    def row(self, place: int) -> list[Any]:
        """The cells of one query, filled up with nothing."""
        cells: list[Any] = []
        for one in self.nearest[place]:
            cells += [one.id, one.identity, one.camera, round(one.distance, 6), one.mark]
        return cells + [""] * (len(self.columns()) - len(cells))


def find_evidence(judged: Judged, queries: Floats, gallery: Floats, *, count: int) -> Evidence:
    """The `count` pictures of the gallery (N, D) that are nearest to each query (Q, D).

    A query's own picture is left out; what the camera rule drops is shown as junk.
    """
    found = nearest(queries, gallery, min(count + 1, len(gallery)), metric="euclidean")
    own = judged.rule.query_rows
    assert own is not None
    return Evidence(
        [
            [
                _shown(judged, place, row, distance)
                for row, distance in zip(rows, distances, strict=True)
                if row != own[place]
            ][:count]
            for place, (rows, distances) in enumerate(
                zip(found.rows.tolist(), found.distances.tolist(), strict=True)
            )
        ]
    )


def _shown(judged: Judged, place: int, row: int, distance: float) -> Shown:
    samples, at = judged.samples, int(judged.protocol.gallery[row])
    return Shown(
        id=str(samples.id[at]),
        identity=samples.label.text(at),
        camera=samples.camera.text(at),
        distance=float(distance),
        mark=_mark(judged, place, row),
    )


def _mark(judged: Judged, place: int, row: int) -> Mark:
    asks, held = judged.rule.exclude
    if asks[place] >= 0 and asks[place] == held[row]:
        return "junk"
    asked, shown = judged.labels
    return "right" if asked[place] == shown[row] else "wrong"
