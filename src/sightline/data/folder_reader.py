"""Reads a folder of pictures: one folder per class, perhaps inside one folder per split."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sightline.data.image_files import EXTENSIONS, child_folders, is_image, list_images
from sightline.data.manifest import TEXT, Category, Manifest, Strings, shortened
from sightline.errors import ConfigError, DataError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "fit": "fit",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "query": "query",
    "gallery": "gallery",
}
"""Names that folders and columns use for a split, in lower case, and what we call it."""

PATH_RULE = (
    "correct the path: in a configuration file it is relative to that file, on the command line "
    "to the working directory"
)

_log = logging.getLogger(__name__)


def read_folder(
    root: Path, *, class_names: Sequence[str] | None = None, least: int = 2
) -> Manifest:
    """One row per picture below ``root/<class>/`` or ``root/<split>/<class>/``, sorted by id.

    An id is the path relative to root, with its extension. Splits are recognised by a `train`
    folder next to another one named after a split (SPLIT_NAMES); what else lies beside them is left
    out and logged.

    Raises DataError for a missing folder, pictures outside a class folder, an empty class, fewer
    classes than `least`; ConfigError for class names that are not there.
    """
    _require_folder(root)
    splits = _split_folders(root)
    if not splits:
        ids, labels = _read_classes(root, class_names)
        manifest = Manifest.build(root, id=ids, path=ids, label=Category.encode(labels))
        return _finish(manifest, least)
    beside = sorted(set(child_folders(root)) - set(splits))
    if beside:
        _log.warning("%s: left out beside the split folders: %s", root, shortened(beside))
    parts = []
    for name, split in sorted(splits.items()):
        ids, labels = _read_classes(root / name, class_names)
        parts.append((np.strings.add(np.array(f"{name}/", dtype=TEXT), ids), labels, split))
    ids = np.concatenate([part[0] for part in parts])
    return _finish(
        Manifest.build(
            root,
            id=ids,
            path=ids,
            label=Category.encode(np.concatenate([part[1] for part in parts])),
            split=np.repeat(
                np.asarray([part[2] for part in parts], dtype=TEXT),
                [len(part[0]) for part in parts],
            ).tolist(),
        ),
        least,
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that looks most like another one, or the empty string."""
    folded = {entry.casefold(): entry for entry in reversed(known)}
    found = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    return folded[found[0]] if found else ""


def choose_classes(wanted: Sequence[str], found: Sequence[str], *, where: object) -> list[str]:
    """The wanted class names in sorted order, or a ConfigError that names the unknown ones."""
    unknown = [name for name in wanted if name not in found]
    if unknown:
        hints = [(name, nearest(name, found)) for name in unknown]
        guesses = [f"{near} instead of {name}" for name, near in hints if near]
        raise ConfigError(
            f"data.class_names has names that are no class: {shortened(unknown)}.",
            expected=f"names among {shortened(found, 20)}",
            where=where,
            remedy=f"did you mean {', '.join(guesses)}?" if guesses else "correct or remove them",
        )
    return sorted(set(wanted))


def _require_folder(root: Path) -> None:
    if root.is_dir():
        return
    what = "is a file, not a folder" if root.exists() else "does not exist"
    raise DataError(
        f"The data folder {root} {what}.",
        expected="a folder with one folder of pictures per class",
        where="data.root",
        remedy=PATH_RULE,
    )


def _split_folders(root: Path) -> dict[str, str]:
    """Folder name -> split, empty where the root holds class folders."""
    names = child_folders(root)
    splits = {name: SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES}
    # A class may be called "test"; a folder per split needs `train`, another split, folders in
    # both.
    train = [name for name, split in splits.items() if split == "train"]
    if not train or not any(child_folders(root / name) for name in train):
        return {}
    # A folder `train` that holds class folders is no class; what lies flat beside it has no labels.
    flat = [name for name in splits if not child_folders(root / name)]
    if flat:
        _log.warning("left out, because it holds no class folders: %s", ", ".join(flat))
    splits = {name: split for name, split in splits.items() if name not in flat}
    twice = sorted(name for name in splits if list(splits.values()).count(splits[name]) > 1)
    if twice:
        raise DataError(
            f"Several folders stand for one split: {', '.join(twice)}.",
            expected="one folder per split",
            where=root,
            remedy="merge or rename them",
        )
    return splits


def _read_classes(folder: Path, class_names: Sequence[str] | None) -> tuple[Strings, Strings]:
    """Paths relative to the folder and their classes, in sorted order."""
    found = child_folders(folder)
    if not found:
        loose = sum(is_image(entry.name) for entry in folder.iterdir())
        raise DataError(
            f"The folder {folder} has no class folders"
            + (f"; {loose} pictures lie in it directly." if loose else "."),
            expected="one folder of pictures per class",
            remedy="sort the pictures into folders named after their class, or name a table of "
            "labels with data.train_csv=FILE",
        )
    _refuse_loose(folder)
    names = found if class_names is None else choose_classes(class_names, found, where=folder)
    listed = [list_images(folder / name) for name in names]
    empty = [name for name, files in zip(names, listed, strict=True) if not len(files)]
    if empty:
        raise DataError(
            f"{len(empty)} class folders hold no pictures: {shortened(empty)}.",
            expected=f"files ending in {', '.join(EXTENSIONS)}, in any letter case",
            where=folder,
            remedy="add pictures, remove the empty folders, or list the classes with "
            "data.class_names",
        )
    prefixes = [np.array(f"{name}/", dtype=TEXT) for name in names]
    paths = [np.strings.add(prefix, files) for prefix, files in zip(prefixes, listed, strict=True)]
    counts = [len(files) for files in listed]
    return np.concatenate(paths), np.repeat(np.asarray(names, dtype=TEXT), counts)


def _refuse_loose(folder: Path) -> None:
    """Pictures beside class folders have no label; leaving them out in silence would lose them."""
    loose = sorted(
        entry.name
        for entry in folder.iterdir()
        if is_image(entry.name) and not entry.name.startswith(".") and entry.is_file()
    )
    if loose:
        raise DataError(
            f"{len(loose)} pictures lie beside the class folders and have no label: "
            f"{shortened(loose)}.",
            where=folder,
            remedy="move each into the folder of its class, or out of this folder",
        )


def _finish(manifest: Manifest, least: int) -> Manifest:
    if len(manifest.label.names) < least:
        raise DataError(
            f"All {len(manifest)} pictures have one class: {shortened(manifest.label.names)}.",
            expected=f"at least {least} classes",
            where=manifest.root,
            remedy="add folders of other classes; a root one level too deep or too high also "
            "looks so",
        )
    return manifest
