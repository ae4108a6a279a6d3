"""What the trainer must know of a batch it did not make: its size, its ids, its device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from sightline.errors import TrainingError


def batch_size(batch: Any) -> int:
    """Samples in a batch: the length of its first tensor or array, looking inside containers."""
    first = batch[0] if isinstance(batch, (list, tuple)) and batch else batch
    # size(0) and not len(): the latter is a Python function, slow enough to be seen in a step.
    size = first.size(0) if isinstance(first, torch.Tensor) and first.ndim else _first_length(batch)
    if size is None:
        raise TrainingError(
            "The trainer cannot tell how many samples a batch holds.",
            expected="a tensor, or a tuple, list, mapping or dataclass that holds one",
            got=type(batch).__name__,
            remedy="override count_samples(batch) in the trainer",
        )
    return size


def sample_ids(batch: Any) -> list[str]:
    """The ids a batch carries in `ids` (attribute or key), or an empty list."""
    ids = batch.get("ids") if isinstance(batch, Mapping) else getattr(batch, "ids", None)
    return [] if ids is None else [str(one) for one in ids]


def to_device(batch: Any, device: torch.device) -> Any:
    """The same batch with every tensor in it on the device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        moved = {
            field.name: to_device(getattr(batch, field.name), device)
            for field in dataclasses.fields(batch)
        }
        return dataclasses.replace(batch, **moved)
    return batch


def to_cpu(outputs: Any) -> Any:
    """The same outputs, detached and on the CPU."""
    if isinstance(outputs, torch.Tensor):
        return outputs.detach().cpu()
    if isinstance(outputs, Mapping):
        return {key: to_cpu(value) for key, value in outputs.items()}
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return type(outputs)(*(to_cpu(value) for value in outputs))
    if isinstance(outputs, list | tuple):
        return type(outputs)(to_cpu(value) for value in outputs)
    return outputs


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
