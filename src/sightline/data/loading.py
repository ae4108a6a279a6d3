"""Batches of images: the order of an epoch, worker processes, and what a batch holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sightline.config.image_size import ImageSize, Size, size_of
from sightline.data.batch_plans import BatchPlan, Rows, SequentialPlan, ShuffledPlan
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
    """(B, 3, H, W) uint8 RGB in channels-last memory."""
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
    without, rows come in order as evaluation sees them (`central_view`), or as one test `view` of
    that. Order and views depend on the seed, the epoch, the sample ids and, if
    the augmentation has a schedule, the number of `epochs`; not on the order of rows or the number
    of workers. A `plan` says in their place which rows are in each batch; a row that comes again
    in an epoch is another view. With several processes, each takes its share of every batch. A new
    pass ends the one before it.
    """

    def __init__(  # noqa: PLR0913 (keywords that have nothing in common)
        self,
        images: Images,
        *,
        size: ImageSize,
        batch_size: int,
        fit: Fit = "crop",
        augment: Augmentation | None = None,
        epochs: int = 1,
        view: Callable[[Pixels, str], Pixels] | None = None,
        seed: int = 0,
        workers: int = 0,
        shard: Shard | None = None,
        pin_memory: bool = False,
        plan: BatchPlan | None = None,
    ) -> None:
        if augment is not None and view is not None:
            raise ValueError("a test view is of what evaluation sees, without augmentation")
        shape = size_of(size)
        if augment is not None and augment.quarter_turns and not shape.is_square:
            raise ValueError(f"quarter turns need a square, and images are {shape}")
        self._shard = shard or Shard()
        self._varies = augment is not None
        count = self._shard.count
        if plan is None and self._varies:
            ids = images.manifest.id
            plan = ShuffledPlan(ids, batch_size=batch_size, seed=seed, processes=count)
        elif plan is None:
            plan = SequentialPlan(len(images), batch_size=batch_size, processes=count)
        self._plan = plan
        self._keys = _Keys()
        self._loader = DataLoader(
            _Batches(images, _Look(shape, fit, augment, max(epochs, 1), view), seed),
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator().manual_seed(seed),
        )
        self._passes = 0

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(1)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (from 1), beginning with number `start` (from 0)."""
        batches = self._plan.batches(epoch)
        turns = _turns(batches) if self._varies else [np.zeros_like(rows) for rows in batches]
        rank, count = self._shard.rank, self._shard.count
        self._keys.list = [
            (epoch, self._plan.share(rows, rank, count), self._plan.share(turn, rank, count))
            for rows, turn in zip(batches[start:], turns[start:], strict=True)
        ]
        self._passes += 1
        return self._pass(iter(self._loader), self._passes)

    def _pass(self, batches: Iterator[Batch | DataError], number: int) -> Iterator[Batch]:
        """The batches; an error that came in place of one is raised."""
        for batch in batches:
            if isinstance(batch, DataError):
                raise batch
            yield batch
            # Worker processes serve one pass: the older would get batches of the newer.
            if number != self._passes:
                raise RuntimeError("another pass over the same loader was begun during this one")


def default_workers(*, cached: bool, on_gpu: bool) -> int:
    """Worker processes when none are named: few for decoded images, none where the CPU trains."""
    cores = available_cores()
    if not on_gpu:
        return 0 if cached else max(1, cores // 2)
    return max(1, min(4 if cached else 16, cores - 1))


_Key = tuple[int, Rows, Rows]
"""Epoch, rows of a batch, and how often each row came before in the epoch."""


class _Keys:
    """The sampler of the epoch under way: one key per batch."""

    def __init__(self) -> None:
        self.list: list[_Key] = []

    def __iter__(self) -> Iterator[_Key]:
        return iter(self.list)

    def __len__(self) -> int:
        return len(self.list)


def _turns(batches: list[Rows]) -> list[Rows]:
    """For every row of every batch, how often it came before in the epoch."""
    if not batches:
        return []
    rows = np.concatenate(batches)
    order = np.argsort(rows, kind="stable")
    starts = np.r_[True, rows[order][1:] != rows[order][:-1]]
    place = np.arange(len(rows))
    turns = np.empty_like(rows)
    turns[order] = place - np.maximum.accumulate(np.where(starts, place, 0))
    return np.split(turns, np.cumsum([len(one) for one in batches])[:-1])


@dataclass(frozen=True, slots=True)
class _Look:
    """What a batch shows of its images."""

    size: Size
    fit: Fit
    augment: Augmentation | None
    epochs: int
    view: Callable[[Pixels, str], Pixels] | None


class _Batches(Dataset[Any]):
    """Makes the batch of a key; has no state, so any worker makes the same one."""

    def __init__(self, images: Images, look: _Look, seed: int) -> None:
        self._images = images
        self._look = look
        self._seed = seed

    def __getitem__(self, key: _Key) -> Batch | DataError:
        try:
            return self._batch(*key)
        except DataError as error:
            # Raised in a worker it would arrive as a traceback in the place of its message.
            return error

    def _batch(self, epoch: int, rows: Rows, turns: Rows) -> Batch:
        look, manifest = self._look, self._images.manifest
        size, fit = look.size, look.fit
        ranges = look.augment and look.augment.at(epoch, look.epochs)
        pixels = np.empty((len(rows), *size, 3), np.uint8)
        colour = np.empty((len(rows), 3, 4), np.float32) if ranges and ranges.color else None
        ids = [str(manifest.id[row]) for row in rows]
        for number, row in enumerate(rows):
            image = self._images[int(row)]
            if ranges is None:
                view = central_view(image.shape[0], image.shape[1], fit, size)
            else:
                again = f"#{turns[number]}" if turns[number] else ""
                random = generator(self._seed, epoch, ids[number] + again)
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
