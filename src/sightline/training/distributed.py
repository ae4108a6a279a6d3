"""The training step as a module, so that torch's DistributedDataParallel can surround it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sightline.errors import TrainingError
from sightline.training.runtime import process, sum_over_processes


class Agreed(NamedTuple):
    """What all processes of a run know together."""

    samples: int
    """Samples of the next step in all of them; 0 where there is no next step."""
    interrupted: bool
    """Whether a signal came to any of them."""
    stopped: bool
    """Whether any of them was asked to stop."""


def agree(samples: int, *, interrupted: bool, stopped: bool, device: torch.device) -> Agreed:
    """What the processes know together, when each says what it knows; all must ask at once.

    Raises TrainingError in every process when some have a next step (samples > 0) and others,
    that were not asked to stop, have none.
    """
    mine = [samples, samples > 0, interrupted, stopped]
    total, having, signals, stops = sum_over_processes([float(one) for one in mine], device)
    count = process().count
    if 0 < having < count and not stops:
        raise TrainingError(
            "The processes of this run have different numbers of batches.",
            expected=f"a next batch in each of {count} processes, or in none",
            got=f"one in {int(having)} of them",
            remedy="give every process a loader of the same length (drop_last, or even shares)",
        )
    return Agreed(0 if stops else int(total), signals > 0, stops > 0)


def share(modules: Sequence[nn.Module], *, buffers_only: bool = False) -> None:
    """Give the modules of every process the values that the first process has."""
    if process().count == 1:
        return
    for module in modules:
        if not buffers_only:
            for parameter in module.parameters():
                torch.distributed.broadcast(parameter.data, src=0)
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)


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


def only_first_process(action: Callable[[], list[Path]]) -> list[Path]:
    """What the action returns in the first process, an empty list in the others, which wait.

    An error of the first process reaches all of them.
    """
    here = process()
    if here.count == 1:
        return action()
    result: list[Path] = []
    problem: list[str | None] = [None]
    error: Exception | None = None
    if here.is_first:
        try:
            result = action()
        except Exception as caught:  # noqa: BLE001 (raised again below, when the others know)
            error, problem[0] = caught, str(caught)
    torch.distributed.broadcast_object_list(problem, src=0)
    if error is not None:
        raise error
    if problem[0] is not None:
        raise TrainingError("The first process failed.", got=problem[0])
    return result
