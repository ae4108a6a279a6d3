"""Which pictures were taken one after another, as far as their names tell.

Neighbours in a series resemble each other more than pictures of another day do. Were they divided
between training and validation, validation would look easier than new pictures are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from math import inf

import numpy as np
import numpy.typing as npt

_UNIQUE = 0.9
"""Share of the names in which a number has to be another one to count the pictures."""

_Key = tuple[str, int, tuple[int, ...], str]


def series_of(names: Sequence[str], size: int) -> npt.NDArray[np.int64]:
    """A number (N,) for each run of about `size` consecutive names, in the order of the names.

    Names are compared within those of one pattern (the same text around the numbers): by the first
    number that is another one in nearly all of them, which counts the pictures, else by all numbers
    from the left. A run ends where that number leaps, between half and one and a half times `size`.

    >>> series_of(["a_7", "a_1", "a_2", "a_9", "a_3", "a_8"], 3).tolist()
    [1, 0, 0, 1, 0, 1]
    """
    keys = _keys(names)
    order = sorted(range(len(names)), key=keys.__getitem__)
    leaps = [_leap(keys[one], keys[other]) for one, other in pairwise(order)]
    numbers = np.zeros(len(names), np.int64)
    start, run = 0, 0
    while len(order) - start > 1.5 * size:
        least, most = max(1, round(size / 2)), max(1, int(1.5 * size))
        end = max(
            range(start + least, start + most + 1),
            key=lambda place: (leaps[place - 1], -abs(place - start - size)),
        )
        numbers[order[start:end]] = run
        start, run = end, run + 1
    numbers[order[start:]] = run
    return numbers


def _keys(names: Sequence[str]) -> list[_Key]:
    """What each name is sorted by: its pattern, its counter, all its numbers, itself."""
    patterns = [re.sub(r"\d+", "0", name) for name in names]
    numbers = [tuple(int(one) for one in re.findall(r"\d+", name)) for name in names]
    counters = {}
    for pattern in set(patterns):
        rows = [one for one, of in zip(numbers, patterns, strict=True) if of == pattern]
        columns = list(zip(*rows, strict=True))
        unique = [len(set(column)) >= _UNIQUE * len(rows) for column in columns]
        counters[pattern] = unique.index(True) if True in unique else None
    keys = []
    for name, pattern, found in zip(names, patterns, numbers, strict=True):
        place = counters[pattern]
        keys.append((pattern, 0 if place is None else found[place], found, name))
    return keys


def _leap(one: _Key, other: _Key) -> float:
    return inf if one[0] != other[0] else other[1] - one[1]
