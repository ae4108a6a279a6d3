"""Which categories (classes of objects) a folder of normal pictures and defects holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightline.data.folder_reader import PATH_RULE, SPLIT_NAMES, nearest
from sightline.data.image_files import child_folders
from sightline.data.manifest import shortened
from sightline.data.table import Table, read_header, read_table
from sightline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sightline.data.defect_settings import AnomalyDataConfig, Layout

VISA_TABLE = Path("split_csv/1cls.csv")
VISA_COLUMNS = ("object", "split", "label", "image", "mask")
ALL = "all"
"""What data.category says for every category."""


def categories(root: Path, layout: Layout = "auto") -> tuple[str, ...]:
    """The names of a folder's categories, sorted; a folder that is one itself gives its own name.

    Raises DataError where nothing below the folder looks like one of the layouts.
    """
    _require_folder(root)
    if is_visa(root, layout):
        found = visa_table(root, ("object",)).columns["object"].tolist()
        return tuple(sorted(set(found)))
    if is_category(root):
        return (root.resolve().name,)
    below = child_folders(root)
    names = [name for name in below if is_category(root / name)]
    if not names:
        raise DataError(
            f"The folder {root} has no train folder, and none of the folders in it has one.",
            expected="train/good, test/TYPE and perhaps ground_truth/TYPE (MVTec AD; ok and ko "
            f"for BTAD), several such folders, or {VISA_TABLE.as_posix()} (VisA)",
            got=f"the folders {shortened(below, 10)}" if below else "no folders",
            where="data.root",
            remedy=PATH_RULE,
        )
    return tuple(names)


def chosen_categories(config: AnomalyDataConfig) -> tuple[str, ...]:
    """The categories that data.category means, sorted: one, or for `all` every one of data.root.

    To train each alone, read each with `config.model_copy(update={"category": name})`. Raises
    ConfigError for an unknown name, and where there are several and none is named.
    """
    assert config.root is not None
    found, wanted = categories(config.root, config.layout), config.category
    if wanted == ALL or (wanted is None and len(found) == 1):
        return found
    if wanted in found:
        return (wanted,)
    if wanted is None:
        raise ConfigError(
            f"The folder {config.root} holds {len(found)} categories.",
            expected="the name of one with data.category=NAME, or data.category=all",
            got=shortened(found, 20),
            where="data.category",
        )
    near = nearest(wanted, found)
    raise ConfigError(
        f"There is no category called {wanted!r}.",
        expected=f"one of {shortened(found, 20)}, or {ALL}",
        where=config.root,
        remedy=f"did you mean data.category={near}?" if near else "correct data.category",
    )


def holds_defects(root: Path) -> bool:
    """Whether a folder is for anomaly detection: all that a train folder in it holds is normal."""
    if (root / VISA_TABLE).is_file():
        return True
    for folder in (root, *(root / name for name in child_folders(root))):
        below = child_folders(folder)
        trains = [name for name in below if SPLIT_NAMES.get(name.lower()) == "train"]
        if trains and [*map(str.lower, child_folders(folder / trains[0]))] in (["good"], ["ok"]):
            return True
    return False


def is_category(folder: Path) -> bool:
    """Whether a folder has a folder for training."""
    return any(SPLIT_NAMES.get(name.lower()) == "train" for name in child_folders(folder))


def is_visa(root: Path, layout: Layout) -> bool:
    """Whether a folder is to be read by VisA's table."""
    has_table = (root / VISA_TABLE).is_file()
    if layout == "visa" and not has_table:
        raise DataError(
            f"The folder {root} is not laid out as VisA.",
            expected=f"the table {VISA_TABLE.as_posix()} in it",
            where="data.layout",
            remedy="name the folder that holds split_csv and the categories, or leave out "
            "data.layout",
        )
    return layout == "visa" or (layout == "auto" and has_table)


def visa_table(root: Path, columns: tuple[str, ...] = VISA_COLUMNS) -> Table:
    """Columns of VisA's table; DataError that names those it lacks."""
    file = root / VISA_TABLE
    header, _ = read_header(file, VISA_COLUMNS)
    lacking = [name for name in VISA_COLUMNS if name not in header]
    if lacking:
        raise DataError(
            f"VisA's table lacks {len(lacking)} columns: {', '.join(lacking)}.",
            expected=", ".join(VISA_COLUMNS),
            got=shortened(header, 10),
            where=file,
            remedy="use the table as it was published",
        )
    table = read_table(file, {name: name for name in columns})
    table.refuse(
        np.asarray(table.columns["object"] == ""),
        "{count} rows name no object.",
        column="object",
        remedy="use the table as it was published",
    )
    return table


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"The data folder {root} {what}.",
            expected="a folder with train/good and test/TYPE, or with several such folders",
            where="data.root",
            remedy=PATH_RULE,
        )
