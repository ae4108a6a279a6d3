"""Batches of images: the order of an epoch, worker processes, and what a batch holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from sightline.data.decode import Pixels
from sightline.data.decoding import available_cores
from sightline.data.images import Images
from sightline.data.presets import Augmentation
from sightline.data.views import Fit, central_view, colour_matrix, random_view, render
from sightline.errors import DataError
from sightline.random_numbers import generator


@dataclass(frozen=True, slots=True)
class Batch:
    """B images and what is known of them."""

    images: torch.Tensor
    """(B, 3, S, S) uint8 RGB in channels-last memory."""
    labels: torch.Tensor
    """(B,) int64 class indices, -1 where there is no label."""
    ids: list[str]
    """B sample ids."""
    colour: torch.Tensor | None = None
    """(B, 3, 4) float32 affine colour maps to apply on the device; None: leave the colours."""

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which copies to a GPU overlap with work."""
        colour = None if self.colour is None else self.colour.pin_memory()
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.ids, colour)


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of every batch this process takes."""

    rank: int = 0
    count: int = 1


class ImageLoader:
    """Batches of a manifest's images; every epoch and every batch can be had again by its number.

    With an augmentation the order is a new permutation in each epoch and images are random views;
    without, rows come in order as central squares (`fit` pad: whole, with filled margins), or as
    one test `view` of them. Order and views depend on the seed, the epoch, the sample ids and, if
    the augmentation has a schedule, the number of `epochs`; not on the order of rows or the number
    of workers. With several processes, each takes its share of every batch. A new pass ends the
    one before it.
    """

    def __init__(  # noqa: PLR0913 (keywords that have nothing in common)
        self,
        images: Images,
        *,
        size: int,
        batch_size: int,
        fit: Fit = "crop",
        augment: Augmentation | None = None,
        epochs: int = 1,
        view: Callable[[Pixels, str], Pixels] | None = None,
        seed: int = 0,
        workers: int = 0,
        shard: Shard | None = None,
        pin_memory: bool = False,
    ) -> None:
        if augment is not None and view is not None:
            raise ValueError("a test view is of what evaluation sees, without augmentation")
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = augment is not None
        self._shard = shard or Shard()
        self._plan = _EpochPlan()
        self._loader = DataLoader(
            _Batches(images, _Look(size, fit, augment, max(epochs, 1), view), seed),
            batch_size=None,
            sampler=self._plan,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator().manual_seed(seed),
        )
        self._rows = len(images)
        self._ids = images.manifest.id
        self._by_id: npt.NDArray[np.int64] | None = None
        self._passes = 0

    def __len__(self) -> int:
        return len(self._cuts()) - 1

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(1)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (from 1), beginning with number `start` (from 0)."""
        order = self.order(epoch)
        cuts = self._cuts()
        self._plan.keys = [
            (epoch, order[low:high][self._shard.rank :: self._shard.count])
            for low, high in zip(cuts[start:-1], cuts[start + 1 :], strict=True)
        ]
        self._passes += 1
        return self._pass(iter(self._loader), self._passes)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """(N,) rows in the order in which the epoch uses them."""
        if not self._shuffle:
            return np.arange(self._rows)
        if self._by_id is None:
            self._by_id = np.argsort(self._ids, kind="stable")
        random = generator(self._seed, epoch, "order of the epoch")
        order: npt.NDArray[np.int64] = self._by_id[random.permutation(self._rows)]
        return order

    def _pass(self, batches: Iterator[Batch | DataError], number: int) -> Iterator[Batch]:
        """The batches; an error that came in place of one is raised."""
        for batch in batches:
            if isinstance(batch, DataError):
                raise batch
            yield batch
            # Worker processes serve one pass: the older would get batches of the newer.
            if number != self._passes:
                raise RuntimeError("another pass over the same loader was begun during this one")

    def _cuts(self) -> list[int]:
        """Where batches begin and end; a tail too small for batch statistics joins the last one."""
        cuts = [*range(0, self._rows, self._batch_size), self._rows]
        tail = cuts[-1] - cuts[-2] if len(cuts) > 1 else 0
        # In training two samples for each process: BatchNorm needs a variance.
        least = (2 if self._shuffle else 1) * self._shard.count
        if len(cuts) > 2 and tail < least:
            del cuts[-2]
        return cuts


def default_workers(*, cached: bool, on_gpu: bool) -> int:
    """Worker processes when none are named: few for decoded images, none where the CPU trains."""
    cores = available_cores()
    if not on_gpu:
        return 0 if cached else max(1, cores // 2)
    return max(1, min(4 if cached else 16, cores - 1))


class _EpochPlan:
    """The sampler of the epoch under way: one key per batch."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, npt.NDArray[np.int64]]] = []

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a batch shows of its images."""

    size: int
    fit: Fit
    augment: Augmentation | None
    epochs: int
    view: Callable[[Pixels, str], Pixels] | None


class _Batches(Dataset[Any]):
    """Makes the batch of a key (epoch, rows); has no state, so any worker makes the same one."""

    def __init__(self, images: Images, look: _Look, seed: int) -> None:
        self._images = images
        self._look = look
        self._seed = seed

    def __getitem__(self, key: tuple[int, npt.NDArray[np.int64]]) -> Batch | DataError:
        try:
            return self._batch(*key)
        except DataError as error:
            # Raised in a worker it would arrive as a traceback in the place of its message.
            return error

    def _batch(self, epoch: int, rows: npt.NDArray[np.int64]) -> Batch:
        look, manifest = self._look, self._images.manifest
        size, fit = look.size, look.fit
        ranges = look.augment and look.augment.at(epoch, look.epochs)
        pixels = np.empty((len(rows), size, size, 3), np.uint8)
        colour = np.empty((len(rows), 3, 4), np.float32) if ranges and ranges.color else None
        ids = [str(manifest.id[row]) for row in rows]
        for number, row in enumerate(rows):
            image = self._images[int(row)]
            if ranges is None:
                view = central_view(image.shape[0], image.shape[1], fit)
            else:
                random = generator(self._seed, epoch, ids[number])
                view = random_view(random, *image.shape[:2], size=size, ranges=ranges, fit=fit)
            render(image, view, size, pixels[number])
            if look.view is not None:
                pixels[number] = look.view(pixels[number], ids[number])
            if colour is not None:
                colour[number] = colour_matrix(view, pixels[number])
        return Batch(
            images=torch.from_numpy(pixels).permute(0, 3, 1, 2),
            labels=torch.from_numpy(manifest.label.codes[rows].astype(np.int64)),
            ids=ids,
            colour=None if colour is None else torch.from_numpy(colour),
        )
