"""Finds out how a folder of identities is laid out, and which folder is which split."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from sightline.data.folder_reader import PATH_RULE
from sightline.data.image_files import child_folders, is_image
from sightline.data.manifest import shortened
from sightline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sightline.data.reid_settings import ReidDataConfig

LISTS = {
    "list_train.txt": "train",
    "list_val.txt": "val",
    "list_query.txt": "query",
    "list_gallery.txt": "gallery",
    "name_train.txt": "train",
    "name_query.txt": "query",
    "name_test.txt": "gallery",
}
"""Lists of MSMT17 (list_) and VeRi-776 (name_), and the split that each one lists."""
_FLAT_NAMES = {
    "train": ("bounding_box_train", "image_train", "train"),
    "val": ("bounding_box_val", "image_val", "val"),
    "query": ("query", "image_query"),
    "gallery": ("bounding_box_test", "image_test", "gallery", "test"),
}
"""Split -> names of its folder, the most telling first."""
_LAYOUTS = (
    "market (pictures flat in bounding_box_train, query, bounding_box_test), lists (list_*.txt or "
    "name_*.txt) or folders (one per identity, perhaps in train/test or train/query/gallery)"
)


class Found(NamedTuple):
    """How a folder is laid out."""

    layout: Literal["market", "lists", "folders"]
    why: str
    """What it was known by, to follow `because`."""
    folders: Mapping[str, str]
    """Split -> folder of the layout market; the split "" stands for the whole root."""


def find_layout(root: Path, config: ReidDataConfig) -> Found:
    """How a folder is laid out: as data.layout says, or else as its files show.

    Lists win over folders, because they name the pictures of a split one by one. Raises DataError
    for a missing folder, and where some splits hold pictures and others folders of identities.
    """
    _require_folder(root)
    lists = present_lists(root)
    if config.layout == "lists" or (config.layout == "auto" and lists):
        return Found("lists", f"it holds {shortened(lists) or 'no list'}", {})
    if config.layout == "folders":
        return Found("folders", "data.layout says so", {})
    folders = _flat_folders(root, config)
    flat = {split: name for split, name in folders.items() if _is_flat(root / name)}
    if config.layout == "market":
        return _as_market(root, folders, "data.layout says so")
    nested = [name for name in folders.values() if name not in flat.values()]
    nested = [name for name in nested if child_folders(root / name)]
    if flat and nested:
        raise _mixed(root, list(flat.values()), nested)
    if flat:
        return _as_market(root, folders, f"pictures lie flat in {', '.join(flat.values())}")
    below = child_folders(root)
    if not below and _is_flat(root):
        return Found("market", "pictures lie flat in it", {"": ""})
    deeper = [name for name in below if holds_identities(root / name)]
    if not below or deeper:
        raise _elsewhere(root, deeper)
    if _is_flat(root):
        raise _beside_folders(root, below)
    _refuse_unread(config)
    return Found("folders", "each folder of pictures is named after an identity", {})


def holds_identities(root: Path) -> bool:
    """Whether a folder is for re-identification: it has lists, or a query and a gallery."""
    names = {name.lower() for name in child_folders(root)}
    asks = any(name in names for name in _FLAT_NAMES["query"])
    shown = any(name in names for name in _FLAT_NAMES["gallery"])
    return bool(present_lists(root)) or (asks and shown) or "bounding_box_train" in names


def present_lists(root: Path) -> list[str]:
    """The names of the lists that are there."""
    return [name for name in LISTS if (root / name).is_file()]


def _flat_folders(root: Path, config: ReidDataConfig) -> dict[str, str]:
    """Split -> folder that is there, under the name of the configuration or a usual one."""
    named = {
        "train": config.train_folder,
        "query": config.query_folder,
        "gallery": config.gallery_folder,
    }
    there = {name.lower(): name for name in child_folders(root)}
    found = {}
    for split, usual in _FLAT_NAMES.items():
        wanted = named.get(split)
        if wanted is not None:
            _require_named(root, split, wanted)
            found[split] = wanted
            continue
        first = next((there[name] for name in usual if name in there), None)
        if first is not None:
            found[split] = first
    return found


def _as_market(root: Path, folders: dict[str, str], why: str) -> Found:
    """Folders of the layout market; DataError where one is missing that must be there."""
    if not folders:
        if _is_flat(root):
            return Found("market", why, {"": ""})
        raise DataError(
            f"The folder {root} is not laid out as Market-1501.",
            expected="bounding_box_train, query and bounding_box_test",
            got=f"the folders {shortened(child_folders(root), 10) or 'none'}",
            where="data.root",
            remedy="name the folders with data.train_folder, data.query_folder and "
            "data.gallery_folder, or leave out data.layout",
        )
    # A `test` without a query is no gallery: its pictures ask for each other.
    if folders.get("gallery", "").lower() == "test" and "query" not in folders:
        folders["test"] = folders.pop("gallery")
    for split in ("train", "query", "gallery"):
        needed = split == "train" or "test" not in folders
        if needed and split not in folders:
            raise _missing(root, split, folders)
    return Found("market", why, folders)


def _missing(root: Path, split: str, folders: Mapping[str, str]) -> DataError:
    remedy = f"add it, or name it with data.{split}_folder=NAME"
    if split != "train" and "train" in folders:
        remedy += (
            f"; without query and gallery data.root={root / folders['train']} makes a test of some "
            "of its identities"
        )
    return DataError(
        f"The folder {root} has no {split} folder.",
        expected=f"one of {', '.join(_FLAT_NAMES[split])}",
        got=f"the folders {shortened(child_folders(root), 10)}",
        where="data.root",
        remedy=remedy,
    )


def _require_named(root: Path, split: str, name: str) -> None:
    if not (root / name).is_dir():
        raise DataError(
            f"The folder {root / name} does not exist.",
            expected=f"the pictures of {split}",
            got=f"the folders {shortened(child_folders(root), 10) or 'none'}",
            where=f"data.{split}_folder",
            remedy="correct the name, which is relative to data.root",
        )


def _refuse_unread(config: ReidDataConfig) -> None:
    """Keys of other layouts would be ignored in silence where each folder is an identity."""
    for key in ("train_folder", "query_folder", "gallery_folder", "name_pattern"):
        if getattr(config, key) is not None:
            raise ConfigError(
                f"data.{key} is not read where each folder is named after an identity.",
                where=config.root,
                remedy="leave it out, and call the folders of splits train, val, test, query and "
                "gallery; the camera is found by data.camera_pattern",
            )


def _elsewhere(root: Path, deeper: list[str]) -> DataError:
    """An error for a root above the folder that is meant, or without anything in it."""
    if deeper:
        return DataError(
            f"The folder {root} holds data for re-identification one level below.",
            got=shortened(deeper),
            where="data.root",
            remedy=f"name that folder: data.root={root / deeper[0]}",
        )
    return DataError(
        f"The folder {root} holds neither pictures nor folders.",
        expected=_LAYOUTS,
        where="data.root",
        remedy=PATH_RULE,
    )


def _beside_folders(root: Path, below: list[str]) -> DataError:
    loose = _flat_pictures(root)
    return DataError(
        f"{len(loose)} pictures lie beside the folders {shortened(below)}.",
        expected="pictures whose names say the identity, or one folder per identity",
        got=shortened(loose),
        where=root,
        remedy="data.layout=market reads identities from the names of all these pictures; where "
        "the folders are the identities, move each picture into its own or out of this folder",
    )


def _mixed(root: Path, flat: list[str], nested: list[str]) -> DataError:
    return DataError(
        "Some splits hold pictures and others hold folders.",
        expected="one layout for all: " + _LAYOUTS,
        got=f"pictures in {', '.join(flat)}, folders in {', '.join(nested)}",
        where=root,
        remedy="sort the pictures of all splits alike, or say which layout is meant with "
        "data.layout=market or data.layout=folders",
    )


def _is_flat(folder: Path) -> bool:
    """Whether pictures lie directly in a folder."""
    with os.scandir(folder) as entries:
        return any(map(_is_picture, entries))


def _flat_pictures(folder: Path) -> list[str]:
    """The names of those pictures."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_picture(entry))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return is_image(entry.name) and not entry.name.startswith(".") and entry.is_file()


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"The data folder {root} {what}.",
            expected=_LAYOUTS,
            where="data.root",
            remedy=PATH_RULE,
        )
