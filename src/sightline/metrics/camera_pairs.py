"""Re-identification looked at more closely: scores by pairs of cameras, distances by kind of pair.

Q queries, N gallery pictures, D numbers in each vector, C cameras, E bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.errors import DataError
from sightline.metrics.classification import Counts, Floats
from sightline.metrics.ranking import RankingSettings, Scores, rank_relevant, scored_blocks
from sightline.metrics.retrieval import average_precision, first_ranks
from sightline.metrics.same_camera import CameraRule
from sightline.metrics.same_code import same_code
from sightline.metrics.vectors import Vectors, check_vectors

_FARTHEST = 2.0
"""Euclidean distance of opposite unit vectors."""
_UNIT = 1e-3
"""How far the length of a vector that counts as a unit vector may be from 1."""
_PAIR_BYTES = 32
"""For each pair of a block: its score, its distance, and the number of its bin."""


@dataclass(frozen=True)
class CameraPairScores:
    """Scores (C, C) of the queries of one camera among the gallery pictures of another.

    Rows are the cameras of queries, columns those of the gallery; NaN where no query has a match.
    """

    cameras: Counts
    """(C,) by the number of their pictures, the most first."""
    rank_1: Floats
    average_precision: Floats
    queries: Counts
    """Queries with a match, over which the scores are means."""


@dataclass(frozen=True)
class DistanceHistograms:
    """How many pairs of a query and a gallery picture, (E,) by their Euclidean distance."""

    edges: Floats
    """(E + 1,) from 0 to 2."""
    other_camera: Counts
    """Pairs of one identity by two cameras, or by cameras that are not known."""
    same_camera: Counts
    """Pairs of one identity by one camera."""
    other_identity: Counts


def camera_pair_scores(
    queries: Vectors,
    gallery: Vectors,
    protocol: CameraRule,
    *,
    most: int = 12,
    settings: RankingSettings | None = None,
) -> CameraPairScores:
    """Return rank-1 and mAP between the cameras that took the most pictures, `most` at most.

    Queries (Q, D) of camera a are ranked among the gallery pictures (N, D) of camera b alone, as
    by ``reid_scores``. On the diagonal nothing is left to find where the protocol filters by
    camera. Raises DataError where the protocol has no cameras.
    """
    asked, held = _cameras(protocol)
    both = np.concatenate([asked, held])
    names, counts = np.unique(both[both >= 0], return_counts=True)
    names = names[np.argsort(-counts, kind="stable")][:most]
    shape = len(names), len(names)
    rank_1, precision = np.full(shape, np.nan), np.full(shape, np.nan)
    found_by = np.zeros(shape, dtype=np.int64)
    rows = np.flatnonzero(np.isin(asked, names))
    some = queries[rows]
    for b, camera in enumerate(names.tolist()):
        among = np.flatnonzero(held == camera)
        if not len(among) or not len(rows):
            continue
        codes = protocol.exclude
        blocks = list(
            rank_relevant(
                some,
                gallery[among],
                query_labels=protocol.query_labels[rows],
                gallery_labels=protocol.gallery_labels[among],
                exclude=(codes[0][rows], codes[1][among]),
                settings=settings,
            )
        )
        first = np.concatenate([first_ranks(block) for block in blocks])
        precisions = np.concatenate([average_precision(block) for block in blocks])
        for a, other in enumerate(names.tolist()):
            of = (asked[rows] == other) & (first > 0)
            found_by[a, b] = of.sum()
            if of.any():
                rank_1[a, b], precision[a, b] = (first[of] == 1).mean(), precisions[of].mean()
    return CameraPairScores(names, rank_1, precision, found_by)


def distance_histograms(
    queries: Vectors,
    gallery: Vectors,
    protocol: CameraRule,
    *,
    bins: int = 100,
    settings: RankingSettings | None = None,
) -> DistanceHistograms:
    """Return how far apart pairs of unit vectors (Q, D) and (N, D) are, by kind of pair.

    Bins are of equal width from 0 to 2, and hold their lower edge. A query and its own picture
    are no pair. Raises DataError for vectors that are not of unit length.
    """
    given = settings or RankingSettings()
    check_vectors(queries, gallery)
    for vectors, name in ((queries, "queries"), (gallery, "gallery")):
        _check_unit(vectors, name)
    asked, held = protocol.cameras or (np.full(len(queries), -1), np.full(len(gallery), -1))
    own = np.full(len(queries), -1) if protocol.query_rows is None else protocol.query_rows
    same = same_code(protocol.query_labels, protocol.gallery_labels)
    every, other, one = (np.zeros(bins, dtype=np.int64) for _ in range(3))
    size = max(1, (given.memory_mib << 20) // (_PAIR_BYTES * len(gallery)))
    blocks = [np.arange(at, min(at + size, len(queries))) for at in range(0, len(queries), size)]
    for block, scores in scored_blocks(blocks, queries, gallery, given.device):
        places = _bins(scores, bins)
        every += np.bincount(places.reshape(-1), minlength=bins)
        for query, row in zip(block.tolist(), places, strict=True):
            members = same.of(query)
            if own[query] >= 0:
                members = members[members != own[query]]
                every[row[own[query]]] -= 1
            by_one = (held[members] == asked[query]) & (asked[query] >= 0)
            one += np.bincount(row[members[by_one]], minlength=bins)
            other += np.bincount(row[members[~by_one]], minlength=bins)
    return DistanceHistograms(np.linspace(0, _FARTHEST, bins + 1), other, one, every - other - one)


def _cameras(protocol: CameraRule) -> tuple[Counts, Counts]:
    if protocol.cameras is None:
        raise DataError(
            "There are no pairs of cameras: the pictures have none.",
            expected="a protocol with the camera of each picture",
            got="none",
        )
    return protocol.cameras


def _bins(scores: Scores, bins: int) -> Counts:
    """The bin of each pair, by its dot product, (B, N)."""
    distances = np.sqrt(np.maximum(2 - 2 * scores, 0))
    distances *= bins / _FARTHEST
    return np.minimum(distances.astype(np.int64), bins - 1)


def _check_unit(vectors: Vectors, name: str) -> None:
    for at in range(0, len(vectors), 8192):
        piece = np.asarray(vectors[at : at + 8192], dtype=np.float64)
        lengths = np.linalg.norm(piece, axis=1)
        bad = np.flatnonzero(np.abs(lengths - 1) > _UNIT)
        if len(bad):
            raise DataError(
                f"The {name} are no unit vectors, so their distances have no fixed range.",
                expected="length 1",
                got=f"length {lengths[bad[0]]:.4g}",
                where=f"row {at + bad[0]}",
                remedy="divide each vector by its length first",
            )
