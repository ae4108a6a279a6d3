"""The exponential moving average of the weights, and evaluating with it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


class AveragedModel:
    """A moving average of a model's weights (Polyak & Juditsky 1992), with an evaluation swap.

    The decay warms up, min(decay, (1 + step) / (10 + step)), so early averages are not the
    random start. Floating-point buffers are averaged like weights; other tensors are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    def update(self, step: int) -> None:
        """Move the average towards the model's weights after optimizer step `step` (from 1)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        pairs = self._pairs()
        with torch.no_grad():
            moved = [(old, new) for old, new in pairs if old.is_floating_point()]
            old, new = [pair[0] for pair in moved], [pair[1] for pair in moved]
            torch._foreach_lerp_(old, new, 1.0 - decay)
            for other, value in pairs:
                if not other.is_floating_point():
                    other.copy_(value)

    @contextlib.contextmanager
    def as_model(self) -> Iterator[None]:
        """Let the model hold the averaged weights inside the block; nothing is copied."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights, named as in the model."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved average."""
        self.module.load_state_dict(state)

    def _exchange(self) -> None:
        for averaged, tensor in self._pairs():
            averaged.data, tensor.data = tensor.data, averaged.data

    def _pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each tensor of the average with the model's; one that has several names comes once."""
        mine = self._model.state_dict(keep_vars=True)
        averaged = self.module.state_dict(keep_vars=True)
        pairs = {
            id(tensor): (averaged[name], tensor)
            for name, tensor in mine.items()
            if isinstance(tensor, torch.Tensor)
        }
        return list(pairs.values())
