"""The manifest: one table of samples, whatever layout they came from."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError

Strings = npt.NDArray[Any]
"""(N,) numpy StringDType: variable-length text at about its UTF-8 size."""
Integers = npt.NDArray[np.signedinteger[Any]]

TEXT = np.dtypes.StringDType()
UNASSIGNED = ""
SPLITS = (UNASSIGNED, "train", "fit", "val", "test", "query", "gallery")
COLUMNS = ("id", "path", "label", "group", "camera", "split", "fold", "mask")


@dataclass(frozen=True, slots=True)
class Category:
    """A text column stored as codes into its sorted distinct names; code -1 means no value."""

    codes: npt.NDArray[np.int32]
    names: Strings

    @classmethod
    def encode(cls, values: Sequence[str] | Strings) -> Category:
        """Encode text; the empty string becomes -1. Names are sorted whatever the order of rows."""
        names, inverse = distinct_texts(np.asarray(values, dtype=TEXT))
        codes = inverse.astype(np.int32)
        if len(names) and names[0] == "":
            return cls(codes - np.int32(1), names[1:])
        return cls(codes, names)

    @classmethod
    def empty(cls, length: int) -> Category:
        """A column without any value."""
        return cls(np.full(length, -1, np.int32), np.empty(0, dtype=TEXT))

    def __len__(self) -> int:
        return len(self.codes)

    def text(self, row: int) -> str:
        """The name in one row, or the empty string."""
        code = self.codes[row]
        return "" if code < 0 else str(self.names[code])

    def select(self, rows: npt.ArrayLike) -> Category:
        """The same column for some rows; names and their codes stay as they are."""
        return Category(self.codes[np.asarray(rows)], self.names)


@dataclass(frozen=True, slots=True)
class Manifest:
    """N samples as columns. Rows keep the order they were read in; ids are unique.

    ``path`` and ``mask`` are relative to ``root`` with forward slashes (an empty mask: none).
    ``fold`` is -1 where no fold was assigned, ``split`` one of SPLITS.
    """

    root: Path
    id: Strings
    path: Strings
    label: Category
    group: Category
    camera: Category
    split: npt.NDArray[np.int8]
    fold: npt.NDArray[np.int16]
    mask: Strings

    @classmethod
    def build(  # noqa: PLR0913 (the columns of the table, each named at the call)
        cls,
        root: Path,
        *,
        id: Sequence[str] | Strings,
        path: Sequence[str] | Strings,
        label: Category | Sequence[str] | Strings | None = None,
        group: Category | Sequence[str] | Strings | None = None,
        camera: Category | Sequence[str] | Strings | None = None,
        split: Sequence[str] | None = None,
        fold: npt.ArrayLike | None = None,
        mask: Sequence[str] | Strings | None = None,
    ) -> Manifest:
        """Make a manifest from plain columns; columns left out are empty.

        Raises DataError for a repeated id or a split name that is not in SPLITS.
        """
        ids = np.asarray(id, dtype=TEXT)
        length = len(ids)
        return cls(
            root=Path(root),
            id=_unique(ids),
            path=np.asarray(path, dtype=TEXT),
            label=_category(label, length),
            group=_category(group, length),
            camera=_category(camera, length),
            split=_split_codes(split, length),
            fold=np.full(length, -1, np.int16) if fold is None else np.asarray(fold, np.int16),
            mask=np.full(length, "", TEXT) if mask is None else np.asarray(mask, dtype=TEXT),
        )

    def __len__(self) -> int:
        return len(self.id)

    def select(self, rows: npt.ArrayLike) -> Manifest:
        """The given rows (indices or a boolean mask), in the order given."""
        chosen = np.asarray(rows)
        return replace(
            self,
            id=self.id[chosen],
            path=self.path[chosen],
            label=self.label.select(chosen),
            group=self.group.select(chosen),
            camera=self.camera.select(chosen),
            split=self.split[chosen],
            fold=self.fold[chosen],
            mask=self.mask[chosen],
        )

    def rows(self, *splits: str) -> npt.NDArray[np.int64]:
        """Indices of the rows whose split is one of those named."""
        codes = [SPLITS.index(name) for name in splits]
        return np.flatnonzero(np.isin(self.split, codes))

    def split_text(self, row: int) -> str:
        """The split's name in one row, or the empty string."""
        return SPLITS[self.split[row]]

    def with_split(self, split: npt.ArrayLike) -> Manifest:
        """The same samples with other split codes (N,) into SPLITS."""
        return replace(self, split=np.asarray(split, np.int8))

    def with_fold(self, fold: npt.ArrayLike) -> Manifest:
        """The same samples with other fold numbers (N,), -1 for none."""
        return replace(self, fold=np.asarray(fold, np.int16))

    def with_group(self, group: Category) -> Manifest:
        """The same samples with another group column."""
        return replace(self, group=group)

    def file(self, row: int) -> Path:
        """The image file of one row."""
        return self.root / str(self.path[row])

    def write_csv(self, target: Path) -> None:
        """Write the table with a header, one line per sample; paths stay relative to root."""
        with open(target, "w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in range(len(self)):
                fold = int(self.fold[row])
                writer.writerow(
                    (
                        self.id[row],
                        self.path[row],
                        self.label.text(row),
                        self.group.text(row),
                        self.camera.text(row),
                        self.split_text(row),
                        "" if fold < 0 else fold,
                        self.mask[row],
                    )
                )


def distinct_texts(values: Strings) -> tuple[Strings, Integers]:
    """The distinct texts (D,) in sorted order, and for each row (N,) the number of its text.

    numpy 2.4 crashes when it sorts some StringDType arrays with its default, unstable algorithm
    (720 paths in sawtooth order are enough), so only the stable one may touch them: asking
    np.unique for the index chooses it.
    """
    names, _, numbers = np.unique(values, return_index=True, return_inverse=True)
    return names, numbers.reshape(-1)


def _unique(ids: Strings) -> Strings:
    """The ids unchanged, or an error that names the repeated ones."""
    distinct, numbers = distinct_texts(ids)
    if len(distinct) == len(ids):
        return ids
    repeated = [str(name) for name in distinct[np.bincount(numbers) > 1]]
    raise DataError(
        f"{len(repeated)} sample ids occur more than once.",
        expected="one row per id",
        got=shortened(repeated),
        remedy="remove the repeated rows, or name another id column with data.id_col=NAME",
    )


def shortened(names: Iterable[object], most: int = 5) -> str:
    """The first few names and how many more there are, for one line of an error."""
    listed = [str(name) for name in names]
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")


def _category(values: Category | Sequence[str] | Strings | None, length: int) -> Category:
    if values is None:
        return Category.empty(length)
    return values if isinstance(values, Category) else Category.encode(values)


def _split_codes(split: Sequence[str] | None, length: int) -> npt.NDArray[np.int8]:
    if split is None:
        return np.zeros(length, np.int8)
    column = Category.encode(split)
    unknown = [str(name) for name in column.names if name not in SPLITS]
    if unknown:
        raise DataError(
            f"The split column has unknown names: {shortened(unknown)}.",
            expected=", ".join(name for name in SPLITS if name),
            remedy="rename them in the file",
        )
    table = np.array([SPLITS.index(str(name)) for name in column.names] + [0], np.int8)
    return table[column.codes]
