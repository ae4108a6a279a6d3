"""Which pictures of a class a batch gets: of different objects first, each in its turn.

M visits, K pictures at each, n pictures of G objects in the class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sightline.data.cycles import visits
from sightline.random_numbers import generator

Numbers = npt.NDArray[np.int64]


class ClassPictures:
    """The pictures of one class, K at each visit; a function of the seed and the class's name.

    A visit has min(K, G) objects, and where that leaves room different pictures of them, as alike
    in number as the objects' sizes allow. With K above n every picture comes K // n times, and the
    rest is chosen in that way. Objects take turns, and so do the pictures of an object, so all of
    them are seen in time. Rows come sorted by object, then id.
    """

    def __init__(self, rows: Numbers, objects: Numbers, *, take: int, seed: int, name: str) -> None:
        self._rows = rows
        self._whole, self._rest = divmod(take, len(rows))
        self._seed, self._name = seed, name
        self._starts = np.flatnonzero(np.r_[True, objects[1:] != objects[:-1]])
        self._sizes = np.diff(np.r_[self._starts, len(rows)])

    def visits(self, first: int, last: int) -> Numbers:
        """(M, K) rows of visits first to last - 1, counted from 0."""
        count = last - first
        parts = [np.tile(self._rows, (count, self._whole))]
        if self._rest:
            parts += [self._rows[part] for part in self._spread(first, last)]
        return np.concatenate(parts, axis=1)

    def _spread(self, first: int, last: int) -> list[Numbers]:
        """Numbers (M, ?) of fewer than n pictures, in parts: of every object, then of some."""
        level = _level(self._sizes, self._rest)
        extra = self._rest - int(np.minimum(self._sizes, level).sum())
        larger = np.flatnonzero(self._sizes > level).tolist()
        parts, spare = [], np.empty((last - first, 0), np.int64)
        if level:
            shown = [self._of_object(one, first, last, level, extra) for one in larger]
            parts = [one[:, :level] for one in shown]
            spare = np.stack([one[:, -1] for one in shown], axis=1)
            # Of the others every picture is shown.
            everything = np.flatnonzero(np.repeat(self._sizes <= level, self._sizes))
            parts.append(np.tile(everything, (last - first, 1)))
        if extra:
            objects, turns = visits(
                len(larger), extra, first=first, last=last,
                permutation=lambda cycle: self._random(cycle, "objects").permutation(len(larger)),
            )  # fmt: skip
            if level:
                parts.append(np.take_along_axis(spare, objects, axis=1))
            else:
                parts.append(self._in_turn(objects, turns))
        return parts

    def _of_object(self, number: int, first: int, last: int, level: int, extra: int) -> Numbers:
        """(M, level) different pictures of one object, with one more where some are extra."""
        size, start = int(self._sizes[number]), int(self._starts[number])
        places, _ = visits(
            size, level + (extra > 0), first=first, last=last,
            permutation=lambda cycle: self._random(cycle, f"object {number}").permutation(size),
        )  # fmt: skip
        return start + places

    def _in_turn(self, objects: Numbers, turns: Numbers) -> Numbers:
        """The picture of each object that is due when it was shown `turns` times before."""
        result = self._starts[objects]
        cycles, places = np.divmod(turns, self._sizes[objects])
        several = self._sizes[objects] > 1
        owner = np.repeat(np.arange(len(self._sizes)), self._sizes)
        for cycle in np.unique(cycles[several]).tolist():
            # One draw orders the pictures of all objects.
            order = np.lexsort((self._random(cycle, "pictures").random(len(owner)), owner))
            now = several & (cycles == cycle)
            result[now] = order[self._starts[objects[now]] + places[now]]
        return result

    def _random(self, cycle: int, what: str) -> np.random.Generator:
        return generator(self._seed, cycle, f"{what} of class {self._name}")


def _level(sizes: npt.NDArray[np.int64], slots: int) -> int:
    """The most pictures of each object, as far as it has them, that fit into the slots."""
    level = 0
    while np.minimum(sizes, level + 1).sum() <= slots:
        level += 1
    return level
