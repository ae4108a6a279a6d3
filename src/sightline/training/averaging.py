"""The exponential moving average of the weights, and evaluating with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn


class AveragedModel:
    """timm's ModelEmaV3 over a model (Polyak & Juditsky 1992), with an evaluation swap.

    The decay warms up, min(decay, (1 + step) / (10 + step)), so early averages are not the
    random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        from timm.utils import ModelEmaV3

        self._model = model
        self._average = ModelEmaV3(model, decay=decay, foreach=True)
        self._decay = decay

    def update(self, step: int) -> None:
        """Move the average towards the model's weights after optimizer step `step` (from 1)."""
        self._average.decay = min(self._decay, (1 + step) / (10 + step))
        self._average.update(self._model)

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
        return dict(self._average.module.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved average."""
        self._average.module.load_state_dict(state)

    def _exchange(self) -> None:
        mine, averaged = (
            self._model.state_dict(keep_vars=True),
            self._average.module.state_dict(keep_vars=True),
        )
        for name, tensor in mine.items():
            other = averaged[name]
            tensor.data, other.data = other.data, tensor.data
