"""Reads a table of ids and labels, and finds the picture of every id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sightline.data.folder_reader import SPLIT_NAMES, choose_classes
from sightline.data.image_files import list_images
from sightline.data.listed_files import (
    find_files,
    refuse_missing,
    refuse_repeated,
    refuse_shared,
    require_folder,
)
from sightline.data.manifest import SPLITS, Category, Manifest, shortened
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
    unknown splits, folds that are no numbers, and missing pictures; in anomaly detection for
    missing masks too. There and for identities a single label is allowed.
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
    require_folder(folder, setting="data.image_dir_train")
    paths, missing = find_files(ids, list_images(folder), image_ext=config.image_ext)
    if require_files:
        refuse_missing(table, missing, column=config.id_col, folder=folder)
        refuse_shared(table, paths, column=config.id_col)
    has_defects = config.tree == "defects"
    if has_defects and config.mask_col and require_files:
        refuse_lost_files(table, config.mask_col, folder)
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
    if has_defects:
        return replace(manifest, mask=np.strings.replace(manifest.mask, "\\", "/"))
    if config.tree == "identities":
        return manifest
    return _only_classes(manifest, config.class_names, where=config.train_csv)


_PLAIN = ("group_col", "camera_col", "mask_col")


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


def refuse_lost_files(table: Table, column: str, folder: Path) -> None:
    """Raise DataError with the lines whose file of a column is not in the folder; empty: none."""
    names = np.strings.replace(table.columns[column], "\\", "/")
    table.refuse(
        np.asarray([bool(name) and not (folder / name).is_file() for name in names], np.bool_),
        f"{{count}} rows name a file in column {column!r} that is not in {folder}.",
        column=column,
        remedy="correct the paths, which start from that folder, or add the files",
    )


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
    refuse_repeated(table, config.id_col)


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
