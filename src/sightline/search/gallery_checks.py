"""What has to hold for a gallery on the disk, one function each.

Each returns a sentence of what it found to hold, and raises where it does not.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError, RunError
from sightline.search.gallery import (
    COLUMNS,
    TEXT,
    Gallery,
    Texts,
    require_unique,
    require_values,
)
from sightline.search.index import Index
from sightline.search.writer import file_facts

_BLOCK_ROWS = 65_536
_SAMPLE = 16
_LOOK = 10
_ROUNDING = 1e-5
_FOUND_SHARE = 0.9
_AGAIN = "build the index anew, or copy the folder again"


def require_model(model: Mapping[str, str], sha256: str, folder: Path) -> str:
    """That the model with this hash made the embeddings; RunError that names both otherwise."""
    found = model.get("sha256", "")
    if found != sha256:
        name = model.get("checkpoint") or model.get("run") or "unnamed"
        raise RunError(
            "The index was built by another model.",
            expected=f"embeddings of the model with SHA-256 {sha256}",
            got=f"those of {name} with SHA-256 {found or 'unknown'}",
            where=folder,
            remedy="build the index with this model, or search with the model that built it",
        )
    return f"the model with SHA-256 {sha256} made the embeddings"


def require_files(folder: Path, files: Mapping[str, Any]) -> str:
    """That every file is there with the size it was written with; RunError otherwise."""
    for name, facts in files.items():
        file = folder / name
        if not file.is_file():
            raise RunError(
                "A file of the index is missing.",
                expected=", ".join(files),
                got=f"no {name}",
                where=folder,
                remedy=_AGAIN,
            )
        if file.stat().st_size != facts["bytes"]:
            raise RunError(
                "A file of the index has another size than when it was written.",
                expected=f"{facts['bytes']} bytes",
                got=f"{file.stat().st_size} bytes",
                where=file,
                remedy=_AGAIN,
            )
    return f"{len(files)} files are there with the sizes they were written with"


def require_hashes(folder: Path, files: Mapping[str, Any]) -> str:
    """That the content of every file is what was written; RunError otherwise."""
    for name, facts in files.items():
        found = file_facts(folder / name)["sha256"]
        if found != facts["sha256"]:
            raise RunError(
                "A file of the index has changed since it was written.",
                expected=f"SHA-256 {facts['sha256']}",
                got=f"SHA-256 {found}",
                where=folder / name,
                remedy=_AGAIN,
            )
    return f"{len(files)} files have the content they were written with"


def map_embeddings(file: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The embeddings, left on the disk; DataError unless they are float32 of that shape."""
    try:
        found: npt.NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RunError(
            "The embeddings cannot be read.",
            expected="a .npy file",
            got=str(error),
            where=file,
            remedy=_AGAIN,
        ) from error
    if found.shape != shape or found.dtype != np.float32:
        raise DataError(
            "The embeddings are not those that the description of the index names.",
            expected=f"float32 of shape {shape}",
            got=f"{found.dtype} of shape {found.shape}",
            where=file,
            remedy=_AGAIN,
        )
    return found


def read_rows(file: Path, count: int) -> tuple[Texts, ...]:
    """The columns of the table in the order of COLUMNS; DataError unless ids and number fit."""
    blocks = list(_blocks(file))
    columns = tuple(
        np.concatenate([np.empty(0, dtype=TEXT), *(block[place] for block in blocks)])
        for place in range(len(COLUMNS))
    )
    if len(columns[0]) != count:
        raise DataError(
            "The table of the gallery has another number of rows than there are embeddings.",
            expected=f"{count} rows",
            got=f"{len(columns[0])} rows",
            where=file,
            remedy=_AGAIN,
        )
    require_unique(columns[0], file)
    return columns


def require_all_values(gallery: Gallery) -> str:
    """That the embeddings are finite and, for cosine, of length 1; DataError otherwise."""
    for start in range(0, len(gallery), _BLOCK_ROWS):
        block = gallery.embeddings[start : start + _BLOCK_ROWS]
        require_values(block, gallery.metric, first=start)
    length = " and of length 1" if gallery.metric == "cosine" else ""
    return f"all embeddings are finite{length}"


def require_size(index: Index, gallery: Gallery, folder: Path) -> str:
    """That the engine holds as many vectors of the dimension as the gallery; DataError if not."""
    expected, got = gallery.embeddings.shape, (index.size, index.dimension)
    if got != expected:
        raise DataError(
            f"The engine {index.engine} holds another gallery than the embeddings.",
            expected=f"{expected[0]} vectors of dimension {expected[1]}",
            got=f"{got[0]} of dimension {got[1]}",
            where=folder,
            remedy=_AGAIN,
        )
    return f"the engine {index.engine} holds {got[0]} vectors of dimension {got[1]}"


def require_rows_find_themselves(index: Index, gallery: Gallery, folder: Path) -> str:
    """That nothing is nearer to vectors of the gallery than they are; DataError otherwise.

    An approximate engine may miss one in ten. By metric dot a longer vector may be nearer.
    """
    rows = np.unique(np.linspace(0, len(gallery) - 1, _SAMPLE).astype(np.int64))
    vectors = np.asarray(gallery.embeddings[rows])
    found = index.search(vectors, min(_LOOK, len(gallery))).rows[:, 0]
    others = np.asarray(gallery.embeddings[found])
    hits = (found == rows) | _as_near(vectors, others, gallery.metric)
    if hits.mean() < (1.0 if index.engine in ("exact", "faiss-flat") else _FOUND_SHARE):
        raise DataError(
            f"The engine {index.engine} does not find vectors of its own gallery.",
            expected=f"each of {len(rows)} rows as its own nearest neighbour",
            got=f"{int(hits.sum())}; row {rows[~hits][0]} finds row {found[~hits][0]}",
            where=folder,
            remedy="build the index anew: it was made from other embeddings",
        )
    return f"{int(hits.sum())} of {len(rows)} rows asked for find themselves"


def _as_near(
    vectors: npt.NDArray[np.float32], others: npt.NDArray[np.float32], metric: str
) -> npt.NDArray[np.bool_]:
    one, other = vectors.astype(np.float64), others.astype(np.float64)
    scale = (one * one).sum(axis=1)
    if metric == "dot":
        return np.asarray((one * other).sum(axis=1) >= scale * (1 - _ROUNDING))
    return np.asarray(((one - other) ** 2).sum(axis=1) <= scale * _ROUNDING)


def _blocks(file: Path) -> Iterator[list[Texts]]:
    """Columns of the table, a block of rows at a time."""
    with file.open(newline="", encoding="utf-8") as handle:
        reader = csv.reader(handle)
        try:
            header = next(reader, [])
            if tuple(header) != COLUMNS:
                raise ValueError(f"the columns {', '.join(header)}")
            while rows := list(islice(reader, _BLOCK_ROWS)):
                # With the header on top, a line of another length than it is refused.
                columns = zip(COLUMNS, *rows, strict=True)
                yield [np.asarray(column[1:], dtype=TEXT) for column in columns]
        except (csv.Error, ValueError) as error:
            raise _unreadable(file, str(error)) from error


def _unreadable(file: Path, got: str) -> DataError:
    return DataError(
        "The table of the gallery cannot be read.",
        expected=f"the columns {', '.join(COLUMNS)} in every line",
        got=got,
        where=file,
        remedy=_AGAIN,
    )
