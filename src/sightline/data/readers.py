"""From a configuration to a manifest, whichever of the four sources it names."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import numpy as np

from sightline.data.csv_reader import read_csv
from sightline.data.folder_reader import read_folder
from sightline.data.listed_files import require_folder
from sightline.data.manifest import TEXT, Manifest, shortened
from sightline.data.objects import group_by_name, name_objects
from sightline.data.reid_reader import read_identities
from sightline.data.reid_settings import ReidDataConfig
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.data.table import read_header
from sightline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sightline.data.settings import DataConfig

_log = logging.getLogger(__name__)


def read_manifest(config: DataConfig, *, require_files: bool = True) -> Manifest:
    """The samples that a ``data`` section names, before any split is made.

    ``require_files=False`` lets a table name pictures that are not there and skips the comparison
    of hashes, for `check`. Rows come sorted by id from a folder and in the file's order from a
    table.

    Raises ConfigError where no source is named, DataError for everything wrong with the data.
    """
    if config.tree == "defects":
        return _read_defects(config, require_files=require_files)
    if config.tree == "identities":
        return read_with_notes(config, require_files=require_files)[0]
    if config.manifest is not None:
        from sightline.data.splits_file import read_splits

        return read_splits(
            config.manifest,
            root=config.image_dir_train,
            verify=config.verify_files and require_files,
            workers=config.workers,
        )
    if config.train_csv is not None:
        _require_inference_files(config)
        manifest = read_csv(config, require_files=require_files)
    elif config.root is not None:
        manifest = read_folder(config.root, class_names=config.class_names)
    elif config.digits is not None:
        from sightline.data.digits import write_digits

        manifest = read_folder(write_digits(config.digits), class_names=config.class_names)
    else:
        raise _no_data("one folder of pictures per class")
    if config.group_pattern is not None:
        return group_by_pattern(manifest, config.group_pattern)
    return manifest


def read_with_notes(
    config: DataConfig, *, require_files: bool = True
) -> tuple[Manifest, list[str]]:
    """The same with the groups that names of objects make, and sentences about what was decided."""
    if isinstance(config, ReidDataConfig):
        found = read_identities(config, require_files=require_files)
        return found.manifest, [remark.text for remark in found.remarks]
    manifest = read_manifest(config, require_files=require_files)
    return (
        name_objects(manifest, config)
        if isinstance(config, RetrievalDataConfig)
        else (manifest, [])
    )


def _read_defects(config: DataConfig, *, require_files: bool) -> Manifest:
    """The same for anomaly detection: normal pictures, defects, and where their masks are."""
    from sightline.data.defect_reader import read_defect_csv, read_defects, require_masks
    from sightline.data.defect_settings import AnomalyDataConfig

    assert isinstance(config, AnomalyDataConfig)
    if config.manifest is not None:
        from sightline.data.splits_file import read_splits
        from sightline.data.synthetic_defects import without_synthetic_defects

        manifest = read_splits(
            config.manifest,
            root=config.image_dir_train,
            verify=config.verify_files and require_files,
            workers=config.workers,
        )
        manifest = without_synthetic_defects(manifest)
        if require_files:
            require_masks(manifest, config.manifest)
        return manifest
    if config.train_csv is not None:
        manifest = read_defect_csv(config, require_files=require_files)
    elif config.root is not None:
        manifest = read_defects(config, require_files=require_files)
    elif config.digits is not None:
        from sightline.data.defect_digits import write_defect_digits

        root = write_defect_digits(config.digits)
        manifest = read_defects(config.model_copy(update={"root": root, "digits": None}))
    else:
        raise _no_data("train/good and test/TYPE in it")
    if config.group_pattern is not None:
        return group_by_pattern(manifest, config.group_pattern)
    return manifest


def _no_data(layout: str) -> ConfigError:
    return ConfigError(
        "The configuration names no data.",
        expected="one of data.root, data.train_csv, data.manifest, data.digits",
        remedy=f"add data.root=FOLDER for a folder with {layout}",
    )


def _require_inference_files(config: DataConfig) -> None:
    """Raise DataError for a sample submission or its folder that the end would miss."""
    if config.sample_csv is not None:
        read_header(config.sample_csv, [config.id_col, config.target_col])
    if config.image_dir_test is not None:
        require_folder(config.image_dir_test, setting="data.image_dir_test")


def group_by_pattern(manifest: Manifest, pattern: str) -> Manifest:
    """The manifest with a group per class and per text that the pattern's one group finds in the
    id.

    A name that occurs under two classes makes two groups and is logged. Raises DataError for ids in
    which the pattern finds nothing, and where the table has a column of groups already.
    """
    if (manifest.group.codes >= 0).any():
        raise ConfigError(
            "data.group_pattern and data.group_col both name groups.",
            remedy="remove one of them",
        )
    find = re.compile(pattern).search
    matches = (find(name) for name in manifest.id)
    keys = np.asarray([match[1] or "" if match else "" for match in matches], dtype=TEXT)
    lost = np.flatnonzero(keys == "")
    if len(lost):
        raise DataError(
            f"data.group_pattern finds no object in {len(lost)} of {len(keys)} ids.",
            expected=f"ids that match {pattern}",
            got=shortened(manifest.id[lost]),
            remedy="widen the pattern; ids of a folder are paths such as class/name.jpg",
        )
    grouped, shared = group_by_name(manifest, keys)
    if len(shared):
        _log.warning(
            "%d objects occur under several classes and are kept apart per class: %s",
            len(shared),
            shortened(shared),
        )
    return grouped
