"""The training step as a module, so that torch's DistributedDataParallel can surround it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sightline.training.runtime import process


class DataParallelStep:
    """Calls a training step, and in a run of several processes averages its gradients.

    Alone, it is the plain call. The wrapper is made again when the set of trainable parameters
    changes, as after an unfreeze.
    """

    def __init__(self, step: Callable[[Any, int], Any], modules: list[nn.Module]) -> None:
        self._step = step
        self._modules = modules
        self._alone = process().count == 1
        self._wrapped: DistributedDataParallel | None = None
        self._trainable: list[bool] = []

    def __call__(self, batch: Any, index: int, *, last: bool) -> Any:
        """The step's outputs; gradients are exchanged in the backward pass of the last batch."""
        if self._alone:
            return self._step(batch, index)
        wrapped = self._current()
        with contextlib.nullcontext() if last else wrapped.no_sync():
            return wrapped(batch, index)

    def _current(self) -> DistributedDataParallel:
        trainable = [p.requires_grad for module in self._modules for p in module.parameters()]
        if self._wrapped is None or trainable != self._trainable:
            module = _StepModule(self._step, self._modules)
            self._wrapped = DistributedDataParallel(module)
            self._trainable = trainable
        return self._wrapped


class _StepModule(nn.Module):
    """Owns the parameters the step uses; its forward is the step."""

    def __init__(self, step: Callable[[Any, int], Any], modules: list[nn.Module]) -> None:
        super().__init__()
        self.owned = nn.ModuleList(modules)
        self._step = step

    def forward(self, batch: Any, index: int) -> Any:
        """The step's outputs, tensors among them."""
        return self._step(batch, index)


def only_first_process(action: Callable[[], None]) -> None:
    """Run the action in the first process while the others wait; its error reaches them all."""
    here = process()
    if here.count == 1:
        action()
        return
    problem: list[str | None] = [None]
    error: Exception | None = None
    if here.is_first:
        try:
            action()
        except Exception as caught:
            error, problem[0] = caught, str(caught)
    torch.distributed.broadcast_object_list(problem, src=0)
    if error is not None:
        raise error
    if problem[0] is not None:
        raise RuntimeError(f"the first process failed: {problem[0]}")
