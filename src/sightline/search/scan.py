"""Every distance in float64: the search where leaving out most of the gallery does not pay.

Q queries, N vectors of the gallery, D numbers each, k neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sightline.search.neighbours import Metric, check_finite, distances_of, pack, unit_rows
from sightline.search.vectors import Vectors

_NOTHING = torch.iinfo(torch.int64).max
_CANCELLED = 1e-6
"""Squared distances below this share of the squared lengths are measured from the difference."""


def scan(queries: Tensor, gallery: Vectors, k: int, *, metric: Metric, memory: int) -> Tensor:
    """The k nearest of each query, (Q, k) packed and ascending; `memory` is in bytes.

    Distances come from float64 matrix products, each rounded to float32 and those that nearly
    cancel from the difference, so they are those of `distances_of`.
    """
    device = torch.device("cpu") if gallery.device.type == "mps" else gallery.device
    rows = min(512, max(32, memory // (192 * gallery.size)))
    width = memory // 4 // (96 * max(k, rows))
    block = max(1, min(1024, width, memory // (128 * gallery.size)))
    stretch = max(rows, memory // (64 * block))
    centre = _centre(gallery, metric, device)
    found = [
        _scan_block(
            _Block(part.to(device), metric, centre), gallery, k, stretch=stretch, rows=rows
        ).to(gallery.home)
        for part in queries.split(block)
    ]
    return torch.cat(found) if found else torch.empty(0, k, dtype=torch.int64)


class _Block:
    """Some queries, ready to be compared."""

    def __init__(self, queries: Tensor, metric: Metric, centre: Tensor) -> None:
        self.queries, self.metric, self.centre = queries, metric, centre
        self.moved = _moved(queries, metric, centre)
        self.squares = self.moved.square().sum(dim=1, keepdim=True)

    def distances(self, vectors: Tensor) -> Tensor:
        """(B, n) float32, the same as distances_of for every pair."""
        moved = _moved(vectors, self.metric, self.centre)
        if self.metric == "dot":
            return torch.mm(self.moved, moved.T).neg_().add_(0.0).float()
        scale = self.squares + moved.square().sum(dim=1)
        squared = torch.addmm(scale, self.moved, moved.T, alpha=-2)
        near = squared < _CANCELLED * scale
        squared.clamp_(min=0)
        if self.metric == "euclidean":
            found = squared.sqrt_().float()
        else:
            # A vector of zeros has no direction: its cosine with anything is 0.
            empty = [(~side.any(dim=1)).double() for side in (self.queries, vectors)]
            found = squared.add_(empty[0][:, None]).add_(empty[1]).div_(2).float()
        for pairs in near.nonzero().split(4096):
            left, right = pairs.unbind(dim=1)
            found[left, right] = distances_of(self.queries[left], vectors[right], self.metric)
        return found


def _scan_block(block: _Block, gallery: Vectors, k: int, *, stretch: int, rows: int) -> Tensor:
    count, device = len(block.queries), block.queries.device
    best = torch.full((count, k), _NOTHING, dtype=torch.int64, device=device)
    for first in range(0, len(gallery), stretch):
        last = min(first + stretch, len(gallery))
        packed = torch.empty(count, k + last - first, dtype=torch.int64, device=device)
        packed[:, :k] = best
        for start, stop in _steps(first, last, rows):
            vectors = gallery.block(start, stop).to(device)
            check_finite(vectors, "vectors of the gallery", start)
            numbers = torch.arange(start, stop, device=device)
            places = slice(k + start - first, k + stop - first)
            packed[:, places] = pack(block.distances(vectors), numbers)
        best = packed.topk(k, dim=1, largest=False).values
    return best


def _moved(vectors: Tensor, metric: Metric, centre: Tensor) -> Tensor:
    """Rows in float64, as unit vectors for cosine, seen from the centre."""
    values = vectors.double()
    if metric == "cosine":
        values = unit_rows(values)
    return values - centre


def _centre(gallery: Vectors, metric: Metric, device: torch.device) -> Tensor:
    """A vector amid the gallery; without it vectors that are nearly equal would cancel.

    It is one of the gallery, so that equal vectors become zeros. Products have no centre.
    """
    nowhere = torch.zeros(gallery.size, dtype=torch.float64, device=device)
    if metric == "dot":
        return nowhere
    sample = _moved(gallery.block(0, min(256, len(gallery))).to(device), metric, nowhere)
    return sample[(sample - sample.mean(dim=0)).square().sum(dim=1).argmin()]


def _steps(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(first, last, size):
        yield start, min(start + size, last)
