"""Reads a table of ids and labels, and finds the picture of every id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sightline.data.folder_reader import PATH_RULE, SPLIT_NAMES, choose_classes
from sightline.data.image_files import EXTENSIONS, list_images
from sightline.data.manifest import SPLITS, Category, Manifest, Strings, shortened
from sightline.data.table import Table, read_table
from sightline.errors import DataError

if TYPE_CHECKING:
    from sightline.data.settings import DataConfig

_OPTIONAL = ("group_col", "split_col", "fold_col", "camera_col", "mask_col")


def read_csv(config: DataConfig, *, require_files: bool = True) -> Manifest:
    """One row per line of ``config.train_csv``, in its order; ids stay as the table has them.

    With ``require_files=False`` a picture that is not there keeps the path where it was looked for
    first, so that `check` can list it.

    Raises DataError with line numbers for missing columns, repeated or empty ids, empty labels,
    unknown splits, folds that are no numbers, and missing pictures.
    """
    assert config.train_csv is not None
    columns = {f"data.{key}": getattr(config, key) for key in ("id_col", "target_col")}
    named = {key: getattr(config, key) for key in _OPTIONAL if getattr(config, key) is not None}
    columns |= {f"data.{key}": name for key, name in named.items()}
    table = read_table(config.train_csv, columns)
    if not len(table.lines):
        raise DataError(
            f"The table {config.train_csv} has a header and no rows.",
            expected="one row per picture",
            remedy="name the right file",
        )
    _check_ids(table, config)
    folder = config.image_dir_train or config.train_csv.parent
    ids = table.columns[config.id_col]
    paths, missing = find_files(ids, list_images(_existing(folder)), image_ext=config.image_ext)
    if require_files:
        _refuse_missing(table, missing, column=config.id_col, folder=folder)
        _refuse_shared(table, paths, column=config.id_col)
    texts = {key: table.columns.pop(name) for key, name in named.items() if key in _PLAIN}
    manifest = Manifest.build(
        folder,
        id=ids,
        path=paths,
        label=Category.encode(table.columns[config.target_col]),
        group=Category.encode(texts["group_col"]) if "group_col" in texts else None,
        camera=Category.encode(texts["camera_col"]) if "camera_col" in texts else None,
        fold=fold_numbers(table, config.fold_col) if config.fold_col else None,
    )
    if "mask_col" in texts:
        manifest = replace(manifest, mask=texts["mask_col"])
    if config.split_col:
        manifest = manifest.with_split(split_codes(table, config.split_col))
    return _only_classes(manifest, config.class_names, where=config.train_csv)


_PLAIN = ("group_col", "camera_col", "mask_col")


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


def split_codes(table: Table, column: str) -> npt.NDArray[np.int8]:
    """Split codes of a column that may say valid, validation, dev, testing ...; empty: none."""
    text = Category.encode(np.strings.lower(table.columns[column]))
    names = [SPLIT_NAMES.get(str(name), "?") for name in text.names]
    codes = np.asarray([SPLITS.index(name) if name != "?" else -1 for name in names] + [0], np.int8)
    split: npt.NDArray[np.int8] = codes[text.codes]
    table.refuse(
        split < 0,
        "{count} rows name an unknown split.",
        column=column,
        remedy=f"use one of {', '.join(SPLIT_NAMES)}",
    )
    return split


def fold_numbers(table: Table, column: str) -> npt.NDArray[np.int16]:
    """Fold numbers of a column; empty: -1."""
    text = Category.encode(table.columns[column])
    numbers = [int(name) if name.isascii() and name.isdigit() else -2 for name in text.names]
    numbers = [number if number < 1000 else -2 for number in numbers]
    fold: npt.NDArray[np.int16] = np.asarray([*numbers, -1], np.int16)[text.codes]
    table.refuse(
        fold == -2,
        "{count} rows have a fold that is no whole number from 0.",
        column=column,
        remedy="number the folds 0, 1, 2 ...; leave the field empty for rows outside every fold",
    )
    return fold


def _check_ids(table: Table, config: DataConfig) -> None:
    ids, labels = table.columns[config.id_col], table.columns[config.target_col]
    table.refuse(
        ids == "", "{count} rows have no id.", column=config.id_col, remedy="fill in or remove them"
    )
    table.refuse(
        labels == "",
        f"{{count}} rows have no label in column {config.target_col!r}.",
        column=config.id_col,
        remedy="fill in the labels or remove the rows",
    )
    order = np.argsort(ids, kind="stable")
    again = np.zeros(len(ids), np.bool_)
    again[order[1:]] = ids[order[1:]] == ids[order[:-1]]
    table.refuse(
        again,
        "{count} rows repeat an id that came before.",
        column=config.id_col,
        remedy="remove the repeated rows, or name another id column with data.id_col=NAME",
    )


def _existing(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    raise DataError(
        f"The picture folder {folder} does not exist.",
        expected="the folder of the pictures that the table names",
        where="data.image_dir_train",
        remedy=PATH_RULE,
    )


def _refuse_missing(
    table: Table, missing: npt.NDArray[np.bool_], *, column: str, folder: Path
) -> None:
    table.refuse(
        missing,
        f"{{count}} of {len(missing)} pictures are not in {folder}.",
        column=column,
        remedy="correct data.image_dir_train or data.image_ext, or add the files; tried were the "
        f"id as it is and with {' '.join(EXTENSIONS)}",
    )


def _refuse_shared(table: Table, paths: Strings, *, column: str) -> None:
    """Two spellings of one file (with and without extension) would put it into two splits."""
    order = np.argsort(paths, kind="stable")
    again = np.zeros(len(paths), np.bool_)
    again[order[1:]] = paths[order[1:]] == paths[order[:-1]]
    table.refuse(
        again,
        "{count} rows lead to a picture that an earlier row has, under another spelling of its id.",
        column=column,
        remedy="remove the repeated rows",
    )


def _only_classes(
    manifest: Manifest, class_names: Sequence[str] | None, *, where: Path
) -> Manifest:
    found = [str(name) for name in manifest.label.names]
    if class_names is not None:
        wanted = choose_classes(class_names, found, where=where)
        keep = np.isin(manifest.label.codes, [found.index(name) for name in wanted])
        chosen = manifest.select(keep)
        # Codes must be those of the classes used, without gaps.
        text = manifest.label.names[chosen.label.codes]
        manifest, found = replace(chosen, label=Category.encode(text)), wanted
    if len(found) < 2:
        raise DataError(
            f"All {len(manifest)} rows have one label: {shortened(found)}.",
            expected="at least 2 classes",
            where=where,
            remedy="name the right column with data.target_col=NAME",
        )
    return manifest
