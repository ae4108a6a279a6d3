"""Starting a loader in the middle of an epoch, for loaders that know how and those that do not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from sightline.training.runtime import random_state, restore_random_state


class EpochPosition:
    """Where one epoch of a loader begins, so that its batches can be had again from any one on.

    A loader with `batches(epoch, start)` is asked for the rest directly. Any other iterable is
    started from the saved random state of the epoch's beginning, and the batches already used
    are drawn and thrown away.
    """

    def __init__(self) -> None:
        self._start: dict[str, Any] | None = None
        self._generator: Any = None
        self._generator_state: Any = None

    def iterate(self, loader: Any, epoch: int, batch: int) -> Iterator[Any]:
        """The batches of an epoch (from 1), beginning with number `batch` (from 0)."""
        if hasattr(loader, "batches"):
            self._start = None
            return iter(loader.batches(epoch, start=batch))
        if hasattr(getattr(loader, "sampler", None), "set_epoch"):
            loader.sampler.set_epoch(epoch)
        self._generator = getattr(loader, "generator", None)
        if batch == 0 or self._start is None:
            self._continue_generator()
            self._start = _loader_state(loader)
            return itertools.islice(iter(loader), batch, None)
        now = random_state()
        _restore_loader_state(loader, self._start)
        iterator = iter(loader)
        for _ in itertools.islice(iterator, batch):
            pass
        restore_random_state(now)
        return iterator

    def state_dict(self) -> dict[str, Any]:
        """The random state at the epoch's beginning, and the loader's own generator now."""
        own = None if self._generator is None else self._generator.get_state()
        return {"start": self._start, "generator": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the epoch, or the series of epochs, whose state was saved."""
        self._start, self._generator_state = state["start"], state["generator"]

    def _continue_generator(self) -> None:
        if self._generator is not None and self._generator_state is not None:
            self._generator.set_state(self._generator_state)
        self._generator_state = None


def _loader_state(loader: Any) -> dict[str, Any]:
    generator = getattr(loader, "generator", None)
    return {
        "random": random_state(),
        "generator": None if generator is None else generator.get_state(),
    }


def _restore_loader_state(loader: Any, state: dict[str, Any]) -> None:
    restore_random_state(state["random"])
    if state["generator"] is not None and getattr(loader, "generator", None) is not None:
        loader.generator.set_state(state["generator"])
