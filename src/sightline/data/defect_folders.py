"""Reads one category in folders: train/good, test/TYPE and ground_truth/TYPE, or ok and ko."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.data.defect_labels import NORMAL
from sightline.data.folder_reader import SPLIT_NAMES
from sightline.data.image_files import EXTENSIONS, child_folders, is_image, list_images
from sightline.data.manifest import shortened
from sightline.errors import DataError

if TYPE_CHECKING:
    from sightline.data.defect_settings import Layout

MASKS = "ground_truth"
RULE = (
    "the mask of test/TYPE/NAME.jpg is ground_truth/TYPE/NAME_mask.png or NAME.png, with any "
    "extension of a picture"
)
_NORMAL_FOLDERS: dict[str, tuple[str, ...]] = {
    "auto": ("good", "ok"),
    "mvtec": ("good",),
    "btad": ("ok",),
}
_SPLITS = ("train", "fit", "val", "test")


@dataclass(slots=True)
class Samples:
    """Columns of pictures; paths and masks are relative to the category's folder."""

    path: list[str] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    mask: list[str] = field(default_factory=list)
    unused_masks: list[str] = field(default_factory=list)
    """Masks that belong to no picture."""
    left_out: list[str] = field(default_factory=list)
    """Folders that are not read, each with the reason."""


def read_samples(folder: Path, layout: Layout = "auto") -> Samples:
    """The pictures of one category, split by split, in sorted order, with their masks.

    What lies beside the folders of splits and masks is left out. Raises DataError for
    pictures outside a folder of their type, empty folders, and masks that two pictures, or two
    masks that one picture could claim.
    """
    samples = Samples()
    names = child_folders(folder)
    splits = {name: SPLIT_NAMES.get(name.lower(), "") for name in names}
    splits = {name: split for name, split in splits.items() if split in _SPLITS}
    _refuse_repeated(folder, splits)
    masks = [name for name in names if name.lower() == MASKS]
    beside = [name for name in names if name not in (*splits, *masks)]
    if beside:
        samples.left_out.append(f"{folder}: left out beside the split folders: {shortened(beside)}")
    for name, split in splits.items():
        _read_split(samples, folder, name, split, normal=_NORMAL_FOLDERS[layout])
    for name in masks:
        _match_masks(samples, folder, name, normal=_NORMAL_FOLDERS[layout])
    return samples


def _refuse_repeated(folder: Path, splits: dict[str, str]) -> None:
    twice = [name for name in splits if list(splits.values()).count(splits[name]) > 1]
    if twice:
        raise DataError(
            f"Several folders stand for one split: {', '.join(twice)}.",
            expected="one folder per split",
            where=folder,
            remedy="merge or rename them",
        )


def _read_split(
    samples: Samples, folder: Path, name: str, split: str, *, normal: tuple[str, ...]
) -> None:
    """Add the pictures of one split."""
    place = folder / name
    loose = _pictures_in(place)
    if loose:
        raise DataError(
            f"{len(loose)} pictures of {name} lie in no folder that says what they are: "
            f"{shortened(loose)}.",
            expected=f"normal pictures in {name}/{normal[0]}, defects in a folder per type",
            where=place,
            remedy="move each into such a folder",
        )
    types = child_folders(place)
    listed = {kind: list_images(place / kind).tolist() for kind in types}
    empty = [f"{name}/{kind}" for kind, files in listed.items() if not files]
    if empty or not types:
        raise DataError(
            f"{len(empty)} folders hold no pictures: {shortened(empty)}."
            if empty
            else f"The folder {place} has no folders of pictures.",
            expected=f"files ending in {', '.join(EXTENSIONS)}, in any letter case, in "
            f"{name}/{normal[0]} or {name}/TYPE",
            where=folder,
            remedy="add pictures or remove the empty folders",
        )
    for kind, files in listed.items():
        samples.path += [f"{name}/{kind}/{file}" for file in files]
        samples.label += [NORMAL if kind.lower() in normal else kind] * len(files)
        samples.split += [split] * len(files)
        samples.mask += [""] * len(files)


def _match_masks(samples: Samples, folder: Path, name: str, *, normal: tuple[str, ...]) -> None:
    """Give every picture outside train its mask; fills the list of unused masks."""
    rows: dict[str, list[int]] = {}
    for row, (path, split) in enumerate(zip(samples.path, samples.split, strict=True)):
        if split in ("val", "test"):
            rows.setdefault(_without_extension(path.split("/", 1)[1]), []).append(row)
    place = folder / name
    samples.unused_masks += [f"{name}/{file}" for file in _pictures_in(place)]
    for kind in child_folders(place):
        files = list_images(place / kind).tolist()
        if kind.lower() in normal:
            # Some sets have a black mask for every normal picture.
            samples.left_out.append(
                f"{place / kind}: left out, normal pictures have no defect to mask"
            )
            continue
        for file in files:
            key = f"{kind}/{_without_extension(file)}"
            claimed = rows.get(key) or rows.get(key.removesuffix("_mask"))
            if claimed is None:
                samples.unused_masks.append(f"{name}/{kind}/{file}")
                continue
            _give(samples, claimed, f"{name}/{kind}/{file}", where=folder)


def _give(samples: Samples, claimed: list[int], mask: str, *, where: Path) -> None:
    pictures = [samples.path[row] for row in claimed]
    if len(claimed) > 1:
        raise DataError(
            "A mask could belong to several pictures.",
            expected=RULE,
            got=f"{mask} for {' and '.join(pictures)}",
            where=where,
            remedy="give the pictures different names",
        )
    row = claimed[0]
    if samples.mask[row]:
        raise DataError(
            "A picture has two masks.",
            expected=RULE,
            got=f"{samples.mask[row]} and {mask} for {pictures[0]}",
            where=where,
            remedy="remove one of them",
        )
    samples.mask[row] = mask


def _pictures_in(folder: Path) -> list[str]:
    """Names of the visible pictures directly in a folder, sorted."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    return [name for name in names if is_image(name) and not name.startswith(".")]


def _without_extension(path: str) -> str:
    return path[: path.rindex(".")]
