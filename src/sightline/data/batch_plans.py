"""Which rows make up each batch of an epoch: in order, shuffled, or P classes with K pictures each.

N rows, B batches, C classes, P classes in a batch, K pictures of a class.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from sightline.data.class_pictures import ClassPictures
from sightline.data.cycles import visits
from sightline.data.groups import units
from sightline.data.manifest import Manifest, Strings, shortened
from sightline.errors import ConfigError
from sightline.random_numbers import generator

Rows = npt.NDArray[np.int64]


class BatchPlan(Protocol):
    """Says which rows each batch of an epoch has; the same answer whenever and wherever asked."""

    def __len__(self) -> int:
        """The number of batches in every epoch."""

    def batches(self, epoch: int) -> list[Rows]:
        """The rows of each batch of an epoch (from 1), those of all processes together."""

    def share(self, batch: Rows, rank: int, count: int) -> Rows:
        """The part of a batch (or of anything aligned with it) for one of `count` processes."""


class SequentialPlan:
    """All rows in their order, `batch_size` at a time; process r takes rows r, r + count, ..."""

    def __init__(self, rows: int, *, batch_size: int, processes: int = 1) -> None:
        self._rows = rows
        self._cuts = _cuts(rows, batch_size, least=processes)

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def batches(self, epoch: int) -> list[Rows]:
        """The same in every epoch."""
        return np.split(np.arange(self._rows), self._cuts[1:-1]) if len(self) else []

    def share(self, batch: Rows, rank: int, count: int) -> Rows:
        """Every `count`-th row."""
        return batch[rank::count]


class ShuffledPlan:
    """All rows in a new permutation in each epoch, which depends on the seed and the ids.

    A last batch with fewer than 2 rows for each process joins the one before: BatchNorm needs a
    variance. Process r takes rows r, r + count, ... of every batch.
    """

    def __init__(self, ids: Strings, *, batch_size: int, seed: int, processes: int = 1) -> None:
        self._by_id = np.argsort(ids, kind="stable")
        self._seed = seed
        self._cuts = _cuts(len(ids), batch_size, least=2 * processes)

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def batches(self, epoch: int) -> list[Rows]:
        """The permutation of the epoch, cut into batches."""
        random = generator(self._seed, epoch, "order of the epoch")
        order: Rows = self._by_id[random.permutation(len(self._by_id))]
        return np.split(order, self._cuts[1:-1]) if len(self) else []

    def share(self, batch: Rows, rank: int, count: int) -> Rows:
        """Every `count`-th row."""
        return batch[rank::count]


class BalancedPlan:
    """Batches of P different classes with K pictures each, class by class; rows without label
    are in none.

    An epoch has N // (P * K) batches, at least one, whatever the size of the smallest class.
    Classes come in cycles of permutations, so each is seen as often as any other; which pictures
    of a class, ClassPictures says. Both streams go on over the epochs and are functions of the
    seed, the names of the classes and the ids, so an epoch or a batch can be had without those
    before it. Of several processes, each takes every count-th class of a batch where P is
    divisible by their number, else every count-th picture.

    Raises ConfigError for more classes or pictures than there are.
    """

    def __init__(
        self, manifest: Manifest, *, classes_per_batch: int, samples_per_class: int, seed: int
    ) -> None:
        labels = manifest.label.codes
        codes, sizes = np.unique(labels[labels >= 0], return_counts=True)
        self._names = [str(name) for name in manifest.label.names[codes]]
        _require_enough(self._names, sizes.tolist(), classes_per_batch, samples_per_class)
        self._classes_per_batch = classes_per_batch
        self._samples_per_class = samples_per_class
        self._seed = seed
        self._length = max(1, int(sizes.sum()) // (classes_per_batch * samples_per_class))
        # By class, then object, then id, so that the order of rows does not matter.
        objects = units(manifest).unit
        rank = np.argsort(np.argsort(manifest.id, kind="stable"))
        self._rows = np.lexsort((rank, objects, labels))[len(labels) - int(sizes.sum()) :]
        self._objects = objects[self._rows]
        self._starts = np.r_[0, np.cumsum(sizes)]

    def __len__(self) -> int:
        return self._length

    @property
    def repeating(self) -> tuple[str, ...]:
        """The classes with fewer than K pictures, some of which a batch holds more than once."""
        sizes = np.diff(self._starts)
        return tuple(
            name
            for name, size in zip(self._names, sizes, strict=True)
            if size < self._samples_per_class
        )

    def batches(self, epoch: int) -> list[Rows]:
        """B batches of P * K rows each."""
        first = (epoch - 1) * self._length
        classes, turns = visits(
            len(self._names), self._classes_per_batch, first=first, last=first + self._length,
            permutation=self._permutation,
        )  # fmt: skip
        rows = np.empty((classes.size, self._samples_per_class), np.int64)
        by_class = np.argsort(classes, axis=None, kind="stable")
        bounds = np.searchsorted(classes.flat[by_class], np.arange(len(self._names) + 1))
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            places = by_class[bounds[number] : bounds[number + 1]]
            begin = int(turns.flat[places[0]])
            pictures = self._pictures(number)
            rows[places] = pictures.visits(begin, begin + len(places))
        return list(rows.reshape(self._length, -1))

    def share(self, batch: Rows, rank: int, count: int) -> Rows:
        """Whole classes where they can be divided equally, else every `count`-th row."""
        if self._classes_per_batch % count:
            return batch[rank::count]
        return batch.reshape(self._classes_per_batch, -1)[rank::count].reshape(-1)

    def _permutation(self, cycle: int) -> Rows:
        return generator(self._seed, cycle, "order of the classes").permutation(len(self._names))

    def _pictures(self, number: int) -> ClassPictures:
        part = slice(self._starts[number], self._starts[number + 1])
        return ClassPictures(
            self._rows[part],
            self._objects[part],
            take=self._samples_per_class,
            seed=self._seed,
            name=self._names[number],
        )


def _cuts(rows: int, batch_size: int, *, least: int) -> list[int]:
    """Where batches begin and end; a tail of fewer than `least` rows joins the last one."""
    cuts = [*range(0, rows, batch_size), rows]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < least:
        del cuts[-2]
    return cuts


def _require_enough(names: list[str], sizes: list[int], classes: int, samples: int) -> None:
    if classes > len(names):
        raise ConfigError(
            f"A batch of {classes} different classes cannot be made of {len(names)}.",
            expected=f"at most {len(names)} classes in a batch",
            got=f"sampler.classes_per_batch={classes}",
            where=f"training pictures of {shortened(names)}",
            remedy=f"set sampler.classes_per_batch={len(names)} or lower",
        )
    largest = max(sizes)
    if samples > largest:
        raise ConfigError(
            f"No class has {samples} pictures to put into a batch.",
            expected=f"at most {largest}, the pictures of {names[sizes.index(largest)]}, which has "
            "the most",
            got=f"sampler.samples_per_class={samples}",
            remedy=f"set sampler.samples_per_class={largest} or lower, or add pictures",
        )
