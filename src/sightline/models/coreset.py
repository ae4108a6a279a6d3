"""A coreset of vectors by greedy k-center, on random projections.

N D P K are vectors, their size, the size of a projection, and vectors chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Vectors looked at in one turn: large enough that the work is matrix products, small enough that
# their distances to one another stay in the cache of a processor.
_CANDIDATES = 2048
_ROUNDING = 8 * float(torch.finfo(torch.float32).eps)


@dataclass(frozen=True, slots=True)
class Coreset:
    """Vectors chosen among others, and how well they cover the rest."""

    indices: Tensor
    """Numbers of the chosen vectors (K,) int64, in the order they were chosen."""
    radius: float
    """Largest distance of any vector to the nearest chosen one, where distances were measured."""


def projected_size(count: int, *, eps: float = 0.9) -> int:
    """Components that keep all distances of `count` vectors within a factor 1 ± eps, squared.

    4 ln N / (eps² / 2 - eps³ / 3) (Dasgupta and Gupta, "An Elementary Proof of a Theorem of Johnson
    and Lindenstrauss", theorem 2.1, 2003).

    >>> projected_size(200_000)
    301
    """
    return max(1, int(4 * math.log(max(count, 2)) / (eps**2 / 2 - eps**3 / 3)))


def sparse_projection(
    size: int, components: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """A matrix (D, P) that keeps squared lengths in expectation.

    Entries are ±sqrt(s / P) with probability 1 / (2 s) each, else 0, with s = sqrt(D) (Li, Hastie
    and Church, "Very Sparse Random Projections", section 2.2, 2006).
    """
    s = math.sqrt(size)
    draws = random.random((size, components))
    signs = (draws < 0.5 / s).astype(np.float32) - (draws > 1 - 0.5 / s).astype(np.float32)
    return signs * np.float32(math.sqrt(s / components))


@torch.no_grad()
def greedy_k_center(vectors: Tensor, count: int, *, first: int = 0) -> Coreset:
    """Choose vectors (N, P) one by one, each the farthest from those already chosen.

    Greedy k-center (Sener and Savarese, "Active Learning for Convolutional Neural Networks",
    algorithm 1, 2018): from `first` on, ties by the lowest number. Ends before `count` when all
    that is left equals a chosen vector up to the rounding of float32. Distances are Euclidean, from
    matrix products in float32; they are the more precise the nearer the vectors are to zero, so
    take their mean off first.

    The outcome is that of the plain loop, which updates N distances after each choice. Here a
    distance is updated only when it may be the largest: an old one is an upper bound, since more
    centres can but lower it. So the K with the largest bounds are brought up to date by matrix
    products, and choices are made among them until one outside could be farther.
    """
    if not 0 <= first < len(vectors) or count < 1:
        raise ValueError(f"cannot choose {count} of {len(vectors)} vectors from number {first} on")
    with torch.autocast(vectors.device.type, enabled=False):
        return _Selection(vectors.float(), min(count, len(vectors))).run(first)


class _Selection:
    """The state of one greedy_k_center; distances are squared throughout."""

    def __init__(self, vectors: Tensor, count: int) -> None:
        self.vectors = vectors
        self.lengths = self.vectors.square().sum(dim=1)
        self.count = count
        size, device = len(vectors), vectors.device
        # Distance of each vector to the nearest of the first `seen` centres; -1 for a centre.
        self.bounds = torch.full((size,), math.inf, device=device)
        self.seen = torch.zeros(size, dtype=torch.int64, device=device)
        self.centres = vectors.new_empty(count, vectors.shape[1])
        self.centre_lengths = vectors.new_empty(count)
        self.chosen: list[int] = []
        self.smallest = _ROUNDING * float(self.lengths.max())

    def run(self, first: int) -> Coreset:
        self._choose(torch.tensor([first], device=self.vectors.device))
        self._update(torch.arange(len(self.bounds), device=self.bounds.device))
        while len(self.chosen) < self.count:
            candidates, limit, limit_index = self._candidates()
            self._update(candidates)
            farther = candidates[self.bounds[candidates] >= limit]
            if not len(farther):
                continue
            if float(self.bounds[farther].max()) <= self.smallest:
                break
            self._choose(self._choices(farther, limit, limit_index))
        indices = torch.tensor(self.chosen, dtype=torch.int64, device=self.bounds.device)
        return Coreset(indices, radius=self._radius())

    def _radius(self) -> float:
        while True:
            candidates, limit, _ = self._candidates()
            self._update(candidates)
            farthest = float(self.bounds[candidates].max())
            if farthest >= limit:
                return math.sqrt(max(0.0, farthest))

    def _candidates(self) -> tuple[Tensor, float, int]:
        """Vectors with the largest bounds in rising order, and the largest bound of the others.

        The last number is the lowest index of the others that have that bound. Among equal bounds
        the lower index comes first, so that there is progress in every turn.
        """
        bounds, size = self.bounds, len(self.bounds)
        if size <= _CANDIDATES:
            return torch.arange(size, device=bounds.device), -math.inf, size
        top = torch.topk(bounds, _CANDIDATES + 1).values
        last, next_one = float(top[-2]), float(top[-1])
        above = (bounds > last).nonzero().squeeze(1)
        equal = (bounds == last).nonzero().squeeze(1)
        taken = _CANDIDATES - len(above)
        chosen = torch.cat([above, equal[:taken]]).sort().values
        if taken < len(equal):
            return chosen, last, int(equal[taken])
        return chosen, next_one, int((bounds == next_one).nonzero()[0, 0])

    def _update(self, indices: Tensor) -> None:
        """Bring the bounds of some vectors up to date with every centre."""
        stale = indices[self.seen[indices] < len(self.chosen)]
        if not len(stale):
            return
        # Neighbours in this order lack about the same centres, so little is measured twice.
        order = stale[torch.sort(self.seen[stale], stable=True).indices]
        for rows in order.split(_CANDIDATES // 4):
            start = int(self.seen[rows[0]])
            vectors, lengths = self.vectors[rows], self.lengths[rows, None]
            for stop in range(start, len(self.chosen), 4096):
                part = slice(stop, min(stop + 4096, len(self.chosen)))
                squared = torch.addmm(
                    self.centre_lengths[part], vectors, self.centres[part].T, alpha=-2
                )
                nearest = (squared.amin(dim=1) + lengths[:, 0]).clamp_min_(0)
                self.bounds[rows] = torch.minimum(self.bounds[rows], nearest)
        self.seen[stale] = len(self.chosen)

    def _choices(self, indices: Tensor, limit: float, limit_index: int) -> Tensor:
        """The next centres, as long as none outside of `indices` (rising) could be farther."""
        vectors, lengths = self.vectors[indices], self.lengths[indices]
        between = torch.addmm(lengths, vectors, vectors.T, alpha=-2).add_(lengths[:, None])
        between = between.clamp_min_(0)
        apart: NDArray[np.float32] = between.cpu().numpy()
        distances: NDArray[np.float32] = self.bounds[indices].cpu().numpy().copy()
        numbers = indices.cpu().numpy()
        found: list[int] = []
        while len(self.chosen) + len(found) < self.count:
            best = int(distances.argmax())
            farthest = distances[best]
            beaten = farthest < limit or (farthest == limit and numbers[best] > limit_index)
            if beaten or farthest <= self.smallest:
                break
            found.append(best)
            np.minimum(distances, apart[best], out=distances)
            distances[best] = -1.0
        return indices[torch.tensor(found, dtype=torch.int64, device=indices.device)]

    def _choose(self, indices: Tensor) -> None:
        part = slice(len(self.chosen), len(self.chosen) + len(indices))
        self.centres[part] = self.vectors[indices]
        self.centre_lengths[part] = self.lengths[indices]
        self.chosen += indices.tolist()
        self.bounds[indices] = -1.0
