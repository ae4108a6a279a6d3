"""True distances of candidates that an engine chose, and the best of them.

Q queries, D numbers each, C candidates of each query, k neighbours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sightline.search.index import Array
from sightline.search.neighbours import (
    Metric,
    Neighbours,
    check_finite,
    check_shapes,
    distances_of,
)

_MARGIN = 2
"""Times k that are kept of the first, rounded ordering for the second, exact one."""
_WIDTH = 4 + 8 * 5
"""Bytes for each number of a candidate: as float32, and in distances_of as float64."""


def require_searchable(queries: Array, gallery: tuple[int, int], k: int) -> Array:
    """The queries as contiguous float32; DataError where they or k do not fit the gallery."""
    found = np.ascontiguousarray(queries, dtype=np.float32)
    check_shapes(found.shape, gallery, k)
    check_finite(torch.from_numpy(found), "queries")
    return found


def queries_at_once(candidates: int, dimension: int, memory_mib: int) -> int:
    """How many queries with so many candidates are compared in the memory."""
    return max(1, memory_mib * 2**20 // (_WIDTH * candidates * dimension))


def best_of(
    queries: Array, embeddings: Array, candidates: npt.NDArray[np.int64], k: int, *, metric: Metric
) -> Neighbours:
    """The k nearest of the candidates (Q, C) of each query, as the exact engine orders them.

    A candidate -1 is none. Where a query has fewer than k, the last rows are -1 and their
    distances infinite.
    """
    if candidates.shape[1] > _MARGIN * k:
        candidates = _promising(queries, embeddings, candidates, _MARGIN * k, metric)
    count = candidates.shape[1]
    vectors = torch.from_numpy(np.asarray(embeddings[candidates.ravel()]))
    asked = torch.from_numpy(queries).repeat_interleave(count, dim=0)
    distances = distances_of(asked, vectors, metric).numpy().reshape(candidates.shape)
    distances[candidates < 0] = np.inf
    order = np.lexsort((candidates, distances), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(candidates, order, axis=1)
    )


def unit_length(vectors: Array) -> Array:
    """The vectors at length 1; a zero vector stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1)[:, None], np.float32)


def _promising(
    queries: Array,
    embeddings: Array,
    candidates: npt.NDArray[np.int64],
    count: int,
    metric: Metric,
) -> npt.NDArray[np.int64]:
    """So many candidates of each query, by scores in float32; larger is nearer."""
    vectors = np.asarray(embeddings[candidates])
    scores = np.matmul(vectors, queries[:, :, None])[:, :, 0]
    if metric != "dot":
        squares = np.einsum("qcd,qcd->qc", vectors, vectors)
        # The query's own length changes nothing in the order of its candidates.
        scores = (
            scores - squares / 2
            if metric == "euclidean"
            else scores / np.sqrt(np.where(squares > 0, squares, 1))
        )
    scores[candidates < 0] = -np.inf
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    return np.take_along_axis(candidates, best, axis=1)
