"""k-reciprocal re-ranking without the table of all pairs: sparse weights, and blocks of queries.

Q queries, G gallery pictures, N = Q + G, D numbers in each vector, B queries of one block. The
method is that of Zhong, Zheng, Cao & Li, Re-ranking Person Re-identification with k-reciprocal
Encoding (CVPR 2017), as its authors' program computes it. That holds several tables (N, N); here
each vector keeps its nearest neighbours, its weights, and its largest distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import DataError
from sightline.metrics.all_neighbours import all_neighbours
from sightline.metrics.classification import Counts, Floats
from sightline.metrics.ranking import RankingSettings, Scores
from sightline.metrics.reciprocal import neighbour_means, reciprocal_sets, set_weights
from sightline.metrics.stacked_vectors import StackedVectors
from sightline.metrics.vectors import Vectors

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix, csr_matrix

_DISTANCE_BYTES = 24
"""For each distance of a block: two terms in float32, and sums in float64."""
_SHARED_BYTES = 64
"""For each gallery picture that shares a neighbour with a query, once for each of those."""


def rerank(
    queries: Vectors,
    gallery: Vectors | None,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    settings: RankingSettings | None = None,
) -> Iterator[tuple[Counts, Scores]]:
    """Return blocks of numbers of queries (B,) in order, and their new distances (B, G) in 0..1.

    The distance is ``(1 - lambda) * jaccard + lambda * original``: the Jaccard distance of the
    k-reciprocal neighbours (sections 3.2 to 3.5 of the paper), and the squared Euclidean distance
    divided by the largest one of the query to any of the N. Vectors are finite, and usually of
    unit length. With ``k1 + 1`` or ``k2`` above N all N are neighbours, as in the authors'
    program. Every picture is its own first neighbour; equal distances are ordered by row.

    Without a gallery the queries are each other's: N = Q = G, so that no picture stands among the
    neighbours twice; each has distances to all, itself too.

    Equal to the dense method in float32 to 1e-5, but where two distances at the end of a list of
    neighbours differ by less than float32 resolves, and either may be the neighbour. Beside the
    vectors it holds some hundred bytes for each of N * k1, ``settings.memory_mib`` for tiles or
    blocks, and as much for the table of original distances (Q, G), which are computed again
    where it does not fit. ``settings.device`` computes the products; ``settings.threads`` is not
    used.

    Raises DataError for k1 or k2 below 1, lambda outside 0..1, and vectors that do not fit.

    >>> import numpy as np
    >>> vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> [(rows, distances)] = rerank(vectors[:1], vectors[1:], k1=1, k2=1)
    >>> (1000 * distances).round().astype(int).tolist()
    [[11, 1000]]
    """
    if min(k1, k2) < 1 or not 0 <= lambda_value <= 1:
        raise DataError(
            "These are no settings of k-reciprocal re-ranking.",
            expected="k1 and k2 of 1 or more, lambda from 0 to 1",
            got=f"k1 {k1}, k2 {k2}, lambda {lambda_value}",
        )
    given = settings or RankingSettings()
    vectors = StackedVectors(queries, gallery, given.device)
    return _reranked(vectors, (k1, k2), lambda_value, given)


def _reranked(
    vectors: StackedVectors,
    sizes: tuple[int, int],
    lambda_value: float,
    settings: RankingSettings,
) -> Iterator[tuple[Counts, Scores]]:
    q, n, first = len(vectors.queries), len(vectors), vectors.first
    if not q:
        return
    k1, k2 = sizes
    memory = settings.memory_mib << 20
    table = np.empty((q, n - first), dtype=np.float32) if 4 * q * (n - first) <= memory else None
    near = all_neighbours(vectors, min(max(k1 + 1, k2), n), settings, table=table)
    # Where all vectors are equal the largest distance is 0.
    near = near._replace(farthest=np.where(near.farthest > 0, near.farthest, np.float32(1)))
    weights = set_weights(reciprocal_sets(near.rows, k1), vectors, near)
    weights = neighbour_means(weights, near.rows[:, :k2])
    asked, held = weights[:q], weights[first:].tocsc()
    scale = (np.float32(lambda_value) / near.farthest[:q])[:, None]
    del near, weights
    for start, stop in _query_blocks(asked, held, memory):
        if table is None:
            distances = vectors.distances((start, stop), (first, n)).cpu().numpy()
        else:
            distances = table[start:stop]
        distances *= scale[start:stop]
        shared = _shared_weight(asked[start:stop], held)
        # Each row of weights sums to one, so the sum of the larger ones is 2 less what is shared.
        jaccard = 1 - shared / (2 - shared)
        distances += ((1 - lambda_value) * jaccard).astype(np.float32)
        yield np.arange(start, stop), distances


def _query_blocks(asked: csr_matrix, held: csc_matrix, memory: int) -> Iterator[tuple[int, int]]:
    """Ranges of queries that fit into the memory, of at least one."""
    members = np.diff(held.indptr)[asked.indices]
    before = np.concatenate([[0], np.cumsum(members, dtype=np.int64)])
    shared = np.diff(before[asked.indptr])
    ends = np.cumsum(shared * _SHARED_BYTES + held.shape[0] * _DISTANCE_BYTES)
    start = 0
    while start < len(ends):
        used = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, used + memory, side="right")))
        yield start, stop
        start = stop


def _shared_weight(asked: csr_matrix, held: csc_matrix) -> Floats:
    """The sum over neighbours of the smaller weight, of each query and gallery picture, (B, G).

    Only pictures that share a neighbour are touched, which the columns of `held` list.
    """
    b, g = asked.shape[0], held.shape[0]
    counts = np.diff(held.indptr)[asked.indices]
    places = np.arange(int(counts.sum()))
    places += np.repeat(held.indptr[asked.indices] - (np.cumsum(counts) - counts), counts)
    smaller = np.minimum(held.data[places], np.repeat(asked.data, counts))
    queries = np.repeat(np.arange(b), np.diff(asked.indptr))
    cells = np.repeat(queries * g, counts) + held.indices[places]
    sums = np.bincount(cells, weights=smaller, minlength=b * g).reshape(b, g)
    # Equal rows share all but for rounding, and nothing shares more.
    return np.minimum(sums, 1.0)
