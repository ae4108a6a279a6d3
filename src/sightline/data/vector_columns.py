"""Columns of vectors in files that cannot be mapped: .parquet and .jsonl, a block at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.vector_names import choose_name, listed, without_vectors
from sightline.errors import DataError, MissingExtraError

Block = npt.NDArray[Any]

_ROWS = 1024
_BUFFER = 1 << 22


class Column(NamedTuple):
    """A column that holds vectors, and how to read it from the beginning."""

    name: str | None
    """None where the lines of a .jsonl file are the vectors themselves."""
    notes: tuple[str, ...]
    blocks: Callable[[], Iterator[Block]]
    """Tables (B, D) of one D, in the order of the file."""


def parquet_column(file: Path, wanted: str | None) -> Column:
    """Return the column of a .parquet file that holds vectors: lists of numbers, or JSON text.

    The wanted one; else one of a usual name; else the first that holds lists, else text that is a
    JSON list. Raises DataError for a broken file, none such, and lists of different lengths, and
    MissingExtraError without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", f"Reading {file.name}") from error
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            name = choose_name(schema.names, wanted, file, what="column")
            is_guess = name is None
            if name is None:
                lists = [field.name for field in schema if _is_list(field.type)]
                texts = [field.name for field in schema if _is_json(table, field)]
                name = next(iter([*lists, *texts]), None)
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from error
    if name is None:
        raise without_vectors(file, schema.names)
    notes = (f"column {name} is taken, the first one that holds lists",) * is_guess
    return Column(name, notes, lambda: _parquet_blocks(file, name))


def jsonl_column(file: Path, wanted: str | None) -> Column:
    """Return the key of a .jsonl file that holds vectors, or None where each line is one.

    Chosen by the first line, as the column of a .parquet file is. Raises DataError that names the
    line for what is no JSON, has no such key, or is no list of numbers as long as the first.
    """
    first = next(_lines(file), None)
    if first is None:
        raise DataError("There are no vectors.", expected="one on each line", where=file)
    content = first[1]
    if isinstance(content, list) and wanted is None:
        return Column(None, (), lambda: _jsonl_blocks(file, None))
    if not isinstance(content, dict):
        raise DataError(
            "The lines are no objects with keys.",
            expected=f"an object with the key {wanted}" if wanted else "an object, or a list",
            got=type(content).__name__,
            where=f"{file}, line {first[0]}",
        )
    name = choose_name(list(content), wanted, file, what="key")
    is_guess = name is None
    if name is None:
        name = next((key for key, value in content.items() if _parsed_list(value)), None)
    if name is None:
        raise without_vectors(file, list(content))
    notes = (f"key {name} is taken, the first one that holds lists",) * is_guess
    return Column(name, notes, lambda: _jsonl_blocks(file, name))


def _parquet_blocks(file: Path, name: str) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size, row = None, 0
    try:
        with pq.ParquetFile(file, buffer_size=_BUFFER) as table:
            for batch in table.iter_batches(batch_size=_ROWS, columns=[name]):
                column = batch.column(0)
                if not len(column):
                    continue
                if _is_list(column.type):
                    block = _lists(column, size, row, file)
                else:
                    places = [f"{file}, row {row + at}" for at in range(len(column))]
                    block = _stacked(column.to_pylist(), size, places)
                size, row = block.shape[1], row + len(block)
                yield block
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from error


def _lists(column: Any, size: int | None, row: int, file: Path) -> Block:
    """The lists of an Arrow column as a table; `size` is what the rows before have."""
    import pyarrow as pa

    if column.null_count:
        at = row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise _odd("no list", size, f"{file}, row {at}")
    is_fixed = isinstance(column.type, pa.FixedSizeListType)
    lengths = [column.type.list_size] * len(column) if is_fixed else column.value_lengths()
    lengths = np.asarray(lengths)
    size = int(lengths[0]) if size is None else size
    other = np.flatnonzero((lengths != size) | (lengths == 0))
    if len(other):
        raise _odd(f"{lengths[other[0]]} numbers", size, f"{file}, row {row + int(other[0])}")
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(len(column), size)


def _jsonl_blocks(file: Path, name: str | None) -> Iterator[Block]:
    size, held, places = None, [], []
    for number, content in _lines(file):
        where = f"{file}, line {number}"
        if name is not None and not (isinstance(content, dict) and name in content):
            raise DataError(
                f"A line has no key {name!r}.",
                expected=f"an object with the key {name}",
                got=listed(list(content)) if isinstance(content, dict) else type(content).__name__,
                where=where,
            )
        held.append(content if name is None else content[name])
        places.append(where)
        if len(held) == _ROWS:
            block = _stacked(held, size, places)
            size, held, places = block.shape[1], [], []
            yield block
    if held:
        yield _stacked(held, size, places)


def _lines(file: Path) -> Iterator[tuple[int, Any]]:
    """The content of each line with its number from 1; empty lines may only be the last ones."""
    empty = None
    with file.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                empty = empty or number
                continue
            where = f"{file}, line {empty or number}"
            if empty:
                raise DataError("A line is empty.", expected="a vector on each", where=where)
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    "A line is no JSON.",
                    expected='{"embedding": [0.1, ...]} or [0.1, ...]',
                    got=f"{line[:60].decode(errors='replace').strip()} ({error})",
                    where=where,
                    remedy="repair or remove the line; each holds one whole object",
                ) from error


def _stacked(values: list[Any], size: int | None, places: list[str]) -> Block:
    rows = []
    for value, where in zip(values, places, strict=True):
        numbers = _parsed_list(value)
        row = None if numbers is None else _numbers(numbers)
        if row is None or not row.size:
            raise _odd("no list of numbers", size, where)
        size = len(row) if size is None else size
        if len(row) != size:
            raise _odd(f"{len(row)} numbers", size, where)
        rows.append(row)
    return np.stack(rows)


def _numbers(values: list[Any]) -> Block | None:
    try:
        row = np.asarray(values)
        # In float64 like any other: whole numbers beside fractions are no other type.
        return row.astype(np.float64) if row.ndim == 1 and row.dtype.kind in "iuf" else None
    except ValueError:
        return None


def _parsed_list(value: Any) -> list[Any] | None:
    """A list, or the list that a text is in JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    if not isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return False
    return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def _is_json(table: Any, field: Any) -> bool:
    """Whether the first text of a column is a list in JSON."""
    import pyarrow as pa

    if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
        return False
    batch = next(table.iter_batches(batch_size=1, columns=[field.name]), None)
    return batch is not None and bool(_parsed_list(batch.column(0)[0].as_py()))


def _odd(got: str, size: int | None, where: str) -> DataError:
    return DataError(
        "Not every row holds a vector of the same length.",
        expected=f"a list of {size} numbers" if size else "a list of numbers",
        got=got,
        where=where,
        remedy="leave that row out of the file, or embed it with the model of the others",
    )


def _broken(file: Path, error: Exception) -> DataError:
    return DataError(
        "The .parquet file cannot be read.",
        expected="a whole Parquet file",
        got=str(error).splitlines()[0][:200],
        where=file,
        remedy="copy or download the file again",
    )
