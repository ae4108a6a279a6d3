"""At which ranks the relevant gallery items of each query stand: exact, block by block.

Q queries, N gallery items, D numbers in each vector, B queries of one block, M relevant items of
a block. The whole table of scores (Q, N) is never held: a block of queries meets the whole
gallery, its scores become ranks, and only the ranks of relevant items are kept. Every score of
retrieval and re-identification follows from them (``retrieval``).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.metrics.classification import Counts
from sightline.metrics.vectors import Vectors, check_vectors, whole_numbers

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
    labels = whole_numbers(query_labels, len(queries)), whole_numbers(gallery_labels, len(gallery))
    relevant = _same_code(*labels)
    out = None
    if exclude is not None:
        codes = whole_numbers(exclude[0], len(queries)), whole_numbers(exclude[1], len(gallery))
        out = _same_code(*codes, from_code=0)
    most = int((relevant.ends - relevant.starts).max(initial=0))
    size = max(1, (given.memory_mib << 20) // (4 * len(gallery) + _RANK_BYTES * most))
    blocks = [np.arange(at, min(at + size, len(queries))) for at in range(0, len(queries), size)]
    return _ranked_blocks(_scored(blocks, queries, gallery, given.device), relevant, out, given)


class _Members(NamedTuple):
    """Gallery rows with the same code as a query."""

    rows: Counts
    """(N,) gallery rows in the order of their codes."""
    starts: Counts
    """(Q,)"""
    ends: Counts
    """(Q,)"""

    def of(self, query: int) -> Counts:
        return self.rows[self.starts[query] : self.ends[query]]


def _same_code(queries: Counts, gallery: Counts, from_code: int | None = None) -> _Members:
    rows = np.argsort(gallery, kind="stable")
    ordered = gallery[rows]
    starts, ends = (np.searchsorted(ordered, queries, side) for side in ("left", "right"))
    if from_code is not None:
        ends = np.where(queries >= from_code, ends, starts)
    return _Members(rows, starts, ends)


def _scored(
    blocks: list[Counts], queries: Vectors, gallery: Vectors, device: str
) -> Iterator[tuple[Counts, Scores]]:
    """Query numbers and their scores (B, N), in a table that the next block overwrites."""
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


def _ranked_blocks(
    scored: Iterator[tuple[Counts, Scores]],
    relevant: _Members,
    out: _Members | None,
    settings: RankingSettings,
) -> Iterator[RankBlock]:
    import torch

    nothing = np.empty(0, dtype=np.int64)

    def ranks_of(queries: Counts, scores: Scores) -> list[tuple[Ranks, int]]:
        outs = [nothing if out is None else out.of(query) for query in queries.tolist()]
        return [
            (_ranks(row, relevant.of(query), left_out), len(row) - len(left_out))
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
