"""Exact search that measures only what can be among the nearest.

Scores of all pairs are matrix products; of each chunk of the gallery only the best score is kept.
A bound on the error of these scores says which chunks can hold one of the k nearest; those are
scored again, and what is left of them is measured in float64. The bound is computed, so the answer
is that of measuring everything, however many chunks that takes.

Q queries, N vectors of the gallery, D numbers each, k neighbours, C chunks, P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sightline.search.bounds import HALF_UNIT, rounding_errors, score_errors
from sightline.search.neighbours import distances_of, pack
from sightline.search.plan import CHUNK, Plan
from sightline.search.scores import Scorer, Table
from sightline.search.vectors import Vectors

_NOTHING = torch.iinfo(torch.int64).max


class Pairs(NamedTuple):
    """Pairs (P,) of a query, by its number in the group, and a chunk or a row of the gallery."""

    query: Tensor
    place: Tensor


class Rows(NamedTuple):
    """Rows (P,) of the gallery that can be near, with bounds of their scores."""

    query: Tensor
    place: Tensor
    lower: Tensor
    upper: Tensor


class PrunedSearch:
    """The search for one group of queries (Q, D) float32."""

    def __init__(self, queries: Tensor, gallery: Vectors, k: int, scorer: Scorer) -> None:
        self.gallery, self.k, self.scorer = gallery, k, scorer
        self.metric, self.home = scorer.metric, gallery.home
        self.given = queries.to(self.home)
        self.queries = scorer.ready(queries.to(gallery.device), "queries")
        shape, device = (len(queries), k), gallery.device
        self.nearest = torch.full(shape, _NOTHING, dtype=torch.int64, device=self.home)
        # Lower bounds of the scores of k rows, and of what a row must reach to be of interest.
        self.lower = torch.full(shape, -math.inf, device=device)
        self.least = torch.full(shape[:1], -math.inf, device=device)
        self.given_up = torch.zeros(shape[:1], dtype=torch.bool, device=device)

    def run(self, plan: Plan) -> tuple[Tensor, Tensor]:
        """The k nearest (Q, k), packed and ascending, and which queries (Q,) were given up.

        A query is given up when so much of the gallery can be near that leaving out the rest does
        not pay; its row holds nothing of use.
        """
        for start in range(0, len(self.gallery), plan.segment):
            self._search_in((start, min(start + plan.segment, len(self.gallery))), plan)
        return self.nearest, self.given_up

    def _search_in(self, span: tuple[int, int], plan: Plan) -> None:
        """Bring what is known up to date with a span of the gallery."""
        table = self.scorer.table(self.queries, self.gallery, span, plan)
        for group, pairs in self._candidates(table, plan):
            self._look_again(group, pairs, table, plan)

    def _candidates(self, table: Table, plan: Plan) -> Iterator[tuple[slice, Pairs]]:
        """Chunks to look at, for groups of queries; pairs number the queries from the group's."""
        count, chunks = table.best.shape
        step = max(1, plan.numbers // chunks)
        waiting: list[Pairs] = []
        first = total = 0
        for start in range(0, count, step):
            mine = slice(start, min(start + step, count))
            waiting.append(self._candidates_of(mine, table, first))
            total += len(waiting[-1].query)
            if total >= plan.pairs or mine.stop == count:
                joined = Pairs(*(torch.cat(parts) for parts in zip(*waiting, strict=True)))
                yield slice(first, mine.stop), joined
                waiting, first, total = [], mine.stop, 0

    def _candidates_of(self, mine: slice, table: Table, first: int) -> Pairs:
        best = table.best[mine]
        queries = self.queries.lengths.at(mine).columns()
        errors = score_errors(queries, table.chunks, metric=self.metric, size=self.gallery.size)
        if self.scorer.half:
            errors = errors + rounding_errors(queries, table.chunks, metric=self.metric)
            if self.metric != "euclidean":
                errors += HALF_UNIT * best.abs()
        # Every chunk has a row that scores this much at least, so the k-th largest is a bound.
        reached = best - errors
        known = reached.topk(min(self.k, best.shape[1]), dim=1).values
        known = torch.cat([known, self.lower[mine]], dim=1).topk(self.k, dim=1).values
        self.least[mine] = known[:, -1]
        near = torch.add(best, errors, out=reached) >= self.least[mine, None]
        self.given_up[mine] |= near.sum(dim=1) > 8 * self.k + best.shape[1] // 4
        near &= ~self.given_up[mine, None]
        query, chunk = near.nonzero().unbind(dim=1)
        return Pairs(query + (mine.start - first), chunk.contiguous())

    def _look_again(self, group: slice, pairs: Pairs, table: Table, plan: Plan) -> None:
        """Score the chunks' rows again, and measure those that can be among the nearest."""
        self.lower[group], rows = self._reached(group, self._rows(group, pairs, table, plan))
        many = 8 * self.k + len(table.rows) // 16
        self.given_up[group] |= rows.query.bincount(minlength=group.stop - group.start) > many
        near = ~self.given_up[group][rows.query]
        rest = Pairs(rows.query[near].to(self.home), rows.place[near].to(self.home))
        packed = torch.cat([self.nearest[group].flatten(), self._measured(group, rest, plan)])
        owners = torch.cat([_owners(self.nearest[group]), rest.query])
        self.nearest[group] = _smallest(owners, packed, self.k)

    def _rows(self, group: slice, pairs: Pairs, table: Table, plan: Plan) -> Rows:
        """Rows of the chunks that can be near."""
        order = pairs.place.argsort(stable=True)
        pairs = Pairs(pairs.query[order], pairs.place[order])
        values, lengths = self.queries.values[group], self.queries.lengths.at(group)
        least, size = self.least[group], self.gallery.size
        room = values.new_empty(plan.exact, size)
        found, waiting, limit = [], 0, plan.pairs // 2
        for query, chunk in _split(pairs, plan.exact):
            asked = torch.index_select(values, 0, query, out=room[: len(query)])
            scores = self.scorer.chunk_scores(asked, chunk, self.gallery, table)
            error = score_errors(
                lengths.at(query), table.chunks.at(chunk), metric=self.metric, size=size
            )
            lower, upper = scores - error[:, None], scores + error[:, None]
            pair, place = (upper >= least[query, None]).nonzero().unbind(dim=1)
            row = chunk[pair] * CHUNK + place + table.first
            found.append(Rows(query[pair], row, lower[pair, place], upper[pair, place]))
            waiting += len(pair)
            if waiting > limit:
                known, rows = self._reached(group, _joined(found))
                least, found, waiting = torch.maximum(least, known[:, -1]), [rows], 0
                limit = max(limit, len(rows.query))
        return _joined(found)

    def _reached(self, group: slice, rows: Rows) -> tuple[Tensor, Rows]:
        """Lower bounds of the k best scores with these rows, and those of them that reach them."""
        known = torch.cat([self.lower[group].flatten(), rows.lower])
        owners = torch.cat([_owners(self.lower[group]), rows.query])
        known = _smallest(owners, known.neg_(), self.k).neg_()
        near = rows.upper >= known[rows.query, -1]
        return known, Rows(*(part[near] for part in rows))

    def _measured(self, group: slice, rows: Pairs, plan: Plan) -> Tensor:
        """The rows packed with their distances."""
        packed, given = torch.empty_like(rows.place), self.given[group]
        for into, (query, place) in zip(
            packed.split(plan.exact), _split(rows, plan.exact), strict=True
        ):
            vectors = self.gallery.take(place)
            into.copy_(pack(distances_of(given[query], vectors, self.metric), place))
        return packed


def _split(pairs: Pairs, size: int) -> Iterator[Pairs]:
    """Parts of at most so many pairs; of no pairs one empty part."""
    for query, place in zip(pairs.query.split(size), pairs.place.split(size), strict=True):
        yield Pairs(query, place)


def _joined(parts: list[Rows]) -> Rows:
    return Rows(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _owners(table: Tensor) -> Tensor:
    """The row of each value of a table (Q, k), flat."""
    rows = torch.arange(len(table), device=table.device)
    return rows.repeat_interleave(table.shape[1])


def _smallest(owners: Tensor, values: Tensor, k: int) -> Tensor:
    """The k smallest values of each owner 0, 1, ..., ascending; each has at least k."""
    order = values.argsort()
    order = order[owners[order].argsort(stable=True)]
    sizes = owners.bincount()
    starts = sizes.cumsum(dim=0) - sizes
    return values[order[starts[:, None] + torch.arange(k, device=starts.device)]]
