"""The ``data`` section of re-identification: identities, and the cameras that saw them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from sightline.data.augment_settings import AugmentConfig, Preset
from sightline.data.settings import DataConfig, Source

Layout = Literal["auto", "market", "lists", "folders"]

_ONE_SPLIT = "re-identification validates on one split, so there are no folds"
_WHOLE = "whole identities are carved off, so none has a share in every split"
_UNREAD = {
    "folds": _ONE_SPLIT,
    "fold_col": _ONE_SPLIT,
    "valid_fold": _ONE_SPLIT,
    "sample_csv": "there is no submission",
    "image_dir_test": "there is no submission",
    "stratify": _WHOLE,
    "group_pattern": _WHOLE,
    "on_unvalidated_class": "no identity of validation is one of training",
    "class_names": "every identity is used",
    "mask_col": "masks belong to anomaly detection",
}
"""Keys of DataConfig that nothing reads here, and why."""
_FOLDER: tuple[Source, ...] = ("folder",)
_READ_BY: dict[str, tuple[Source, ...]] = {
    "layout": _FOLDER,
    "train_folder": _FOLDER,
    "query_folder": _FOLDER,
    "gallery_folder": _FOLDER,
    "name_pattern": _FOLDER,
    "camera_pattern": ("folder", "csv"),
}
_SOURCE_KEYS = {"folder": "root", "csv": "train_csv"}
FOLDER_KEYS = ("train_folder", "query_folder", "gallery_folder")
"""Keys that name a folder of the layouts market and lists."""


class ReidAugmentConfig(AugmentConfig):
    """Random changes to training pictures, by default those of the strong baseline."""

    preset: Preset = "reid"
    """The set of values to start from; reid is a mirror image, a small move and erasing."""


class ReidDataConfig(DataConfig):
    """Pictures of identities; name one of root, train_csv, manifest and digits."""

    tree: ClassVar[Literal["classes", "defects", "identities"]] = "identities"

    root: Path | None = None
    """A folder of pictures in the layout of Market-1501, VeRi-776 or MSMT17, or with one folder per
    identity, perhaps inside train/test or train/query/gallery folders."""
    layout: Layout = "auto"
    """How the folder is laid out: market (pictures flat in bounding_box_train, query and
    bounding_box_test, or the like, identity and camera in their names), lists (list_*.txt or
    name_*.txt), folders (one per identity); auto finds out, and `check` says which."""
    train_folder: str | None = None
    """The folder of training pictures in the layouts market and lists; null: as the layout names
    it."""
    query_folder: str | None = None
    """The same for the pictures that are asked for."""
    gallery_folder: str | None = None
    """The same for the pictures that are searched."""
    name_pattern: str | None = None
    """A regular expression that finds the identity, and perhaps the camera, in a file name by the
    named groups identity and camera. Null: `^(?P<identity>-?\\d+)_c(?P<camera>\\d+)`, and for lists
    that give the identity `^(?P<identity>-?\\d+)_\\d+_(?P<camera>\\d+)_` (MSMT17)."""
    camera_pattern: str | None = None
    """A regular expression with one group that finds the camera in an id (a path below root, or
    the table's id); what it finds replaces the camera of name_pattern. For 5/31_left.jpg where 31
    is the day: `/(\\d+)_(?:left|right)`."""
    fit: Literal["crop", "pad", "stretch"] = "stretch"
    """How a picture is brought to the model's shape: stretch squeezes it, crop takes the largest
    central part of that shape, pad takes the whole picture and fills the margins."""
    augment: ReidAugmentConfig = ReidAugmentConfig()
    """Random changes to training pictures."""

    @model_validator(mode="after")
    def _check_reid_keys(self) -> Self:
        for key, why in _UNREAD.items():
            if self._is_changed(key):
                raise ValueError(f"{key} is not read in re-identification: {why}; leave it out")
        for key, sources in _READ_BY.items():
            if self._is_changed(key) and self.source not in (*sources, "none"):
                readers = " or ".join(_SOURCE_KEYS[source] for source in sources)
                raise ValueError(f"{key} is read only with {readers}")
        for key in (*FOLDER_KEYS, "name_pattern"):
            if self.layout == "folders" and self._is_changed(key):
                raise ValueError(
                    f"{key} is not read with layout folders, where the folder's name is the "
                    "identity; leave it out"
                )
        if self.camera_pattern is not None and self.camera_col is not None:
            raise ValueError("camera_pattern and camera_col both name cameras; leave one out")
        return self

    @model_validator(mode="after")
    def _check_reid_patterns(self) -> Self:
        if self.name_pattern is not None:
            named = set(_compiled("name_pattern", self.name_pattern).groupindex)
            if "identity" not in named or named - {"identity", "camera"}:
                raise ValueError(
                    "name_pattern needs the named group (?P<identity>...) and takes "
                    f"(?P<camera>...), it has {', '.join(sorted(named)) or 'none'}"
                )
        if self.camera_pattern is not None:
            groups = _compiled("camera_pattern", self.camera_pattern).groups
            if groups != 1:
                raise ValueError(
                    f"camera_pattern needs exactly one group in round brackets, it has {groups}; "
                    "(?:...) is none"
                )
        return self


def _compiled(key: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{key} is no regular expression: {error}") from error
