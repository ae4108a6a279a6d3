"""From the `data` section of re-identification to samples labelled by identity and camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightline.data.csv_reader import read_csv
from sightline.data.folder_reader import read_folder
from sightline.data.image_files import child_folders
from sightline.data.manifest import SPLITS, Manifest, shortened
from sightline.data.reid_layouts import find_layout
from sightline.data.reid_lists import read_lists
from sightline.data.reid_market import read_market
from sightline.data.reid_names import with_cameras
from sightline.data.reid_rows import Identities, Remark
from sightline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sightline.data.reid_settings import ReidDataConfig

_TEST, _QUERY, _GALLERY = (SPLITS.index(name) for name in ("test", "query", "gallery"))


def read_identities(config: ReidDataConfig, *, require_files: bool = True) -> Identities:
    """The samples that a ``data`` section names, before any split is carved, and remarks on them.

    The label is the identity as the data writes it (0002 is not 2), the camera is empty where
    nothing says it. ``require_files=False``, for `check`, lets lists and tables name pictures that
    are not there and rows have no identity, and skips the comparison of hashes.

    Raises ConfigError where no source is named, DataError for everything wrong with the data.
    """
    if config.manifest is not None:
        manifest = _read_splits(config, require_files=require_files)
        if require_files:
            _require_labels(manifest)
        return Identities(manifest, _unread_test(manifest))
    if config.train_csv is not None:
        found = Identities(read_csv(config, require_files=require_files), [])
    elif config.root is not None:
        found = _read_root(config, require_files=require_files)
    elif config.digits is not None:
        from sightline.data.number_plates import write_number_plates

        root = write_number_plates(config.digits)
        found = _read_root(config.model_copy(update={"root": root, "digits": None}))
    else:
        raise ConfigError(
            "The configuration names no data.",
            expected="one of data.root, data.train_csv, data.manifest, data.digits",
            remedy="add data.root=FOLDER for a folder in the layout of Market-1501, MSMT17 or "
            "VeRi-776, or with one folder of pictures per identity",
        )
    manifest, remarks = _settle_gallery(found.manifest)
    if config.camera_pattern is not None:
        manifest = with_cameras(manifest, config.camera_pattern)
    return Identities(manifest, [*found.remarks, *remarks, *_unread_test(manifest)])


def _read_splits(config: ReidDataConfig, *, require_files: bool) -> Manifest:
    from sightline.data.splits_file import read_splits

    assert config.manifest is not None
    return read_splits(
        config.manifest,
        root=config.image_dir_train,
        verify=config.verify_files and require_files,
        workers=config.workers,
    )


def _read_root(config: ReidDataConfig, *, require_files: bool = True) -> Identities:
    root = config.root
    assert root is not None
    found = find_layout(root, config)
    if found.layout == "market":
        manifest, remarks = read_market(root, found.folders, name_pattern=config.name_pattern)
    elif found.layout == "lists":
        manifest, remarks = read_lists(config, require_files=require_files)
    else:
        _require_train(root)
        manifest, remarks = read_folder(root, least=1), []
    text = f"The folder is read as {found.layout}, because {found.why}."
    return Identities(manifest, [Remark("layout", len(manifest), text), *remarks])


def _require_train(root: Path) -> None:
    """Without `train` the folders of query and gallery would pass for two identities."""
    names = [name.lower() for name in child_folders(root)]
    if "query" in names and "train" not in names:
        raise DataError(
            f"The folder {root} has a query and no training pictures.",
            expected="the folders train, query and gallery, each with a folder per identity",
            where="data.root",
            remedy="add the folder train",
        )


def _require_labels(manifest: Manifest) -> None:
    unlabelled = manifest.select(manifest.label.codes < 0)
    if len(unlabelled):
        raise DataError(
            f"{len(unlabelled)} samples have no label.",
            expected="a label for every sample, which says the identity",
            got=shortened(unlabelled.id),
            remedy="fill in the identities in the column label, or remove these rows",
        )


def _unread_test(manifest: Manifest) -> list[Remark]:
    """Beside query and gallery, which are the test, nobody reads the rows of test."""
    split = manifest.split
    count = int((split == _TEST).sum())
    if not count or not (split == _QUERY).any() or not (split == _GALLERY).any():
        return []
    text = (
        f"{count} pictures of test are read by nobody, because query and gallery are the test: "
        "call them query, gallery or train, or remove them."
    )
    return [Remark("unread_test", count, text, "warning")]


def _settle_gallery(manifest: Manifest) -> tuple[Manifest, list[Remark]]:
    """Where there is a query and no gallery, the rows of test are what is searched."""
    split = manifest.split
    if not (split == _QUERY).any() or (split == _GALLERY).any() or not (split == _TEST).any():
        return manifest, []
    rows = split == _TEST
    text = "Beside the query the pictures of test are the gallery."
    return (
        manifest.with_split(np.where(rows, _GALLERY, split)),
        [Remark("test_is_gallery", int(rows.sum()), text)],
    )
