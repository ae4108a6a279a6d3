"""Pictures of the numbers of Market-1501 for every contestant: vectors, identities, cameras.

3,368 queries of 750 identities; 15,913 gallery pictures, 2,798 of them of no identity; 6 cameras.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from retrieval_metrics_vectors import clustered

_IDENTITIES, _CAMERAS = 750, 6
_DISTRACTORS = 2798 / 15913


class Side(NamedTuple):
    """Queries or gallery: unit vectors (N, D) float32, identities and cameras (N,) int64."""

    vectors: np.ndarray
    labels: np.ndarray
    cameras: np.ndarray


def market(queries: int, gallery: int, size: int) -> tuple[Side, Side]:
    """Queries and gallery pictures; about half of the nearest neighbours are right."""
    sides = []
    for count, seed in ((queries, 1), (gallery, 2)):
        vectors, labels = clustered(count, size, _IDENTITIES, seed)
        cameras = np.random.default_rng(seed + 10).integers(0, _CAMERAS, count)
        sides.append(Side(vectors, labels.astype(np.int64), cameras))
    sides[1].labels[: int(gallery * _DISTRACTORS)] = -1
    return sides[0], sides[1]


def distances(queries: Side, gallery: Side) -> np.ndarray:
    """Squared Euclidean distances (Q, N) float32."""
    table = queries.vectors @ gallery.vectors.T
    table *= -2
    table += 2
    return table
