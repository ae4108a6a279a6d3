"""Opens a table of vectors: .npy, .npz, .fvecs, .parquet or .jsonl, mapped where it can be.

N rows of D numbers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.vector_arrays import (
    choose_member,
    extract_member,
    load_member,
    map_fvecs,
    map_member,
    map_npy,
)
from sightline.data.vector_cache import as_floats, collected, kept_file, write_blocks, write_kept
from sightline.data.vector_columns import jsonl_column, parquet_column
from sightline.data.vector_rows import row_blocks
from sightline.errors import DataError

ENDINGS = (".npy", ".npz", ".parquet", ".jsonl", ".fvecs")


@dataclass(frozen=True, slots=True, eq=False)
class VectorTable:
    """The vectors of a file."""

    values: npt.NDArray[Any]
    """(N, D) float16 or float32, a memory map where it can be one; not to be written to."""
    file: Path
    column: str | None = None
    """The column, key or array of the file that they are in, None where it has none."""
    notes: tuple[str, ...] = ()
    """Sentences about what was chosen or changed."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values: float16 or float32."""
        return self.values.dtype


def open_vectors(
    file: Path, *, column: str | None = None, cache_dir: Path | None = None
) -> VectorTable:
    """Return the vectors of a file (N, D) as float16 or float32, mapped where that is possible.

    What cannot be mapped, because it is text, compressed or of another type, is converted once
    into a .npy in ``cache_dir``, found again by the file's content, and mapped; without the folder
    it is read into memory. ``column`` names one of several columns or arrays. Whether numbers are
    finite is not looked at (``vector_rows.require_finite``).

    Raises DataError for a file that is missing, empty, cut or broken, of an unknown ending, without
    a table of numbers in it, or with numbers that float32 cannot hold.
    """
    file = Path(file)
    ending = _checked_ending(file)
    if ending in (".npy", ".fvecs"):
        if column is not None:
            raise DataError(
                f"A file that ends with {ending} has no columns.",
                expected="no column",
                got=column,
                where=file,
                remedy="leave the column out",
            )
        return _as_table(map_npy(file) if ending == ".npy" else map_fvecs(file), file, cache_dir)
    if ending == ".npz":
        return _open_npz(file, column, cache_dir)
    find = parquet_column if ending == ".parquet" else jsonl_column
    found = find(file, column)
    if cache_dir is None:
        values = collected(as_floats(found.blocks(), file), file)
        return VectorTable(values, file, found.name, found.notes)
    target = kept_file(file, cache_dir, found.name)
    write_kept(target, lambda into: write_blocks(as_floats(found.blocks(), file), into, file))
    return VectorTable(map_npy(target), file, found.name, found.notes)


def _checked_ending(file: Path) -> str:
    if not file.is_file():
        raise DataError(
            "There is no such file of vectors.",
            expected=f"a file that ends with {', '.join(ENDINGS)}",
            got="a folder" if file.is_dir() else "nothing",
            where=file,
            remedy="check the name; relative ones are looked for where the command is run",
        )
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise DataError(
            "Vectors are not read from such a file.",
            expected=f"a file that ends with {', '.join(ENDINGS)}",
            got=ending or "no ending",
            where=file,
            remedy="save them with numpy.save('vectors.npy', table)",
        )
    if not file.stat().st_size:
        raise DataError(
            "The file of vectors is empty.",
            expected="a table of vectors",
            got="0 bytes",
            where=file,
            remedy="copy or write the file again",
        )
    return ending


def _open_npz(file: Path, column: str | None, cache_dir: Path | None) -> VectorTable:
    name = choose_member(file, column)
    mapped = map_member(file, name)
    if mapped is None and cache_dir is not None:
        target = kept_file(file, cache_dir, name)
        write_kept(target, lambda into: extract_member(file, name, into))
        mapped = map_npy(target)
    elif mapped is None:
        mapped = load_member(file, name)
    return _as_table(mapped, file, cache_dir, name)


def _as_table(
    values: npt.NDArray[Any], file: Path, cache_dir: Path | None, column: str | None = None
) -> VectorTable:
    """Tables of float16 and float32 as they are, others converted."""
    dtype = values.dtype
    if dtype.type in (np.float16, np.float32) and dtype.isnative:
        return VectorTable(values, file, column)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(
            "The vectors are of a type that is not taken.",
            expected="float16, float32, float64 or whole numbers",
            got=str(dtype),
            where=file,
        )
    blocks = as_floats(row_blocks(values), file)
    target_type = "float16" if dtype.type is np.float16 else "float32"
    notes = (f"{dtype.newbyteorder('=')} was converted to {target_type}",)
    if not dtype.isnative:
        notes = (f"{dtype} was put into the byte order of this machine",)
    if cache_dir is None:
        return VectorTable(collected(blocks, file), file, column, notes)
    target = kept_file(file, cache_dir, f"{column} as {target_type}")
    write_kept(target, lambda into: write_blocks(blocks, into, file))
    return VectorTable(map_npy(target), file, column, notes)
