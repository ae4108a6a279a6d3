"""Tensors by name from a file somebody else wrote, without running anything in it."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightline.errors import CheckpointError, ConfigError

_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU; other entries are passed over."""
    if not file.is_file():
        raise ConfigError(
            "The weights file is not there.",
            expected="a file",
            where=file,
            remedy="set model.weights=FILE; in a config file, a path counts from that file",
        )
    found = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    while isinstance(found, Mapping):
        inner = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    entries = found.items() if isinstance(found, Mapping) else ()
    tensors = {str(name): value for name, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            "The weights file holds no state dict.",
            expected=f"tensors by name, at the top or under {', '.join(_WRAPPERS)}",
            got=few_names(map(str, found)) if isinstance(found, Mapping) else type(found).__name__,
            where=file,
            remedy="save it with torch.save(model.state_dict(), FILE)",
        )
    return tensors


def _read_safetensors(file: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise _unreadable(file, error) from error


def _read_torch(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged pickle can raise nearly anything; only a refused object is told apart.
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None or not isinstance(error, pickle.UnpicklingError):
            raise _unreadable(file, error) from error
        raise CheckpointError(
            "The weights file holds Python objects, which could run code when loaded.",
            expected="tensors and plain data only",
            got=refused[1],
            where=file,
            remedy="where you trust it, load it elsewhere and torch.save(model.state_dict(), FILE)",
        ) from error


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    size = file.stat().st_size
    return CheckpointError(
        "The weights file cannot be read: it is truncated or of another kind.",
        expected="a whole .pth, .pt or .safetensors file",
        got=f"{size} bytes; {str(error).strip().splitlines()[0][:160] if str(error) else 'empty'}",
        where=file,
        remedy="fetch or write the file again and compare its size",
    )


def few_names(names: Iterable[str], count: int = 4) -> str:
    """The first few names as text, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - count} more" if len(found) > count else ""
    return ", ".join(found[:count]) + more
