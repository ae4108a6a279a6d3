"""Distances of queries to a pool in float64, some queries at a time.

Q queries, N vectors of the pool, D numbers each, k chosen rows of the pool for each query.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats
from sightline.metrics.vectors import Vectors, whole_numbers

Metric = Literal["cosine", "euclidean", "dot"]
Rows = npt.NDArray[np.int64]

_CANCELLED = 1e-6
"""Squared distances below this share of the squared lengths are measured from the difference."""
_PAIRS_AT_ONCE = 4096
_CELL_BYTES = 64
"""For each distance of a block: itself, its square, ranks and masks of them."""


@dataclass(frozen=True, eq=False)
class Space:
    """Queries (Q, D) and the pool (N, D) they are compared with, and what far means there.

    cosine: 1 - cos; euclidean: length of the difference; dot: minus the product. Numbers are
    float16 or float32; float64 is rounded to float32, as the search does.
    """

    queries: Vectors
    pool: Vectors
    metric: Metric = "euclidean"

    def __post_init__(self) -> None:
        """Raise DataError for shapes that do not fit and for a metric that does not exist."""
        shapes = [np.shape(one) for one in (self.queries, self.pool)]
        if any(len(one) != 2 for one in shapes) or shapes[0][1] != shapes[1][1] or not shapes[1][0]:
            raise DataError(
                "Queries and pool do not fit together.",
                expected="queries (Q, D) and a pool (N, D) of at least one row",
                got=f"shapes {shapes[0]} and {shapes[1]}",
            )
        if self.metric not in ("cosine", "euclidean", "dot"):
            raise DataError(
                "There is no such metric.", expected="cosine, euclidean, dot", got=self.metric
            )


def row_distances(space: Space, rows: npt.ArrayLike, *, memory_mib: int = 64) -> Floats:
    """Return the distance of each query to its own rows of the pool (Q, k), as (Q, k).

    A negative row stands for no neighbour and is infinitely far. Computed in float64 from the
    difference, so an exact copy is at distance 0. Copies `memory_mib` MiB of vectors at a time.

    >>> space = Space(np.float32([[0, 0]]), np.float32([[3, 4], [0, 1]]))
    >>> row_distances(space, [[1, 0, -1]]).tolist()
    [[1.0, 5.0, inf]]
    """
    chosen = checked_rows(rows, space)
    distances = np.full(chosen.shape, np.inf)
    queries, places = np.nonzero(chosen >= 0)
    size = max(1, (memory_mib << 20) // (32 * max(1, space.pool.shape[1])))
    for start in range(0, len(queries), size):
        part = slice(start, start + size)
        at = queries[part], places[part]
        distances[at] = _of_pairs(space, queries[part], chosen[at])
    return distances


def distances_in_blocks(space: Space, *, memory_mib: int = 256) -> Iterator[tuple[slice, Floats]]:
    """Yield some queries as a slice and their distances to the whole pool, (B, N) in float64.

    Those that nearly cancel are measured from the difference, as in ``row_distances``. All the
    work on a block takes about `memory_mib` MiB, and never less than one query's. Raises DataError
    for vectors that are not finite.
    """
    n, width = space.pool.shape
    size = max(1, min(1024, (memory_mib << 20) // 2 // (_CELL_BYTES * n)))
    step = max(1, (memory_mib << 20) // 4 // (16 * max(1, width)))
    for start in range(0, len(space.queries), size):
        part = slice(start, min(start + size, len(space.queries)))
        block = np.empty((part.stop - part.start, n))
        for first in range(0, n, step):
            columns = slice(first, min(first + step, n))
            block[:, columns] = _tile(space, part, columns)
        if not np.isfinite(block).all():
            query, row = np.argwhere(~np.isfinite(block))[0]
            raise DataError(
                "A distance is not finite.",
                expected="vectors of finite numbers",
                where=f"between query {part.start + query} and row {row} of the pool",
            )
        yield part, block


def checked_rows(rows: npt.ArrayLike, space: Space) -> Rows:
    """Return rows of the pool for each query as (Q, k) int64, or raise a DataError."""
    chosen = np.asarray(rows)
    fits = chosen.ndim == 2 and len(chosen) == len(space.queries)
    if not fits or (chosen.size and not np.issubdtype(chosen.dtype, np.integer)):
        raise DataError(
            "Neighbours and queries do not belong together.",
            expected=f"whole numbers of shape ({len(space.queries)}, k)",
            got=f"{chosen.dtype} of shape {chosen.shape}",
        )
    if int(chosen.max(initial=-1)) >= len(space.pool):
        raise DataError(
            "A neighbour is not in the pool.",
            expected=f"rows below {len(space.pool)}",
            got=int(chosen.max()),
            where=f"query {int((chosen >= len(space.pool)).any(axis=1).argmax())}",
        )
    return chosen.astype(np.int64)


def checked_self_rows(self_rows: npt.ArrayLike | None, space: Space) -> Rows:
    """Return the row of each query in the pool, (Q,) int64, -1 where it is not in it.

    None: no query is. Raises DataError for rows that the pool does not have.
    """
    if self_rows is None:
        return np.full(len(space.queries), -1, dtype=np.int64)
    own = whole_numbers(self_rows, len(space.queries))
    if len(own) and not -1 <= own.min() <= own.max() < len(space.pool):
        raise DataError(
            "A query's own row is not in the pool.",
            expected=f"-1, or 0 to {len(space.pool) - 1}",
            got=f"{own.min()} to {own.max()}",
        )
    return own


def _tile(space: Space, part: slice, columns: slice) -> Floats:
    queries, pool = _ready(space, space.queries[part]), _ready(space, space.pool[columns])
    if space.metric == "dot":
        return np.asarray(-(queries @ pool.T))
    # Seen from one of them: far from the origin everything would cancel.
    queries, pool = queries - pool[0], pool - pool[0]
    scale = np.einsum("qd,qd->q", queries, queries)[:, None] + np.einsum("nd,nd->n", pool, pool)
    squared = scale - 2 * (queries @ pool.T)
    near = np.argwhere(squared < _CANCELLED * scale)
    found = np.maximum(squared, 0.0)
    found = np.sqrt(found, out=found) if space.metric == "euclidean" else found
    if space.metric == "cosine":
        empty = [~np.any(one, axis=1) for one in (space.queries[part], space.pool[columns])]
        found = (found + empty[0][:, None] + empty[1]) / 2
    for start in range(0, len(near), _PAIRS_AT_ONCE):
        left, right = near[start : start + _PAIRS_AT_ONCE].T
        found[left, right] = _of_pairs(space, left + part.start, right + columns.start)
    return np.asarray(found)


def _of_pairs(space: Space, queries: Rows, rows: Rows) -> Floats:
    """Distance of each query to the row in the same place, (P,)."""
    left, right = _ready(space, space.queries[queries]), _ready(space, space.pool[rows])
    if space.metric == "dot":
        return np.asarray(-np.einsum("pd,pd->p", left, right))
    difference = left - right
    squared = np.einsum("pd,pd->p", difference, difference)
    if space.metric == "euclidean":
        return np.asarray(np.sqrt(squared))
    # A vector of zeros has no direction: its cosine with anything is 0.
    without = (~left.any(axis=1)).astype(np.float64) + ~right.any(axis=1)
    return np.asarray((squared + without) / 2)


def _ready(space: Space, vectors: npt.NDArray[Any]) -> Floats:
    """Float64 numbers of float32 vectors, as unit vectors for cosine; zeros stay zeros."""
    values = np.asarray(vectors, dtype=np.float32).astype(np.float64)
    if space.metric == "cosine":
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        values /= np.where(lengths > 0, lengths, 1.0)
    return values
