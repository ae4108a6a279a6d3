"""Scores of queries by chunks of the gallery: approximate for all, in float32 for a few.

Q queries, n vectors of the gallery, D numbers each, C chunks, P pairs of query and chunk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sightline.search.bounds import Lengths
from sightline.search.neighbours import Metric, check_finite
from sightline.search.plan import CHUNK, Plan
from sightline.search.vectors import Vectors

_SHORTEST, _LONGEST = 2.0**-30, 2.0**50


class LengthError(Exception):
    """Vectors so long or so short that float32 products of them can overflow or vanish."""


class Ready(NamedTuple):
    """Vectors as they are multiplied: float32, unit vectors for cosine."""

    values: Tensor
    half: Tensor | None
    """The same in bfloat16 where products are to be in it."""
    lengths: Lengths
    raw: Tensor
    """Lengths (n,) of the vectors as they were given."""

    def part(self, start: int, stop: int) -> Ready:
        """Those from start to stop."""
        mine = slice(start, stop)
        half = None if self.half is None else self.half[mine]
        return Ready(self.values[mine], half, self.lengths.at(mine), self.raw[mine])


class Table(NamedTuple):
    """What is kept of the scores of a span of the gallery."""

    best: Tensor
    """(Q, C) the best score of each chunk."""
    chunks: Lengths
    """(C,) as they are multiplied."""
    rows: Tensor
    """(n,) lengths of the vectors of the span as they are in the gallery."""
    first: int
    """Row of the gallery that the span begins with."""


@dataclass(frozen=True)
class Scorer:
    """Scores, larger for what is nearer; `half` multiplies in bfloat16 where it may."""

    metric: Metric
    half: bool = False

    def ready(self, vectors: Tensor, what: str, first: int = 0) -> Ready:
        """Vectors (n, D) float32 made ready; DataError unless they are finite."""
        raw = torch.linalg.vector_norm(vectors, dim=1)
        unusual = ~((raw > _SHORTEST) & (raw < _LONGEST))
        if bool(unusual.any()):
            check_finite(vectors, what, first)
            if bool(vectors[unusual].any()):
                raise LengthError
        lengths = raw
        if self.metric == "cosine":
            vectors = vectors / torch.where(unusual, 1.0, raw)[:, None]
            lengths = torch.ones_like(raw)
        if not self.half:
            return Ready(vectors, None, Lengths(lengths, torch.zeros_like(raw)), raw)
        rounded = vectors.bfloat16()
        lost = torch.linalg.vector_norm(vectors - rounded.float(), dim=1)
        return Ready(vectors, rounded, Lengths(lengths, lost), raw)

    def table(self, queries: Ready, gallery: Vectors, span: tuple[int, int], plan: Plan) -> Table:
        """The best scores of the chunks of a span of the gallery."""
        first, last = span
        size = -(-(last - first) // CHUNK)
        new = queries.values.new_empty
        # All that stays is made here: small tensors kept between large ones would leave gaps.
        table = Table(
            new(len(queries.values), size), Lengths(new(size), new(size)), new(last - first), first
        )
        scores = new(plan.block * plan.piece)
        for start in range(first, last, plan.piece):
            stop = min(start + plan.piece, last)
            vectors = self.ready(gallery.block(start, stop), "vectors of the gallery", start)
            table.rows[start - first : stop - first] = vectors.raw
            columns = slice((start - first) // CHUNK, -(-(stop - first) // CHUNK))
            for kept, lengths in zip(table.chunks, vectors.lengths, strict=True):
                kept[columns] = best_of_chunks(lengths[None])[0]
            for row in range(0, len(queries.values), plan.block):
                some = queries.part(row, row + plan.block)
                into = scores[: len(some.values) * (stop - start)].view(-1, stop - start)
                found = best_of_chunks(self._approximate(some, vectors, into))
                table.best[row : row + plan.block, columns] = found
        return table

    def chunk_scores(
        self, queries: Tensor, chunks: Tensor, gallery: Vectors, table: Table
    ) -> Tensor:
        """Scores (P, CHUNK) of queries (P, D) made ready and the vectors of a chunk each.

        Chunks (P,) are numbered within the table, ascending; places past the end of its span have
        the score minus infinity.
        """
        places = chunks[:, None] * CHUNK + torch.arange(CHUNK, device=chunks.device)
        outside = places >= len(table.rows)
        places.clamp_(max=len(table.rows) - 1)
        if queries.device.type == "cpu":
            scores = _products_in_turn(queries, chunks, gallery, table)
        else:
            scores = _products_at_once(queries, places + table.first, gallery)
        lengths = table.rows[places]
        if self.metric == "cosine":
            scores /= torch.where(lengths > 0, lengths, 1.0)
        elif self.metric == "euclidean":
            scores -= lengths.square_().div_(2)
        return scores.masked_fill_(outside, -math.inf)

    def _approximate(self, queries: Ready, vectors: Ready, into: Tensor) -> Tensor:
        """Scores (Q, n), in bfloat16 where nothing is added to them."""
        added = self.metric == "euclidean"
        halves = vectors.lengths.whole.square().mul_(-0.5) if added else None
        if queries.half is None or vectors.half is None:
            if halves is None:
                return torch.mm(queries.values, vectors.values.T, out=into)
            return torch.addmm(halves, queries.values, vectors.values.T, out=into)
        # On a GPU a result in bfloat16 may also be summed in it, which no bound would hold for.
        if into.device.type == "cuda":
            products = torch.mm(queries.half, vectors.half.T, out_dtype=torch.float32)
        else:
            products = torch.mm(queries.half, vectors.half.T)
        return products if halves is None else products.float().add_(halves)


def best_of_chunks(scores: Tensor) -> Tensor:
    """The largest of each chunk of columns: (Q, n) to (Q, ceil(n / CHUNK))."""
    count, columns = scores.shape
    chunks = columns // CHUNK
    best = scores[:, : chunks * CHUNK].reshape(count, chunks, CHUNK).amax(dim=2)
    if chunks * CHUNK == columns:
        return best
    return torch.cat([best, scores[:, chunks * CHUNK :].amax(dim=1, keepdim=True)], dim=1)


def _products_in_turn(queries: Tensor, chunks: Tensor, gallery: Vectors, table: Table) -> Tensor:
    """Products (P, CHUNK), one chunk after the other: each is read once, where it lies."""
    products = queries.new_zeros(len(queries), CHUNK)
    numbers, sizes = chunks.unique_consecutive(return_counts=True)
    first, last = table.first, table.first + len(table.rows)
    row = 0
    for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True):
        start = first + number * CHUNK
        vectors = gallery.block(start, min(start + CHUNK, last))
        into = products[row : row + size, : last - start]
        torch.mm(queries[row : row + size], vectors.T, out=into)
        row += size
    return products


def _products_at_once(queries: Tensor, rows: Tensor, gallery: Vectors) -> Tensor:
    """The same with one copy of all vectors, for devices that many small calls would slow."""
    vectors = gallery.table[rows.flatten().to(gallery.table.device)]
    vectors = vectors.to(queries.device).float().view(*rows.shape, -1)
    return torch.bmm(vectors, queries[:, :, None]).squeeze(2)
