"""Large outputs of a model on disk instead of in memory, and the rows of such outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

LARGE = 3
"""Dimensions from which on an output (maps, images) is large; vectors and scores are not."""


class _Place(NamedTuple):
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Spool:
    """A nameless temporary file that takes arrays and gives them back mapped into memory.

    A context: after it nothing more can be read, and the file is gone with the last array that
    was.
    """

    def __init__(self) -> None:
        self._file: Any = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def keep(self, output: dict[str, Any]) -> dict[str, Any]:
        """The same output, with places in the file instead of its large arrays."""
        return {
            key: self._write(np.asarray(value)) if getattr(value, "ndim", 0) >= LARGE else value
            for key, value in output.items()
        }

    def read(self, outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The outputs that `keep` returned, with read-only arrays instead of places."""
        if self._file is None:
            return list(outputs)
        self._file.flush()
        content = np.memmap(self._file, np.uint8, mode="r").view(np.ndarray)

        def array(place: _Place) -> npt.NDArray[Any]:
            size = int(np.prod(place.shape)) * place.dtype.itemsize
            part = content[place.offset : place.offset + size]
            return part.view(place.dtype).reshape(place.shape)

        return [
            {
                key: array(value) if isinstance(value, _Place) else value
                for key, value in one.items()
            }
            for one in outputs
        ]

    def _write(self, values: npt.NDArray[Any]) -> _Place | npt.NDArray[Any]:
        if not values.size:
            return values
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        # Views of another type must begin at a multiple of their item's size.
        offset = -(-self._file.tell() // 16) * 16
        self._file.seek(offset)
        self._file.write(np.ascontiguousarray(values).data)
        return _Place(offset, values.shape, values.dtype)


class Rows(Sequence[npt.NDArray[Any]]):
    """The rows of several arrays one after the other, in an order of their own.

    Nothing is copied: a row is read when it is asked for.
    """

    ndim = LARGE

    def __init__(self, parts: Sequence[Any], order: npt.NDArray[np.int64]) -> None:
        self._parts, self._order = parts, order
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, row: int) -> npt.NDArray[Any]: ...

    @overload
    def __getitem__(self, row: slice) -> Rows: ...

    def __getitem__(self, row: int | slice) -> npt.NDArray[Any] | Rows:
        if isinstance(row, slice):
            return Rows(self._parts, self._order[row])
        place = int(self._order[row])
        part = int(np.searchsorted(self._starts, place, side="right")) - 1
        return np.asarray(self._parts[part][place - int(self._starts[part])])
