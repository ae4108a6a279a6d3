"""Rows of a table of vectors as samples: their splits, and the numbers of each.

N rows of the table, M of them selected, D numbers each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import TEXT, Manifest, shortened
from sightline.data.splits import assign_splits
from sightline.data.splits_file import read_splits, write_splits
from sightline.data.vector_digits import write_digit_vectors
from sightline.data.vector_files import VectorTable, open_vectors
from sightline.data.vector_rows import (
    bad_rows,
    duplicate_groups,
    require_finite,
    require_measurable,
    zero_rows,
)
from sightline.data.vector_settings import VectorDataConfig
from sightline.errors import ConfigError, DataError

Floats = npt.NDArray[np.float32]
_BLOCK = 8192
LEAST_ROWS = 20
"""Fewer rows leave nothing to learn from and to judge by."""


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Some rows of a table; a row's id is its number in the table."""

    manifest: Manifest
    table: VectorTable
    normalize: bool = False

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def dimension(self) -> int:
        """D, the numbers of each vector."""
        return int(self.table.values.shape[1])

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """(M,) numbers of the rows in the table."""
        return row_numbers(self.manifest)

    def select(self, rows: npt.NDArray[np.int64]) -> VectorRows:
        """The given samples, in the order given."""
        return VectorRows(self.manifest.select(rows), self.table, self.normalize)

    def read(self, places: npt.NDArray[np.int64] | slice = slice(None)) -> Floats:
        """The vectors (M, D) at some places among the samples, float32, normalised if asked for.

        Raises DataError for a row that the table does not have (any more).
        """
        # Of these samples alone: there may be millions of others.
        rows = np.array(self.manifest.id[places].tolist(), np.int64)
        if rows.max(initial=0) >= len(self.table.values):
            raise DataError(
                "The table of vectors has fewer rows than when it was divided.",
                expected=f"a row {rows.max()} (from 0)",
                got=f"{len(self.table.values)} rows",
                where=self.table.file,
                remedy="restore the file, or start a new run",
            )
        values = np.asarray(self.table.values[rows], np.float32)
        return unit_length(values) if self.normalize else values

    def blocks(self, size: int = _BLOCK) -> Iterator[Floats]:
        """The vectors in their order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))


def row_numbers(manifest: Manifest) -> npt.NDArray[np.int64]:
    """(M,) numbers of samples' rows in their table, which are their ids."""
    return np.array(manifest.id.tolist(), np.int64)


def unit_length(vectors: Floats) -> Floats:
    """The vectors (M, D) with length one; a zero vector stays zero.

    >>> unit_length(np.float32([[3, 4], [0, 0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), np.float32)


def open_table(config: VectorDataConfig, *, cache_dir: Path) -> VectorTable:
    """The table that the `data` section names; ConfigError where it names none."""
    if config.digits is not None:
        return open_vectors(write_digit_vectors(config.digits))
    if config.vectors is None:
        raise ConfigError(
            "Nothing says which vectors are meant.",
            expected="data.vectors=FILE (.npy, .npz, .parquet, .jsonl or .fvecs)",
            remedy="add it to the command; `sightline demo compress` needs no data",
        )
    return open_vectors(
        config.vectors, column=config.column, cache_dir=config.cache_dir or cache_dir
    )


def divide_rows(
    config: VectorDataConfig, *, seed: int, cache_dir: Path
) -> tuple[Manifest, list[str]]:
    """The samples of a table with their splits, and sentences about what is remarkable.

    Raises DataError for rows with NaN or infinity (unless data.on_bad_row=skip), for fewer than
    LEAST_ROWS rows, and for whatever open_vectors refuses.
    """
    table = open_table(config, cache_dir=cache_dir)
    notes = list(table.notes)
    kept = _usable_rows(table, config, notes)
    values = table.values
    groups = None
    codes = duplicate_groups(values)[kept]
    copies = len(codes) - len(np.unique(codes))
    if copies:
        kept_together = "; they are kept in one split" if config.group_duplicates else ""
        notes.append(f"{copies} rows repeat an earlier row exactly{kept_together}")
    if copies and config.group_duplicates:
        groups = np.asarray(codes.astype(str), dtype=TEXT)
    if config.normalize and len(zeros := np.intersect1d(zero_rows(values), kept)):
        notes.append(f"{len(zeros)} rows are all zero and stay so: {shortened(list(zeros))}")
    manifest = Manifest.build(
        table.file.parent,
        id=np.asarray(kept.astype(str), dtype=TEXT),
        path=np.full(len(kept), table.file.name, dtype=TEXT),
        group=groups,
    )
    divided, more = assign_splits(
        manifest,
        test_fraction=config.test_fraction,
        val_fraction=config.val_fraction,
        seed=seed,
        stratify=False,
    )
    return divided, [*notes, *more]


def _usable_rows(
    table: VectorTable, config: VectorDataConfig, notes: list[str]
) -> npt.NDArray[np.int64]:
    if config.on_bad_row == "error":
        remedy = "repair or remove them, or leave them out with data.on_bad_row=skip"
        require_finite(table.values, table.file, remedy=remedy)
    bad = bad_rows(table.values)
    require_measurable(table.values, table.file)
    count = len(table.values)
    if len(bad):
        notes.append(f"left out {len(bad)} rows with NaN or infinity: {shortened(list(bad))}")
    kept = np.setdiff1d(np.arange(count), bad)
    if len(kept) < LEAST_ROWS:
        raise DataError(
            "There are too few vectors to learn from and to judge by.",
            expected=f"{LEAST_ROWS} rows or more",
            got=f"{len(kept)} usable rows of {count}",
            where=table.file,
            remedy="name a table with more rows",
        )
    return kept


def write_row_splits(manifest: Manifest, target: Path) -> None:
    """Write the splits of a table's rows, and beside them the table's size and hash."""
    write_splits(manifest, target)
    facts = _facts(manifest.file(0))
    _facts_file(target).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_row_splits(source: Path, *, verify: bool = True) -> Manifest:
    """What write_row_splits wrote; DataError where the table is not what it was then."""
    manifest = read_splits(source, verify=False)
    facts_file = _facts_file(source)
    if verify and facts_file.is_file():
        expected = json.loads(facts_file.read_text(encoding="utf-8"))
        current = _facts(manifest.file(0))
        if current != expected:
            raise DataError(
                "The table of vectors is not the one that the splits were made for.",
                expected=f"{expected['bytes']} bytes with the hash {expected['hash']}",
                got=f"{current['bytes']} bytes with the hash {current['hash']}",
                where=manifest.file(0),
                remedy="restore the file, start a new run, or set data.verify_files=false if the "
                "change is meant",
            )
    return manifest


def _facts_file(splits: Path) -> Path:
    return splits.with_name("vectors.json")


def _facts(table: Path) -> dict[str, Any]:
    if not table.is_file():
        raise DataError(
            "The table of vectors is not there any more.",
            where=table,
            remedy="put it back, or start a new run with data.vectors=FILE",
        )
    digest = blake2b(digest_size=16)
    with table.open("rb") as content:
        while block := content.read(2**22):
            digest.update(block)
    return {"bytes": table.stat().st_size, "hash": digest.hexdigest()}
