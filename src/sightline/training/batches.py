"""What the trainer must know of a batch it did not make: its size, its ids, its device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

from sightline.errors import TrainingError


def batch_size(batch: Any) -> int:
    """Samples in a batch: the length of its first tensor or array, looking inside containers."""
    first = batch[0] if isinstance(batch, (list, tuple)) and batch else batch
    # size(0) and not len(): the latter is a Python function, slow enough to be seen in a step.
    size = first.size(0) if isinstance(first, torch.Tensor) and first.ndim else _first_length(batch)
    if not size:
        raise TrainingError(
            "The trainer cannot tell how many samples a batch holds.",
            expected="a tensor, or a tuple, list, mapping or dataclass that holds one",
            got=type(batch).__name__ + ("" if size is None else " of no sample"),
            remedy="override count_samples(batch) in the trainer",
        )
    return size


def sample_ids(batch: Any) -> list[str]:
    """The ids a batch carries in `ids` (attribute or key), or an empty list."""
    ids = batch.get("ids") if isinstance(batch, Mapping) else getattr(batch, "ids", None)
    return [] if ids is None else [str(one) for one in ids]


def to_device(batch: Any, device: torch.device) -> Any:
    """The same batch with every tensor in it on the device."""
    return _with_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))


def to_cpu(outputs: Any) -> Any:
    """The same outputs, detached and on the CPU."""
    return _with_tensors(outputs, lambda tensor: tensor.detach().cpu())


def _with_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The value with every tensor changed; looks inside containers, named tuples, dataclasses."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _with_tensors(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_with_tensors(item, change) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(_with_tensors(item, change) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: _with_tensors(getattr(value, field.name), change)
            for field in dataclasses.fields(value)
            if field.init
        }
        return dataclasses.replace(value, **changed)
    return value


def _first_length(value: Any) -> int | None:
    if isinstance(value, torch.Tensor) or (hasattr(value, "shape") and hasattr(value, "dtype")):
        return len(value) if value.ndim else None
    if isinstance(value, Mapping):
        value = list(value.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, list | tuple):
        for item in value:
            length = _first_length(item)
            if length is not None:
                return length
    return None
