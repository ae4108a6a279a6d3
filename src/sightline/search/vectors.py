"""The vectors that are searched, wherever they lie, read a block at a time."""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.errors import DataError

Array: TypeAlias = npt.NDArray[Any] | Tensor


class Vectors:
    """(N, D) rows of floating-point numbers; blocks of them as float32 on the searching device.

    Nothing is copied whole: an array or a memory map stays where it is. Rows of float64 are
    rounded to float32.
    """

    def __init__(self, table: Tensor, device: torch.device) -> None:
        self.table, self.device = table, device
        self._as_it_is = table.dtype == torch.float32 and table.device == device
        # float64, which the last step is computed in, does not exist on every device.
        self.home = torch.device("cpu") if table.device.type == "mps" else table.device

    def __len__(self) -> int:
        return len(self.table)

    @property
    def size(self) -> int:
        """Numbers of each row."""
        return int(self.table.shape[1])

    def block(self, start: int, stop: int) -> Tensor:
        """Rows as float32 on the device; a view where they are that already."""
        rows = self.table[start:stop]
        return rows if self._as_it_is else rows.to(self.device).float()

    def take(self, rows: Tensor) -> Tensor:
        """Some rows as float32 at home."""
        return self.table[rows.to(self.table.device)].to(self.home).float()


def as_table(source: Array, what: str) -> Tensor:
    """The array as a tensor that shares its memory; DataError for what is no floating point."""
    table = source.detach() if isinstance(source, Tensor) else _shared(np.asarray(source))
    if table is None or not table.dtype.is_floating_point:
        raise DataError(
            f"The {what} are no floating-point numbers.",
            expected="float32, or another floating-point type",
            got=str(source.dtype),
        )
    return table


def _shared(array: npt.NDArray[Any]) -> Tensor | None:
    if array.dtype.type not in (np.float16, np.float32, np.float64):
        return None
    if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        # A map opened for reading only is never written to here.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
