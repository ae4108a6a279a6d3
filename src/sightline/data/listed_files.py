"""Finds the picture of every id of a table, and refuses ids without one or with one in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.data.folder_reader import PATH_RULE
from sightline.data.image_files import EXTENSIONS
from sightline.data.manifest import Strings
from sightline.data.table import Table
from sightline.errors import DataError


def find_files(
    ids: Strings, available: Strings, *, image_ext: str
) -> tuple[Strings, npt.NDArray[np.bool_]]:
    """The file of each id and which ids (N,) have none; those keep the first name looked for.

    An id is tried as it is, then with ``image_ext``, then with the other image extensions in lower
    and upper case. What follows a dot counts as an extension only if it is one of a picture; such
    an id is never given a second one, but its own is exchanged for the others.

    >>> from sightline.data.manifest import TEXT
    >>> names = np.array(["a.b.jpg", "c.png"], dtype=TEXT)
    >>> find_files(np.array(["a.b", "c.jpg", "d"], dtype=TEXT), names, image_ext=".jpg")[0].tolist()
    ['a.b.jpg', 'c.png', 'd.jpg']
    """
    ids = np.strings.replace(ids, "\\", "/")
    has_extension = np.zeros(len(ids), np.bool_)
    stems, lowered = ids.copy(), np.strings.lower(ids)
    for extension in EXTENSIONS:
        ends = np.strings.endswith(lowered, extension)
        has_extension |= ends
        cut = np.strings.str_len(ids[ends]) - len(extension)
        stems[ends] = np.strings.slice(ids[ends], cut) if ends.any() else ids[ends]
    del lowered
    first = "." + image_ext.lstrip(".") if image_ext else ""
    found = ids.copy()
    found[~has_extension] = np.strings.add(ids[~has_extension], first)
    known = _FileNames(available)
    tries = dict.fromkeys([first, *EXTENSIONS, *(name.upper() for name in EXTENSIONS)])
    missing = np.ones(len(ids), np.bool_)
    attempts: tuple[str | None, ...] = (None, *tries)
    for ending in attempts:
        rows = np.flatnonzero(missing)
        if not len(rows):
            break
        names = ids[rows] if ending is None else np.strings.add(stems[rows], ending)
        there = known.hold(names)
        found[rows[there]] = names[there]
        missing[rows[there]] = False
    return found, missing


class _FileNames:
    """Names in a folder, looked up in bulk by a 64-bit hash and then compared: 16 bytes a name."""

    def __init__(self, names: Strings) -> None:
        hashes = _hashes(names)
        order = np.argsort(hashes)
        self._hashes, self._names = hashes[order], names[order]

    def hold(self, names: Strings) -> npt.NDArray[np.bool_]:
        """Which of the names (N,) are there."""
        if not len(self._names):
            return np.zeros(len(names), np.bool_)
        place = np.searchsorted(self._hashes, _hashes(names))
        place = np.minimum(place, len(self._names) - 1)
        return np.asarray(self._names[place] == names, np.bool_)


def _hashes(names: Strings) -> npt.NDArray[np.int64]:
    return np.fromiter((hash(name) for name in names), np.int64, len(names))


def require_folder(folder: Path, *, setting: str) -> None:
    """Raise DataError, naming the setting, where the pictures' folder is not there."""
    if not folder.is_dir():
        raise DataError(
            f"The picture folder {folder} does not exist.",
            expected="the folder of the pictures that the table names",
            where=setting,
            remedy=PATH_RULE,
        )


def refuse_repeated(table: Table, column: str) -> None:
    """Raise DataError with the lines whose id came before."""
    table.refuse(
        _again(table.columns[column]),
        "{count} rows repeat an id that came before.",
        column=column,
        remedy="remove the repeated rows, or name another id column with data.id_col=NAME",
    )


def refuse_missing(
    table: Table,
    missing: npt.NDArray[np.bool_],
    *,
    column: str,
    folder: Path,
    setting: str = "data.image_dir_train",
) -> None:
    """Raise DataError with the lines (N,) whose id has no picture in the folder."""
    table.refuse(
        missing,
        f"{{count}} of {len(missing)} pictures are not in {folder}.",
        column=column,
        remedy=f"correct {setting} or data.image_ext, or add the files; tried were the "
        f"id as it is and with {' '.join(EXTENSIONS)}",
    )


def refuse_shared(table: Table, paths: Strings, *, column: str) -> None:
    """Raise DataError with the lines whose picture (N,) an earlier line has.

    Two spellings of one file (with and without extension) would put it into two splits.
    """
    table.refuse(
        _again(paths),
        "{count} rows lead to a picture that an earlier row has, under another spelling of its id.",
        column=column,
        remedy="remove the repeated rows",
    )


def _again(texts: Strings) -> npt.NDArray[np.bool_]:
    """Which texts (N,) an earlier row has."""
    order = np.argsort(texts, kind="stable")
    again = np.zeros(len(texts), np.bool_)
    again[order[1:]] = texts[order[1:]] == texts[order[:-1]]
    return again
