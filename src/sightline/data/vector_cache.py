"""Tables made float32 and kept as .npy files, so that they can be mapped; a block at a time."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError

Block = npt.NDArray[Any]

_VERSION = "1"
_LARGEST = float(np.finfo(np.float32).max)


def kept_file(file: Path, cache_dir: Path, column: str | None) -> Path:
    """Return where a table is kept: named by the content of its file and the column.

    So a file that was moved is found and one that was changed is not. Reads the whole file.
    """
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16))
    digest.update(f"{file.suffix.lower()} {column!r} {_VERSION}".encode())
    return cache_dir / f"vectors-{digest.hexdigest()}.npy"


def write_kept(target: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` fill the file unless it is there; made beside it and renamed when whole."""
    if target.is_file():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.stem}-", dir=target.parent)
    except OSError as error:
        raise DataError(
            f"Vectors cannot be kept: {error.strerror}.",
            where=target.parent,
            remedy="name a folder you may write to with data.cache_dir=FOLDER",
        ) from error
    beside = Path(name)
    try:
        with open(descriptor, "wb") as handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def write_blocks(blocks: Iterator[Block], into: IO[bytes], file: Path) -> None:
    """Write blocks of rows (B, D) as one .npy table of the first one's type; DataError for none."""
    shape, begin, dtype = (0, 0), 0, np.dtype(np.float32)
    for block in blocks:
        if not shape[1]:
            shape, dtype = (0, block.shape[1]), block.dtype
            _write_header(into, shape, dtype)
            begin = into.tell()
        into.write(np.ascontiguousarray(block, dtype).data)
        shape = (shape[0] + len(block), shape[1])
    if not shape[0]:
        raise DataError("There are no vectors.", expected="one or more rows", where=file)
    into.seek(0)
    # numpy leaves room for the number of rows to grow, so the numbers stay where they are.
    _write_header(into, shape, dtype)
    assert into.tell() == begin


def collected(blocks: Iterator[Block], file: Path) -> Block:
    """Return blocks of rows as one table in memory, (N, D); DataError for none."""
    held, size, dtype = bytearray(), 0, np.dtype(np.float32)
    for block in blocks:
        size, dtype = block.shape[1], block.dtype
        held += np.ascontiguousarray(block).data.cast("B")
    if not held:
        raise DataError("There are no vectors.", expected="one or more rows", where=file)
    return np.frombuffer(held, dtype).reshape(-1, size)


def as_floats(blocks: Iterator[Block], file: Path) -> Iterator[Block]:
    """Yield blocks as float32, and float16 as it is; DataError for what float32 cannot hold."""
    row = 0
    for block in blocks:
        if block.dtype.type in (np.float16, np.float32):
            yield np.asarray(block, block.dtype.newbyteorder("="))
        else:
            beyond = np.isfinite(block) & (np.abs(block.astype(np.float64)) > _LARGEST)
            if beyond.any():
                at, place = np.argwhere(beyond)[0]
                raise DataError(
                    "A number is too large for float32.",
                    expected=f"numbers up to {_LARGEST:.3g}",
                    got=f"{block[at, place]:.3g}",
                    where=f"{file}, row {row + at}",
                    remedy="scale the vectors down; only ratios of distances matter",
                )
            yield block.astype(np.float32)
        row += len(block)


def _write_header(into: IO[bytes], shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    form = np.lib.format
    described = {"descr": form.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    form.write_array_header_1_0(into, described)
