"""Writes a gallery to the disk block by block, so that it never has to fit into memory."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TextIO

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.search import staging
from sightline.search.gallery import (
    COLUMNS,
    DESCRIPTION,
    EMBEDDINGS,
    ENGINE_FILES,
    FORMAT,
    ROWS,
    TEXT,
    Texts,
    require_unique,
    require_values,
    to_json,
)
from sightline.search.index import State, build_index
from sightline.search.neighbours import Metric
from sightline.search.settings import IndexSettings

Column = Sequence[str] | Texts
"""A text for each row of a block."""


class GalleryWriter:
    """Takes embeddings block by block; `close` builds the index and gives it the folder's name.

    Everything is written into a hidden folder beside, so until `close` has ended, and after any
    error, the folder is what it was. As a context manager it closes at the end of the block, and
    after an error in the block removes what was written.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        model: Mapping[str, str],
        metric: Metric = "cosine",
        settings: IndexSettings | None = None,
    ) -> None:
        self.folder, self.metric = Path(folder), metric
        self.settings = settings or IndexSettings()
        self._model, self._dimension = dict(model), 0
        self._ids: list[Texts] = [np.empty(0, dtype=TEXT)]
        self.rows = 0
        _refuse_foreign(self.folder)
        self._staged = staging.begin(self.folder)
        self._embeddings: BinaryIO = (self._staged / EMBEDDINGS).open("w+b")
        self._table: TextIO = (self._staged / ROWS).open("w", newline="", encoding="utf-8")
        # Everything is quoted: Python 3.11 forgets it for a lone carriage return.
        self._write_row = csv.writer(self._table, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._write_row.writerow(COLUMNS)

    def append(
        self,
        embeddings: npt.NDArray[np.float32],
        *,
        ids: Column,
        labels: Column,
        groups: Column | None = None,
        splits: Column | None = None,
        paths: Column | None = None,
    ) -> None:
        """Add a block (B, D) and B texts of each kind; those left out are empty.

        Raises DataError for another dimension than before, columns of another length, values that
        are not finite and, for cosine, vectors that are not of length 1.
        """
        block = np.ascontiguousarray(embeddings, dtype=np.float32)
        empty = [""] * len(ids)
        columns = [empty if one is None else one for one in (ids, labels, groups, splits, paths)]
        self._require_fit(block, columns)
        require_values(block, self.metric, first=self.rows)
        try:
            if not self.rows:
                self._dimension = block.shape[1]
                self._write_header()
            self._embeddings.write(block.data)
            self._write_row.writerows(zip(*columns, strict=True))
        except OSError as error:
            raise staging.unwritable(self.folder, error) from error
        self._ids.append(np.asarray(ids, dtype=TEXT))
        self.rows += len(block)

    def close(self) -> None:
        """Build the index over all that was appended and put it in place of the old one.

        Raises DataError where nothing was appended or an id came twice.
        """
        try:
            if not self.rows:
                raise DataError(
                    "A gallery of no pictures cannot be written.",
                    expected="at least one embedding",
                    where=self.folder,
                )
            require_unique(np.concatenate(self._ids), self.folder)
            self._write_header()
            self._close_files()
            self._describe(self._build())
            staging.commit(self._staged, self.folder)
        except OSError as error:
            self.abandon()
            raise staging.unwritable(self.folder, error) from error
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Remove what was written; the folder stays what it was."""
        with suppress(OSError):  # what could not be written is of no use any more
            self._close_files()
        staging.abandon(self._staged)

    def __enter__(self) -> GalleryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _require_fit(self, block: npt.NDArray[np.float32], columns: Sequence[Column]) -> None:
        lengths = [len(column) for column in columns]
        dimension = self._dimension or block.shape[-1]
        fits = block.ndim == 2 and block.shape[1] == dimension and dimension > 0
        if fits and lengths == [len(block)] * len(COLUMNS):
            return
        raise DataError(
            "A block of the gallery does not fit.",
            expected=f"(B, {dimension or 'D'}) embeddings and B of each of {', '.join(COLUMNS)}",
            got=f"embeddings of shape {block.shape} and columns of {lengths} values",
            where=self.folder,
        )

    def _write_header(self) -> None:
        """The header of a .npy file; numpy leaves room in it for any number of rows."""
        self._embeddings.seek(0)
        description = {
            "descr": np.lib.format.dtype_to_descr(np.dtype("<f4")),
            "fortran_order": False,
            "shape": (self.rows, self._dimension),
        }
        np.lib.format.write_array_header_1_0(self._embeddings, description)

    def _close_files(self) -> None:
        self._embeddings.close()
        self._table.close()

    def _build(self) -> State:
        embeddings = np.load(self._staged / EMBEDDINGS, mmap_mode="r")
        index = build_index(embeddings, metric=self.metric, settings=self.settings)
        return index.save(self._staged)

    def _describe(self, state: State) -> None:
        names = [EMBEDDINGS, ROWS, *([state["file"]] if "file" in state else [])]
        files = {name: file_facts(self._staged / name) for name in names}
        description = {
            "format": FORMAT,
            "n": self.rows,
            "dimension": self._dimension,
            "metric": self.metric,
            "engine": self.settings.engine,
            "settings": self.settings.model_dump(),
            "state": dict(state),
            "model": self._model,
            "files": files,
        }
        (self._staged / DESCRIPTION).write_text(to_json(description), encoding="utf-8")


def file_facts(file: Path) -> dict[str, int | str]:
    """Size and SHA-256 of a file."""
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def _refuse_foreign(folder: Path) -> None:
    """Raise DataError for a place with anything that is not an index: it would be replaced."""
    if not folder.exists():
        return
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {"a file"}
    foreign = sorted(found - {DESCRIPTION, EMBEDDINGS, ROWS, *ENGINE_FILES})
    if not found or (not foreign and _is_described(folder)):
        return
    raise DataError(
        "The place for the index is taken by something else.",
        expected="no folder, an empty one, or an index and nothing beside it",
        got=", ".join(foreign[:5]) or f"no index, but {', '.join(sorted(found))}",
        where=folder,
        remedy="name another folder, or move this one away",
    )


def _is_described(folder: Path) -> bool:
    """Whether the folder says of itself that it is an index; files of it may be lost."""
    try:
        content = json.loads((folder / DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format", "engine", "model", "files"} <= content.keys()
