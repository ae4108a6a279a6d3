"""The nearest neighbours of every vector among all of them, each pair of which is met once.

N vectors of D numbers, k neighbours. The table of distances (N, N) is symmetric and never held:
a square tile of it serves its rows, and turned over its columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sightline.metrics.classification import Counts
from sightline.metrics.ranking import RankingSettings, Scores
from sightline.metrics.stacked_vectors import StackedVectors

if TYPE_CHECKING:
    from torch import Tensor

_TILE_BYTES = 16
"""For each distance of a tile: itself, it turned over, and what the choice of neighbours needs."""
_SHORTEST_TILE, _LONGEST_TILE = 64, 2048
"""Rows: smaller ones are slow whatever the memory, larger ones meet more pairs twice."""


class AllNeighbours(NamedTuple):
    """The k nearest of each vector, itself first, and how far the farthest of all is."""

    rows: Counts
    """(N, k) in ascending order of the distance."""
    distances: Scores
    """(N, k) squared Euclidean."""
    farthest: Scores
    """(N,) squared Euclidean, the largest distance of each to any."""


def all_neighbours(
    vectors: StackedVectors,
    k: int,
    settings: RankingSettings,
    *,
    table: Scores | None = None,
) -> AllNeighbours:
    """Return the k nearest of every vector and its largest distance, in float32.

    Every vector is the first neighbour of itself, also where others are equal to it; equal
    distances are in ascending order of the row, but for those at the end of a list, of which any
    may be left out. Memory: k entries for each vector, and tiles of ``settings.memory_mib``.

    ``table`` (Q, G) is filled with the distances of queries to the gallery, met on the way.
    """
    lists = _Lists(len(vectors), k, settings.device)
    size = int(np.sqrt((settings.memory_mib << 20) / _TILE_BYTES))
    size = min(max(size, _SHORTEST_TILE), _LONGEST_TILE)
    ranges = [(at, min(at + size, len(vectors))) for at in range(0, len(vectors), size)]
    for place, rows in enumerate(ranges):
        for others in ranges[place:]:
            tile = vectors.distances(rows, others)
            if table is not None:
                _copy_to(table, vectors.first, tile, (rows, others))
            if others == rows:
                lists.meet(rows, tile.fill_diagonal_(-1), others[0])
                continue
            lists.meet(rows, tile, others[0])
            turned = tile.T.contiguous()
            lists.meet(others, turned, rows[0])
            if table is not None:
                _copy_to(table, vectors.first, turned, (others, rows))
    return lists.sorted()


def _copy_to(
    table: Scores, first: int, tile: Tensor, ranges: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    """What of the tile is between queries and the gallery, which begins at row `first`."""
    rows, others = ranges
    queries = slice(rows[0], min(rows[1], len(table)))
    held = slice(max(others[0], first), others[1])
    if queries.start < queries.stop and held.start < held.stop:
        part = tile[: queries.stop - rows[0], held.start - others[0] :]
        table[queries, held.start - first : held.stop - first] = part.cpu().numpy()


class _Lists:
    """The nearest of each vector so far, in no order."""

    def __init__(self, n: int, k: int, device: str) -> None:
        import torch

        self.near = torch.full((n, k), torch.inf, device=device)
        self.rows = torch.zeros((n, k), dtype=torch.int64, device=device)
        self.farthest = torch.zeros(n, device=device)

    def meet(self, rows: tuple[int, int], tile: Tensor, first: int) -> None:
        """Let rows meet those from `first` on, at the distances of the tile."""
        import torch

        at, k = slice(*rows), self.near.shape[1]
        near, places = tile.topk(min(k, tile.shape[1]), dim=1, largest=False, sorted=False)
        near = torch.cat([self.near[at], near], dim=1)
        both = torch.cat([self.rows[at], places + first], dim=1)
        self.near[at], kept = near.topk(k, dim=1, largest=False, sorted=False)
        self.rows[at] = both.gather(1, kept)
        self.farthest[at] = torch.maximum(self.farthest[at], tile.amax(dim=1))

    def sorted(self) -> AllNeighbours:
        rows, order = self.rows.sort(dim=1)
        near, by_distance = self.near.gather(1, order).sort(dim=1, stable=True)
        rows = rows.gather(1, by_distance)
        found = (one.cpu().numpy() for one in (rows, near.clamp_(min=0), self.farthest))
        return AllNeighbours(*found)
