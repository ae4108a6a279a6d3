"""At which ranks the relevant gallery items of each query stand: exact, block by block.

Q queries, N gallery items, D numbers in each vector, B queries of one block, M relevant items of
a block. The whole table of scores (Q, N) is never held: a block of queries meets the whole
gallery, its scores become ranks, and only the ranks of relevant items are kept. Every score of
retrieval and re-identification follows from them (``retrieval``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts
from sightline.metrics.same_code import Members, relevant_and_out
from sightline.metrics.vectors import Vectors, check_vectors

if TYPE_CHECKING:
    from torch import Tensor

Scores = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.int32]

_PIECE_BYTES = 64 << 20
"""Of gallery rows in float32 that are scored, and where needed converted, at once."""
_RANK_BYTES = 64
"""For each rank of a block: itself, and the columns of numbers that scores make of it."""
_COUNTED = 48
"""Up to so many relevant items, counting rivals once for each is faster than sorting the row."""
_FEW = 16
"""Rivals are picked out before sorting where they are at most one in so many of the row."""


class RankBlock(NamedTuple):
    """Ranks of the relevant items of B queries, ascending within a query.

    Those of query ``queries[b]`` are ``ranks[offsets[b]:offsets[b + 1]]``, counted from 1 among
    the ``ranked[b]`` gallery items that were not left out for it; none where nothing is relevant.
    """

    queries: Counts
    """(B,) numbers of the queries."""
    ranks: Ranks
    """(M,)"""
    offsets: Counts
    """(B + 1,)"""
    ranked: Counts
    """(B,)"""


@dataclass(frozen=True, slots=True)
class RankingSettings:
    """What a ranking may use; its results do not depend on it but for rounding."""

    memory_mib: int = 256
    """For the scores and ranks of one block; at least one query is scored at once."""
    device: str = "cpu"
    """Where scores are computed; they are ranked on the CPU."""
    threads: int | None = None
    """That rank; None: as many as PyTorch uses."""


def rank_relevant(
    queries: Vectors,
    gallery: Vectors,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    exclude: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    settings: RankingSettings | None = None,
) -> Iterator[RankBlock]:
    """Return blocks of the ranks of all gallery items with the query's label, in query order.

    ``queries`` (Q, D) and ``gallery`` (N, D) are finite; an array on disk stays there. The score
    is the float32 dot product, larger is nearer: normalise first for the cosine. Labels are whole
    numbers. ``exclude`` holds codes of the queries (Q,) and of the gallery (N,): items with the
    query's code, where that is 0 or more, are left out of its ranking altogether, for example the
    query itself, or pictures of the same person by the same camera.

    Ties count against the model: an irrelevant item stands before a relevant one with an equal
    score, so equal vectors for everything score worse than chance and never 1. Equal vectors have
    equal scores but for the rounding of the matrix product, which may depend on their place.

    >>> import numpy as np
    >>> one = rank_relevant(
    ...     np.array([[1.0, 0.0]]),
    ...     np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]]),
    ...     query_labels=[5],
    ...     gallery_labels=[5, 7, 5],
    ... )
    >>> [block.ranks.tolist() for block in one]
    [[2, 3]]
    """
    given = settings or RankingSettings()
    check_vectors(queries, gallery)
    sizes = len(queries), len(gallery)
    relevant, out = relevant_and_out(sizes, query_labels, gallery_labels, exclude)
    most = int((relevant.ends - relevant.starts).max(initial=0))
    size = max(1, (given.memory_mib << 20) // (4 * len(gallery) + _RANK_BYTES * most))
    blocks = [np.arange(at, min(at + size, len(queries))) for at in range(0, len(queries), size)]
    return _ranked_blocks(
        scored_blocks(blocks, queries, gallery, given.device), relevant, out, given
    )


def ranks_of_distances(
    blocks: Iterable[tuple[Counts, Scores]],
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    exclude: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    settings: RankingSettings | None = None,
) -> Iterator[RankBlock]:
    """Return the same for distances that are known, smaller is nearer, block by block.

    A block is the numbers of its queries (B,), in order and without gaps, and their float32
    distances (B, N); neither is changed. Raises DataError, when it gets there, at a block that
    does not fit, a distance that is not finite, and where queries are missing at the end.
    """
    given = settings or RankingSettings()
    sizes = len(np.asarray(query_labels)), len(np.asarray(gallery_labels))
    relevant, out = relevant_and_out(sizes, query_labels, gallery_labels, exclude)
    return _ranked_blocks(_checked(blocks, *sizes), relevant, out, given, sign=-1)


def scored_blocks(
    blocks: list[Counts], queries: Vectors, gallery: Vectors, device: str
) -> Iterator[tuple[Counts, Scores]]:
    """Return query numbers and their scores (B, N), in a table that the next block overwrites.

    Numbers of a block are in order and without gaps; vectors have passed ``check_vectors``.
    """
    import torch

    step = max(1, _PIECE_BYTES // (4 * max(1, gallery.shape[1])))
    table: Tensor | None = None
    for block in blocks:
        if table is None:
            table = torch.empty(len(block), len(gallery), device=device)
        scores = table[: len(block)]
        some = _tensor(queries[block[0] : block[-1] + 1]).to(device)
        for at in range(0, len(gallery), step):
            piece = _tensor(gallery[at : at + step]).to(device)
            torch.mm(some, piece.T, out=scores[:, at : at + step])
        yield block, scores.cpu().numpy()


def _tensor(rows: Vectors) -> Tensor:
    """Float32 rows; only what is of another kind, or cannot be written to, is copied."""
    import torch

    return torch.from_numpy(np.require(rows, dtype=np.float32, requirements=["C", "W"]))


def _checked(
    blocks: Iterable[tuple[Counts, Scores]], q: int, n: int
) -> Iterator[tuple[Counts, Scores]]:
    """The blocks as they are, once they are what comes next."""
    done = 0
    for queries, distances in blocks:
        fits = np.array_equal(queries, np.arange(done, done + len(queries)))
        if distances.shape != (len(queries), n) or not fits or done + len(queries) > q:
            raise DataError(
                "A block of distances does not fit the labels.",
                expected=f"queries from {done} on, of {q}, and distances to {n} gallery items",
                got=f"{len(queries)} queries from {queries[:1]}, shape {distances.shape}",
            )
        done += len(queries)
        if len(queries):
            yield queries, distances
    if done < q:
        raise DataError("Distances of some queries are missing.", expected=q, got=done)


def _ranked_blocks(
    scored: Iterator[tuple[Counts, Scores]],
    relevant: Members,
    out: Members | None,
    settings: RankingSettings,
    *,
    sign: int = 1,
) -> Iterator[RankBlock]:
    """Ranks by scores, which are overwritten, or with sign -1 by distances, which are not."""
    import torch

    nothing = np.empty(0, dtype=np.int64)

    def ranks_of(queries: Counts, scores: Scores) -> list[tuple[Ranks, int]]:
        outs = [nothing if out is None else out.of(query) for query in queries.tolist()]
        return [
            (
                _ranks(row if sign > 0 else _negated(row, query), relevant.of(query), left_out),
                len(row) - len(left_out),
            )
            for query, row, left_out in zip(queries.tolist(), scores, outs, strict=True)
        ]

    threads = settings.threads or torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        for block, scores in scored:
            # NumPy sorts and counts without the interpreter's lock, so threads rank in parallel.
            parts = 4 * threads
            found = pool.map(ranks_of, np.array_split(block, parts), np.array_split(scores, parts))
            many, ranked = zip(*(one for part in found for one in part), strict=True)
            offsets = np.cumsum([0, *map(len, many)], dtype=np.int64)
            yield RankBlock(block, np.concatenate(many), offsets, np.array(ranked, dtype=np.int64))


def _negated(distances: Scores, query: int) -> Scores:
    # A sum is quick; only one that is not finite makes it worth while to look at each.
    if not np.isfinite(distances.sum(dtype=np.float64)) and not np.isfinite(distances).all():
        raise DataError(
            "A distance is not finite.", expected="finite numbers", where=f"query {query}"
        )
    return -distances


def _ranks(scores: Scores, relevant: Counts, left_out: Counts) -> Ranks:
    """Ascending ranks of the relevant items of one query; overwrites its scores (N,)."""
    # 1. What is left out is ranked below all finite scores; it may be relevant too.
    scores[left_out] = -np.inf
    wanted = scores[relevant]
    wanted = np.sort(wanted[wanted > -np.inf])[::-1]
    if not wanted.size:
        return np.empty(0, dtype=np.int32)
    # 2. Only rivals keep a score.
    scores[relevant] = -np.inf
    if len(wanted) <= _COUNTED:
        ahead = np.array([np.count_nonzero(scores >= one) for one in wanted])
    else:
        ahead = _rivals_from(scores, wanted)
    return (ahead + np.arange(1, len(wanted) + 1)).astype(np.int32)


def _rivals_from(scores: Scores, wanted: Scores) -> Counts:
    """How many scores reach each wanted one; sorts scores."""
    reach = scores >= wanted[-1]
    if np.count_nonzero(reach) * _FEW <= len(scores):
        scores = scores[reach]
    scores.sort()
    return len(scores) - np.searchsorted(scores, wanted)
