"""Query expansion: each query moves towards the gallery pictures that are nearest to it.

Q queries, N gallery pictures, D numbers in each vector, B queries of one block, k neighbours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.ranking import RankingSettings, Scores, scored_blocks
from sightline.metrics.vectors import Vectors, check_vectors, whole_numbers

_PIECE = 8192
"""Rows whose lengths are found together."""


def expand_queries(
    queries: Vectors,
    gallery: Vectors,
    *,
    k: int,
    alpha: float = 3.0,
    query_rows: npt.ArrayLike | None = None,
    settings: RankingSettings | None = None,
) -> Scores:
    """Return queries (Q, D) as unit vectors: the sum of each and its k nearest of (N, D), weighted.

    All vectors are divided by their length first. A neighbour weighs its cosine to the query to
    the power of ``alpha``, the query itself 1: alpha-QE of Radenovic, Tolias & Chum, Fine-tuning
    CNN Image Retrieval with No Human Annotation (2018). ``alpha`` 0 is the average query
    expansion of Chum et al., Total Recall (2007). A neighbour whose cosine is not above 0 weighs
    nothing. No label is looked at.

    ``query_rows`` (Q,) holds the gallery row that is the query's own picture, -1 for none; it is
    no neighbour. Raises DataError for fewer than k neighbours, alpha below 0, and vectors that do
    not fit, are not finite or of length 0.

    >>> import numpy as np
    >>> gallery = np.array([[0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    >>> found = expand_queries(np.array([[2.0, 0.0]]), gallery, k=1, alpha=0.0)
    >>> (1000 * found).round().astype(int).tolist()
    [[894, 447]]
    """
    given = settings or RankingSettings()
    check_vectors(queries, gallery)
    own = np.full(len(queries), -1)
    if query_rows is not None:
        own = whole_numbers(query_rows, len(queries))
    _check(k, alpha, own, len(gallery))
    lengths = _lengths(gallery, "gallery")
    units = np.asarray(queries, dtype=np.float32) / _lengths(queries, "queries")[:, None]
    expanded = np.empty_like(units)
    size = max(1, (given.memory_mib << 20) // (4 * len(gallery)))
    blocks = [np.arange(at, min(at + size, len(units))) for at in range(0, len(units), size)]
    for block, scores in scored_blocks(blocks, units, gallery, given.device):
        for query, row in zip(block.tolist(), scores, strict=True):
            cosines = row / lengths
            if own[query] >= 0:
                cosines[own[query]] = -np.inf
            near = np.argpartition(cosines, len(cosines) - k)[len(cosines) - k :]
            weights = np.where(cosines[near] > 0, np.maximum(cosines[near], 0) ** alpha, 0)
            found = np.asarray(gallery[near], dtype=np.float32)
            expanded[query] = units[query] + (weights / lengths[near]) @ found
    expanded /= np.linalg.norm(expanded, axis=1, keepdims=True)
    return expanded


def _check(k: int, alpha: float, own: npt.NDArray[np.int64], n: int) -> None:
    if not 0 <= alpha < np.inf:
        raise DataError("The weights have no such power.", expected="alpha >= 0", got=alpha)
    if len(own) and not -1 <= own.min() <= own.max() < n:
        raise DataError(
            "A query's own row is not in the gallery.",
            expected=f"-1 to {n - 1}",
            got=f"{own.min()} to {own.max()}",
        )
    most = n - 1 if (own >= 0).any() else n
    if not 1 <= k <= most:
        raise DataError("A query has no such number of neighbours.", expected=f"1 to {most}", got=k)


def _lengths(vectors: Vectors, name: str) -> Scores:
    lengths = np.empty(len(vectors), dtype=np.float32)
    for at in range(0, len(vectors), _PIECE):
        piece = np.asarray(vectors[at : at + _PIECE], dtype=np.float64)
        lengths[at : at + len(piece)] = np.sqrt(np.einsum("nd,nd->n", piece, piece))
    zero = np.flatnonzero(lengths == 0)
    if len(zero):
        raise DataError(
            f"The {name} hold a vector of length 0, which has no direction.",
            expected="a length above 0",
            where=f"row {zero[0]}",
        )
    return lengths
