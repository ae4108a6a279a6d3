"""Reads normal pictures, defects and masks: MVTec AD's and BTAD's folders, VisA's table, a CSV."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightline.data.csv_reader import read_csv, refuse_lost_files, split_codes
from sightline.data.defect_categories import (
    chosen_categories,
    is_category,
    is_visa,
    visa_table,
)
from sightline.data.defect_folders import RULE, Samples, read_samples
from sightline.data.defect_labels import NORMAL, is_normal
from sightline.data.folder_reader import nearest
from sightline.data.listed_files import refuse_repeated
from sightline.data.manifest import Category, Manifest, Strings, shortened
from sightline.data.table import Table
from sightline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sightline.data.defect_settings import AnomalyDataConfig

_log = logging.getLogger(__name__)

_VISA_LABELS = {"normal": NORMAL, "anomaly": "anomaly"}


def read_defects(config: AnomalyDataConfig, *, require_files: bool = True) -> Manifest:
    """One row per picture of ``data.root``, its label the type of defect or NORMAL, and its mask.

    Of several categories the one that ``data.category`` names is read and ids begin inside it; for
    `all` they begin with the category, as in VisA. Folders left out are logged. With
    ``require_files=False``, for `check`, missing files and masks without a picture are no errors.

    Raises ConfigError for a category that is unknown or not chosen, DataError for a layout that is
    none, empty folders, and masks that belong to no picture or to several.
    """
    assert config.root is not None
    names = chosen_categories(config)
    if is_visa(config.root, config.layout):
        return _read_visa(config.root, names, require_files=require_files)
    root, samples = _read_folders(config, names)
    for sentence in samples.left_out:
        _log.warning(sentence)
    if samples.unused_masks and require_files:
        _refuse_unused(samples, root)
    return Manifest.build(
        root,
        id=samples.path,
        path=samples.path,
        label=Category.encode(samples.label),
        split=samples.split,
        mask=samples.mask,
    )


def unused_masks(config: AnomalyDataConfig) -> list[str]:
    """Masks in folders that belong to no picture, for `check`; a table cannot have any."""
    if config.root is None or is_visa(config.root, config.layout):
        return []
    return _read_folders(config, chosen_categories(config))[1].unused_masks


def read_defect_csv(config: AnomalyDataConfig, *, require_files: bool = True) -> Manifest:
    """The table's rows with ``data.normal_label`` as NORMAL; a table of normal pictures will do.

    Raises DataError as read_csv does and for masks that are not there, ConfigError where no row
    has the normal label.
    """
    manifest = read_csv(config, require_files=require_files)
    names = [str(name) for name in manifest.label.names]
    if config.normal_label not in names:
        near = nearest(config.normal_label, names)
        raise ConfigError(
            f"No row is normal: none has the label {config.normal_label!r}.",
            expected="normal pictures to learn from",
            got=f"the labels {shortened(names, 10)}",
            where=config.train_csv,
            remedy=f"set data.normal_label={near or 'NAME'}",
        )
    if config.normal_label != NORMAL and NORMAL in names:
        raise DataError(
            f"The label {NORMAL!r} stands for normal pictures, and here it is a defect.",
            got=f"data.normal_label={config.normal_label}",
            where=config.train_csv,
            remedy="rename the label in the table",
        )
    texts = [NORMAL if name == config.normal_label else name for name in names]
    labels = Category.encode([texts[code] for code in manifest.label.codes])
    return _without_normal_masks(replace(manifest, label=labels))


def require_masks(manifest: Manifest, where: Path) -> None:
    """Raise DataError where the mask of a manifest's row is not there."""
    lost = [str(mask) for mask in manifest.mask if mask and not (manifest.root / mask).is_file()]
    if lost:
        raise DataError(
            f"{len(lost)} masks are not there: {shortened(lost)}.",
            expected=f"files in {manifest.root}",
            where=where,
            remedy="restore them, or empty their fields: pixel scores then leave the pictures out",
        )


def _read_folders(config: AnomalyDataConfig, names: tuple[str, ...]) -> tuple[Path, Samples]:
    root = config.root
    assert root is not None
    if is_category(root):
        return root, read_samples(root, config.layout)
    if config.category != "all":
        return root / names[0], read_samples(root / names[0], config.layout)
    joined = Samples()
    for name in names:
        one = read_samples(root / name, config.layout)
        joined.path += [f"{name}/{path}" for path in one.path]
        joined.label += one.label
        joined.split += one.split
        joined.mask += [f"{name}/{mask}" if mask else "" for mask in one.mask]
        joined.left_out += one.left_out
        joined.unused_masks += [f"{name}/{mask}" for mask in one.unused_masks]
    return root, joined


def _refuse_unused(samples: Samples, root: Path) -> None:
    mask = samples.unused_masks[0]
    defects = [
        path for path, label in zip(samples.path, samples.label, strict=True) if label != NORMAL
    ]
    expected = mask.partition("ground_truth/")[2].replace("_mask.", ".")
    near = nearest(f"test/{expected}", defects)
    raise DataError(
        f"{len(samples.unused_masks)} masks belong to no picture: "
        f"{shortened(samples.unused_masks)}.",
        expected=RULE,
        got=f"{mask}" + (f"; the picture with the nearest name is {near}" if near else ""),
        where=root,
        remedy="rename the masks or their pictures, or remove the masks",
    )


def _read_visa(root: Path, names: tuple[str, ...], *, require_files: bool) -> Manifest:
    """The rows of some categories in the table's order; ids are the paths of the pictures."""
    table = visa_table(root)
    chosen = np.flatnonzero([str(name) in names for name in table.columns["object"]])
    columns = {name: values[chosen] for name, values in table.columns.items()}
    for name in ("image", "mask"):
        columns[name] = np.strings.replace(columns[name], "\\", "/")
    table = Table(table.file, columns, table.lines[chosen])
    refuse_repeated(table, "image")
    labels = [_VISA_LABELS.get(str(name).lower(), "") for name in columns["label"]]
    table.refuse(
        np.asarray([not label for label in labels]),
        "{count} rows have an unknown label.",
        column="label",
        remedy=f"use one of {', '.join(_VISA_LABELS)}",
    )
    if require_files:
        refuse_lost_files(table, "image", root)
        refuse_lost_files(table, "mask", root)
    manifest = Manifest.build(
        root,
        id=columns["image"],
        path=columns["image"],
        label=Category.encode(labels),
        mask=columns["mask"],
    )
    return _without_normal_masks(manifest.with_split(split_codes(table, "split")))


def _without_normal_masks(manifest: Manifest) -> Manifest:
    """A normal picture has no defect: its mask, black where there is one, is not read."""
    masks: Strings = manifest.mask.copy()
    masks[is_normal(manifest)] = ""
    return replace(manifest, mask=masks)
