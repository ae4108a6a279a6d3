"""An endless stream of permutations, cut into visits that never hold a thing twice."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


def visits(
    size: int, take: int, *, first: int, last: int, permutation: Callable[[int], Numbers]
) -> tuple[Numbers, Numbers]:
    """The numbers below `size` that visits first to last - 1 take, and how often each was before.

    Both are (last - first, take). ``permutation(cycle)`` is the raw order of a cycle: each number
    is in every cycle once, so none is ever two ahead of another. Where a visit spans two cycles,
    what it needs of the second is brought forward from among those it does not have yet. `take` is
    at most `size`.

    >>> visits(3, 2, first=0, last=3, permutation=lambda cycle: np.array([0, 1, 2]))[0].tolist()
    [[0, 1], [2, 0], [1, 2]]
    """
    # After so many visits a cycle ends with one, and nothing depends on what was before.
    period = size // gcd(size, take)
    start = (first - first % period) * take
    begin, end = first * take, last * take
    order = np.empty(0, np.int64)
    orders = []
    for place in range(start, end, size):
        beyond = place % take
        raw = permutation(place // size)
        order = _brought_forward(raw, order[size - beyond :], take - beyond) if beyond else raw
        orders.append(order)
    stream = np.concatenate(orders or [order])[begin - start : end - start]
    cycles = np.arange(begin, end) // size
    return stream.reshape(-1, take), cycles.reshape(-1, take)


def _brought_forward(order: Numbers, taken: Numbers, count: int) -> Numbers:
    """The order with the first `count` numbers that are not taken brought to its front."""
    is_taken = np.zeros(len(order), np.bool_)
    is_taken[taken] = True
    front = np.flatnonzero(~is_taken[order])[:count]
    is_behind = np.ones(len(order), np.bool_)
    is_behind[front] = False
    return np.concatenate([order[front], order[is_behind]])
