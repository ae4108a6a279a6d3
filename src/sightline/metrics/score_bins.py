"""Bins that fit the scores: many where many scores lie, over any range of float32.

A float32 without its sign orders like the integer of the same bits. Its 16 leading bits are a
cell: 128 cells for every doubling of the value, so a first reading of the scores counts cells
whatever their range is. Each cell is then cut into as many bins as its mass deserves, at most
65,536, where a bin is a single float32. A second reading fills the bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.metrics.classification import Counts, Floats

Keys = npt.NDArray[np.uint32]

CELLS = 1 << 16
MOST_BINS = 1 << 17
"""Bins in all; a histogram of them is 1 MiB, and a bin holds about 1/100,000 of the mass."""

_SIGN = np.uint32(1 << 31)
_HALF = np.uint32(16)
_INFINITY = 0xFF800000
"""The key of infinity; those above it would be NaN."""


def ordered_keys(scores: npt.NDArray[np.float32]) -> Keys:
    """Return whole numbers in the same order as the scores (N,), which hold no NaN; -0 is 0.

    >>> ordered_keys(np.array([-1.0, -0.0, 0.0, 2.0], np.float32)).argsort(kind="stable").tolist()
    [0, 1, 2, 3]
    """
    # Adding 0 turns -0, which has other bits, into 0; it also makes the copy changed below.
    bits = (scores + np.float32(0)).view(np.uint32)
    flip = (bits.view(np.int32) >> 31).view(np.uint32)
    flip |= _SIGN
    bits ^= flip
    return bits


def score_of_key(key: int) -> float:
    """Return the score that has this key.

    >>> score_of_key(int(ordered_keys(np.array([-2.5], np.float32))[0]))
    -2.5
    """
    bits = key ^ (1 << 31) if key >> 31 else key ^ 0xFFFFFFFF
    return float(np.array([bits], dtype=np.uint32).view(np.float32)[0])


def cells_of(keys: Keys) -> Counts:
    """Return the cell (0..65,535) of each key, shape (N,)."""
    return (keys >> _HALF).astype(np.int64)


@dataclass(frozen=True)
class ScoreBins:
    """Bins in rising order of score, made from the mass of each cell.

    ``size`` bins; a score in a cell that had no mass gets the number ``size``, so histograms have
    one place more, which stays empty while both readings see the same scores.
    """

    size: int
    _start: Counts
    _shift: Keys
    _ends: Counts
    _mass: Floats

    @classmethod
    def fit(cls, mass: npt.ArrayLike, *, most: int = MOST_BINS) -> ScoreBins:
        """Return at most ``most`` (>= 65,536) bins for cells of this mass, shape (65536,)."""
        weights = np.asarray(mass, dtype=np.float64)
        filled = weights > 0
        shares = weights / max(float(weights.sum()), np.finfo(np.float64).tiny)
        doublings = np.log2(shares, out=np.full(CELLS, -np.inf), where=filled)
        scale = 2.0 + np.log2(most)
        while True:
            depth = np.clip(np.floor(doublings + scale), 0, 16).astype(np.int64)
            counts = np.where(filled, 1 << depth, 0)
            if counts.sum() <= most:
                break
            scale -= 0.125
        ends = np.cumsum(counts)
        size = int(ends[-1])
        numbers = np.arange(CELLS)
        shift = 16 - depth
        # The number of a bin is its key without the last `shift` bits, moved to where the bins
        # of its cell start: one shift and one addition for each score.
        start = ends - counts - ((numbers << 16) >> shift)
        start = np.where(filled, start, size - ((numbers << 16) >> shift))
        each = np.where(filled, shares / (1 << depth), 0.0)
        return cls(size, start, shift.astype(np.uint32), ends, np.repeat(each, counts))

    def numbers(self, keys: Keys) -> Counts:
        """Return the bin of each key, shape (N,), 0..size."""
        cells = cells_of(keys)
        places = self._start.take(cells)
        places += keys >> self._shift.take(cells)
        return places

    def merged(self, count: int) -> npt.NDArray[np.int32]:
        """Return which of ``count`` groups of neighbours each bin is in, (size + 1,), rising.

        The groups have about the same mass; the place for other scores is in the last.
        """
        middle = np.cumsum(self._mass) - 0.5 * self._mass
        groups = np.minimum((middle * count).astype(np.int32), count - 1)
        return np.append(groups, np.int32(count - 1))

    def highest(self, number: int) -> float:
        """Return the largest float32 that falls into a bin."""
        cell = int(np.searchsorted(self._ends, number, side="right"))
        shift = int(self._shift[cell])
        key = ((number - int(self._start[cell]) + 1) << shift) - 1
        return score_of_key(min(key, _INFINITY))
