"""Reads named columns of a delimited text file in blocks, so that a million rows stay small."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from sightline.data.folder_reader import PATH_RULE, nearest
from sightline.data.manifest import TEXT, Strings, shortened
from sightline.errors import DataError

BLOCK_ROWS = 65_536
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of N rows, and the line of the file each row ends on, counted from 1."""

    file: Path
    columns: dict[str, Strings]
    lines: npt.NDArray[np.int64]

    def refuse(self, bad: npt.NDArray[np.bool_], what: str, *, column: str, remedy: str) -> None:
        """Raise DataError where a row is bad; ``{count}`` in the sentence becomes their number."""
        rows = np.flatnonzero(bad)
        if not len(rows):
            return
        shown = [f"line {self.lines[row]}: {self.columns[column][row]!r}" for row in rows[:6]]
        rest = len(rows) - 5
        raise DataError(
            what.format(count=len(rows)),
            got="; ".join(shown[:5]) + (f" and {rest} more" if rest > 0 else ""),
            where=self.file,
            remedy=remedy,
        )


def read_table(
    file: Path, columns: Mapping[str, str], *, optional: Mapping[str, str] | None = None
) -> Table:
    """The named columns, each value stripped of surrounding white space.

    ``columns`` maps what messages call a column (such as ``data.id_col``) to its name in the
    header; the result is keyed by the name in the header. Optional columns may be absent. The
    delimiter is a comma, a semicolon or a tab, found from the header; a byte order mark is allowed.

    Raises DataError for a missing file, a missing column, a row of another length, or text that is
    not UTF-8.
    """
    with _open(file) as handle:
        try:
            return _read(file, handle, columns, optional=optional or {})
        except UnicodeDecodeError as error:
            raise _not_text(file, error) from error


def read_header(file: Path, wanted: Sequence[str]) -> tuple[list[str], str]:
    """The names of a table's columns, and the delimiter that finds most of the wanted ones.

    Raises DataError for a file that is missing, empty or not text.
    """
    with _open(file) as handle:
        try:
            return _header(file, handle, wanted)
        except UnicodeDecodeError as error:
            raise _not_text(file, error) from error


def _not_text(file: Path, error: UnicodeDecodeError) -> DataError:
    return DataError(
        f"The table {file} is not UTF-8 text.",
        got=f"byte 0x{error.object[error.start]:02x} that cannot be read",
        remedy="save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')",
    )


def _open(file: Path) -> TextIO:
    try:
        return open(file, newline="", encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"The table {file} cannot be opened: {error.strerror}.",
            expected="a readable CSV file",
            remedy=PATH_RULE,
        ) from error


def _header(file: Path, handle: TextIO, wanted: Sequence[str]) -> tuple[list[str], str]:
    """The column names and the delimiter that finds most of the wanted ones, then most columns."""
    line = handle.readline()
    if not line.strip():
        raise DataError(
            f"The table {file} is empty.",
            expected="a header line and one line per picture",
            remedy="name the right file",
        )
    # A quoted name may hold a line break; such a header is not worth a second parser.
    choices = []
    for delimiter in _DELIMITERS:
        names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
        choices.append((len(set(wanted) & set(names)), len(names), names, delimiter))
    _, _, names, delimiter = max(choices, key=lambda choice: choice[:2])
    return names, delimiter


def _read(
    file: Path, handle: TextIO, columns: Mapping[str, str], *, optional: Mapping[str, str]
) -> Table:
    header, delimiter = _header(file, handle, [*columns.values(), *optional.values()])
    _require_columns(file, header, columns)
    wanted = dict.fromkeys([*columns.values(), *(n for n in optional.values() if n in header)])
    repeated = [name for name in wanted if header.count(name) > 1]
    if repeated:
        raise DataError(
            f"The table {file} has several columns called {shortened(repeated)}.",
            expected="every name once",
            remedy="rename all but one in the file",
        )
    places = {name: header.index(name) for name in wanted}
    parts: dict[str, list[Strings]] = {name: [] for name in wanted}
    lines: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    # Every block becomes arrays at once: row objects of a whole table would take a gigabyte.
    for block, numbers in _blocks(
        file, csv.reader(handle, delimiter=delimiter, strict=True), len(header)
    ):
        lines.append(np.asarray(numbers, np.int64))
        for name, place in places.items():
            parts[name].append(np.asarray([row[place].strip() for row in block], dtype=TEXT))
    joined = {name: np.concatenate(parts.pop(name) or [np.empty(0, TEXT)]) for name in wanted}
    return Table(file, joined, np.concatenate(lines))


def _require_columns(file: Path, header: Sequence[str], columns: Mapping[str, str]) -> None:
    for key, name in columns.items():
        if name in header:
            continue
        near = nearest(name, [entry for entry in header if entry])
        fixed = not key.startswith("data.")
        remedy = f"set {key}={near}" if near else f"name the column with {key}=NAME"
        raise DataError(
            f"The table has no column {name!r}.",
            expected="a manifest's columns" if fixed else f"the column that {key} names",
            got=f"the columns {shortened(header, 20)}",
            where=file,
            remedy="make the file with `sightline split`" if fixed else remedy,
        )


def _blocks(file: Path, reader: Any, width: int) -> Iterator[tuple[list[list[str]], list[int]]]:
    """Rows and their line numbers, a block at a time; empty lines are passed over."""
    block: list[list[str]] = []
    numbers: list[int] = []
    rows = chain(reader, [None])
    while True:
        try:
            row = next(rows)
        except csv.Error as error:
            raise DataError(
                f"Line {reader.line_num + 1} of {file} cannot be read: {error}.",
                remedy="correct its quotes or remove the line",
            ) from error
        if row is None or len(block) == BLOCK_ROWS:
            if block:
                yield block, numbers
            block, numbers = [], []
        if row is None:
            return
        if not row:
            continue
        if len(row) != width:
            raise DataError(
                f"Line {reader.line_num + 1} of {file} has {len(row)} values.",
                expected=f"{width}, as many as the header names",
                got=shortened(row),
                remedy="correct the line; a value that holds the delimiter needs quotes",
            )
        block.append(row)
        numbers.append(reader.line_num + 1)
