"""The curves and tables that a re-identification result holds, read into plain data.

C cameras, E bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.reports.anomaly_words import mapping
from sightline.reports.cells import finite_or_none
from sightline.reports.reid_words import answering_feature, way_title

PAIRS = {
    "other_camera": "one identity, other camera",
    "same_camera": "one identity, same camera",
    "other_identity": "other identities",
}
"""Kind of pair -> what it is called."""


@dataclass(frozen=True, slots=True)
class CameraPairs:
    """Scores of the queries of one camera (rows) among the pictures of another (columns), (C, C).

    None where no query has a match.
    """

    cameras: list[str]
    rank_1: list[list[float | None]]
    average_precision: list[list[float | None]]
    queries: list[list[int]]

    def columns(self) -> dict[str, list[Any]]:
        """Return the pairs as a long table, in the order of the rows."""
        places = [(a, b) for a in range(len(self.cameras)) for b in range(len(self.cameras))]
        return {
            "query_camera": [self.cameras[a] for a, _ in places],
            "gallery_camera": [self.cameras[b] for _, b in places],
            "queries": [self.queries[a][b] for a, b in places],
            "rank_1": [self.rank_1[a][b] for a, b in places],
            "map": [self.average_precision[a][b] for a, b in places],
        }


@dataclass(frozen=True, slots=True)
class PairDistances:
    """How many pairs of pictures lie in each bin of distance, by kind; only kinds with pairs."""

    edges: list[float]
    """(E + 1,)"""
    counts: dict[str, list[int]]
    """Kind -> (E,)"""

    def columns(self) -> dict[str, list[Any]]:
        """Return a row for each bin: its edges, and the pairs of each kind."""
        return {"low": self.edges[:-1], "high": self.edges[1:], **self.counts}

    def median(self, kind: str) -> float | None:
        """Return the distance that half of the pairs of a kind lie below; None without pairs."""
        counts = self.counts.get(kind)
        if not counts:
            return None
        half, before = sum(counts) / 2, 0
        for place, count in enumerate(counts):
            if count and before + count >= half:
                low, high = self.edges[place : place + 2]
                return low + (high - low) * (half - before) / count
            before += count
        return None

    def share_below(self, kind: str, distance: float) -> float | None:
        """Return the share of the pairs of a kind that are nearer; None without pairs.

        Within a bin pairs are taken to lie evenly.
        """
        counts = self.counts.get(kind)
        if not counts:
            return None
        nearer = 0.0
        for place, count in enumerate(counts):
            low, high = self.edges[place : place + 2]
            nearer += count * min(max((distance - low) / (high - low), 0.0), 1.0)
        return nearer / sum(counts)


def read_cmc(result: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return the CMC curves of the feature that answers by way of ranking, all of one length.

    The values are those at rank 1, 2, ...; None beyond the gallery.
    """
    feature, curves = answering_feature(result), mapping(result.get("cmc"))
    found = {}
    for name, values in curves.items():
        of, _, way = str(name).partition("_")
        if of == feature and isinstance(values, Sequence):
            told = [finite_or_none(one) for one in values]
            if any(one is not None for one in told):
                found[way_title(way)] = told
    longest = max((len(one) for one in found.values()), default=0)
    return {name: one + [None] * (longest - len(one)) for name, one in found.items()}


def read_camera_pairs(result: Mapping[str, Any]) -> CameraPairs | None:
    """Return the scores by pairs of cameras; None where there are none or in another form."""
    content = mapping(result.get("camera_pairs"))
    cameras = [str(one) for one in content.get("cameras") or []]
    rank_1, precision, queries = (
        _square(content.get(name), len(cameras)) for name in ("rank_1", "map", "queries")
    )
    if not cameras or rank_1 is None or precision is None or queries is None:
        return None
    counts = [[int(one or 0) for one in row] for row in queries]
    return CameraPairs(cameras, rank_1, precision, counts)


def read_pair_distances(result: Mapping[str, Any]) -> PairDistances | None:
    """Return the histograms of distances; None where there are none or in another form."""
    content = mapping(result.get("distances"))
    edges = [float(one) for one in content.get("edges") or [] if finite_or_none(one) is not None]
    counts = {}
    for kind in PAIRS:
        given = content.get(kind) or []
        if len(given) == len(edges) - 1 and any(given):
            counts[kind] = [int(one) for one in given]
    return PairDistances(edges, counts) if counts else None


def filled_bins(found: PairDistances) -> tuple[int, int]:
    """Return the first and one past the last bin that holds a pair of any kind."""
    filled = [any(row) for row in zip(*found.counts.values(), strict=True)]
    first = filled.index(True)
    return first, len(filled) - filled[::-1].index(True)


def _square(table: Any, size: int) -> list[list[float | None]] | None:
    """The numbers of a table of so many rows and columns; None for another form."""
    rows = table if isinstance(table, list) else []
    if len(rows) != size or not all(isinstance(row, list) and len(row) == size for row in rows):
        return None
    return [[finite_or_none(one) for one in row] for row in rows]
