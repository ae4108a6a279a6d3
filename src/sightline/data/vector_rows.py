"""Rows of vectors that cannot be used as they are: not finite, repeated, or all zeros.

N rows of D numbers each. An array or memory map is read a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError

Rows = npt.NDArray[np.int64]

_BLOCK_BYTES = 1 << 24
_SHOWN = 5
LARGEST = 1e15
"""Of larger numbers float32 might not hold the square of a distance, summed over the numbers."""


def bad_rows(values: npt.NDArray[Any]) -> Rows:
    """Return the rows of (N, D) that hold a NaN or an infinity, ascending.

    >>> bad_rows(np.float32([[0, 1], [np.nan, 1], [np.inf, 0]])).tolist()
    [1, 2]
    """
    return _where(values, lambda block: ~np.isfinite(block).all(axis=1))


def zero_rows(values: npt.NDArray[Any]) -> Rows:
    """Return the rows of (N, D) that are zero throughout and have no direction, ascending.

    >>> zero_rows(np.float32([[0, 1], [0, -0.0]])).tolist()
    [1]
    """
    return _where(values, lambda block: ~block.any(axis=1))


def duplicate_groups(values: npt.NDArray[Any]) -> Rows:
    """Return a number for each row of (N, D) that is equal for rows of the same bytes; (N,).

    Groups are numbered from 0 in the order of their first rows. Rows are told apart by their
    BLAKE2b-128, so 32 bytes for each row are held. 0 and -0 are different bytes.

    >>> duplicate_groups(np.float32([[1, 2], [3, 4], [1, 2]])).tolist()
    [0, 1, 0]
    """
    digests = bytearray()
    for block in row_blocks(values):
        held = np.ascontiguousarray(block)
        lines = held.reshape(len(held), -1).view(np.uint8)
        digests += b"".join([blake2b(line.data, digest_size=16).digest() for line in lines])
    numbers = np.frombuffer(bytes(digests), dtype=np.uint64).reshape(-1, 2)
    # Stable, so the first of equal ones in this order is the first of the rows.
    order = np.lexsort((numbers[:, 1], numbers[:, 0]))
    ordered = numbers[order]
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = order[begins]
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    groups = np.empty(len(order), dtype=np.int64)
    groups[order] = number[np.cumsum(begins) - 1]
    return groups


def require_measurable(values: npt.NDArray[Any], file: Path) -> None:
    """Raise a DataError for rows of (N, D) whose squared distances float32 could not hold."""
    far = _where(values, lambda block: (np.isfinite(block) & (np.abs(block) > LARGEST)).any(axis=1))
    if len(far):
        raise DataError(
            f"{len(far):,} of {len(values):,} vectors are too long to measure distances.",
            expected=f"numbers up to {LARGEST:g}",
            got=f"larger ones in {rows_in_words(far)}",
            where=file,
            remedy="scale the vectors down; only ratios of distances matter",
        )


def require_finite(values: npt.NDArray[Any], file: Path, *, remedy: str | None = None) -> None:
    """Raise a DataError that lists the first rows of (N, D) with a NaN or an infinity."""
    bad = bad_rows(values)
    if len(bad):
        raise DataError(
            f"{len(bad):,} of {len(values):,} vectors are not finite.",
            expected="finite numbers",
            got=f"NaN or infinity in {rows_in_words(bad)}",
            where=file,
            remedy=remedy or "make these vectors anew, or leave them out with data.on_bad_row=skip",
        )


def rows_in_words(rows: Rows) -> str:
    """Return the first five row numbers, counted from 0, and how many there are besides.

    >>> rows_in_words(np.arange(7))
    'rows 0, 1, 2, 3, 4 and 2 more'
    """
    named = ", ".join(str(row) for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {named}{more}"


def row_blocks(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield (N, D) in views of consecutive rows, about 16 MiB each."""
    size = max(1, _BLOCK_BYTES // max(1, values.shape[1] * values.itemsize))
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _where(values: npt.NDArray[Any], is_bad: Any) -> Rows:
    found, start = [np.empty(0, dtype=np.int64)], 0
    for block in row_blocks(values):
        found.append(np.flatnonzero(is_bad(block)) + start)
        start += len(block)
    return np.concatenate(found)
