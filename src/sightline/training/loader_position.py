"""Starting a loader in the middle of an epoch, for loaders that know how and those that do not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch

from sightline.training.runtime import random_state, restore_random_state


class EpochPosition:
    """Where one epoch of a loader begins, so that its batches can be had again from any one on.

    A loader with `batches(epoch, start)` is asked for the rest directly. Any other iterable is
    started from the saved random state of the epoch's beginning, and the batches already used
    are drawn and thrown away. The generators of a DataLoader and of its samplers count; those
    inside a dataset or a worker process do not.
    """

    def __init__(self) -> None:
        self._start: dict[str, Any] | None = None
        self._generators: list[torch.Generator] = []
        self._saved: list[torch.Tensor] = []

    def iterate(self, loader: Any, epoch: int, batch: int) -> Iterator[Any]:
        """The batches of an epoch (from 1), beginning with number `batch` (from 0)."""
        if hasattr(loader, "batches"):
            self._start = None
            rest: Iterator[Any] = iter(loader.batches(epoch, start=batch))
            return rest
        if hasattr(getattr(loader, "sampler", None), "set_epoch"):
            loader.sampler.set_epoch(epoch)
        self._generators = _generators_of(loader)
        saved, self._saved = self._saved, []
        if batch == 0 or self._start is None:
            self._set_generators(saved)
            self._start = {"random": random_state(), "generators": self._generator_states()}
            all_batches: Iterator[Any] = iter(loader)
            return itertools.islice(all_batches, batch, None)
        now = random_state()
        restore_random_state(self._start["random"])
        # Drawing the used batches again brings the loader's generators to where they were.
        self._set_generators(self._start["generators"])
        iterator: Iterator[Any] = iter(loader)
        for _ in itertools.islice(iterator, batch):
            pass
        restore_random_state(now)
        return iterator

    def state_dict(self) -> dict[str, Any]:
        """The random state at the epoch's beginning, and the loader's own generators now."""
        return {"start": self._start, "generators": self._generator_states() or self._saved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the epoch, or the series of epochs, whose state was saved."""
        self._generators = []
        self._start, self._saved = state["start"], state["generators"]

    def _generator_states(self) -> list[torch.Tensor]:
        return [generator.get_state() for generator in self._generators]

    def _set_generators(self, states: list[torch.Tensor]) -> None:
        for generator, state in zip(self._generators, states, strict=False):
            generator.set_state(state)


def _generators_of(loader: Any) -> list[torch.Generator]:
    """The generators of a DataLoader, its sampler and its batch sampler, each once, in order."""
    outer = getattr(loader, "batch_sampler", None)
    owners = (loader, getattr(loader, "sampler", None), outer, getattr(outer, "sampler", None))
    found: dict[int, torch.Generator] = {}
    for owner in owners:
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            found.setdefault(id(generator), generator)
    return list(found.values())
