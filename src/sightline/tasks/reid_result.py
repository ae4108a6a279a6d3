"""The evaluation of re-identification: scores with intervals, and what was found for each query.

Q queries, N gallery pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.metrics.intervals import Estimate
from sightline.metrics.reid import ReidScores
from sightline.tasks.reid_evidence import Evidence
from sightline.tasks.reid_judging import Judged

Way = Literal["plain", "reranked", "expanded"]
"""How a gallery is ranked: by distance, by k-reciprocal re-ranking, or for expanded queries."""


class Row(NamedTuple):
    """The scores of one feature, ranked in one way."""

    feature: str
    way: Way
    scores: dict[str, Estimate]


@dataclass(frozen=True)
class ReidResult:
    """Every score of a split; rows are its queries."""

    judged: Judged
    scores: ReidScores
    """Of the feature that answers, ranked by distance."""
    table: list[Row]
    cmc: dict[str, npt.NDArray[np.float64]]
    """Of each feature and way, (50,) NaN beyond the gallery."""
    feature: str
    evidence: Evidence
    hardest: list[dict[str, Any]]
    camera_pairs: dict[str, Any] = field(default_factory=dict)
    distances: dict[str, Any] = field(default_factory=dict)

    @property
    def headline(self) -> dict[str, Estimate]:
        """The scores of the feature that answers, ranked by distance."""
        return self._of(self.feature, "plain")

    @property
    def more(self) -> dict[str, Estimate]:
        """The same after re-ranking and with expanded queries, where these were asked for."""
        return {
            f"{name}_{way}": one
            for way in ("reranked", "expanded")
            for name, one in self._of(self.feature, way).items()
        }

    def as_dict(self) -> dict[str, Any]:
        """Every score as plain data."""
        protocol, scores = self.judged.protocol, self.scores
        names, held = self.judged.samples.label.names, self.judged.labels[1]
        return {
            "n": int(scores.matched.sum()),
            "feature": self.feature,
            "headline": {name: one.as_dict() for name, one in self.headline.items()},
            "more": {name: one.as_dict() for name, one in self.more.items()},
            "table": [
                {
                    "feature": row.feature,
                    "way": row.way,
                    **{name: one.as_dict() for name, one in row.scores.items()},
                }
                for row in self.table
            ],
            "cmc": {name: _plain(values) for name, values in self.cmc.items()},
            "undefined": {str(rank): why for rank, why in scores.undefined.items()},
            "protocol": {
                "said": protocol.said,
                "own_gallery": protocol.own_gallery,
                "same_camera": "filter" if protocol.filters_camera else "keep",
                "queries": len(protocol.queries),
                "unmatched": scores.unmatched,
                "gallery": len(protocol.gallery),
                "identities": len(np.unique(self.judged.labels[0])),
                "gallery_identities": len(np.unique(held[held >= 0])),
                "cameras": self.judged.cameras,
            },
            "hardest": self.hardest,
            "camera_pairs": self.camera_pairs,
            "distances": self.distances,
            "class_names": [str(names[code]) for code in np.unique(self.judged.labels[0])],
        }

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and one row per query: who it is, how it was found, and its nearest."""
        samples, scores = self.judged.samples, self.scores
        columns = ["id", "identity", "camera", "first_rank", "matches"]
        columns += ["average_precision", "inverse_penalty"]
        table = [
            [
                str(samples.id[row]),
                samples.label.text(row),
                samples.camera.text(row),
                int(scores.first_rank[place]),
                int(scores.relevant[place]),
                _rounded(scores.average_precision[place]),
                _rounded(scores.inverse_penalty[place]),
                *self.evidence.row(place),
            ]
            for place, row in enumerate(self.judged.protocol.queries.tolist())
        ]
        return [*columns, *self.evidence.columns()], table

    def summary(self) -> list[str]:
        """One line for each score of the headline, and one for each after re-ranking."""
        lines = [f"{name} {one}" for name, one in self.headline.items()]
        lines += [f"{name} {self.more[name]}" for name in _SAID if name in self.more]
        if self.scores.unmatched:
            lines.append(f"{self.scores.unmatched} queries have no match and are not counted")
        return [*lines, *(f"rank_{k} is undefined: {w}" for k, w in self.scores.undefined.items())]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Nothing: the rows hold everything."""
        return {}

    def _of(self, feature: str, way: str) -> dict[str, Estimate]:
        for row in self.table:
            if (row.feature, row.way) == (feature, way):
                return row.scores
        return {}


_SAID = ("map_reranked", "rank_1_reranked", "map_expanded", "rank_1_expanded")


def _rounded(value: float) -> float | str:
    return round(float(value), 6) if np.isfinite(value) else ""


def _plain(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [float(one) if np.isfinite(one) else None for one in values]
