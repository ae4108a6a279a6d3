"""Reads pictures that text files list split by split, as MSMT17 and VeRi-776 do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sightline.data.image_files import child_folders, is_image, list_images
from sightline.data.manifest import TEXT, shortened
from sightline.data.reid_layouts import LISTS, present_lists
from sightline.data.reid_names import MARKET_PATTERN, MSMT_PATTERN, parse_names, require_parsed
from sightline.data.reid_rows import Identities, Remark, Rows, without_junk
from sightline.errors import DataError

if TYPE_CHECKING:
    from sightline.data.reid_settings import ReidDataConfig

_FOLDERS = {
    "train": ("train", "mask_train_v2", "image_train"),
    "query": ("test", "mask_test_v2", "image_query"),
    "gallery": ("test", "mask_test_v2", "image_test"),
}
_WITH_IDENTITY = re.compile(r"(.+\.\w+)\s+(-?\d+)")
_NEEDED = ("train", "query", "gallery")


class _Listed(NamedTuple):
    """One list: paths below the root, and the identities it gives, or None."""

    file: Path
    split: str
    paths: list[str]
    identities: list[str] | None


def read_lists(config: ReidDataConfig, *, require_files: bool = True) -> Identities:
    """One row per line of the lists of ``data.root``, list by list, in their order.

    A line is a path below the split's folder, perhaps followed by the number of the identity
    (MSMT17, Wei et al. 2018); without it the name says it (VeRi-776, Liu et al. 2016). MSMT17
    numbers the identities of train and test independently, so those of test become ``test-N``.
    Its list_val is of the people of list_train: such pictures are train.

    Raises DataError for missing lists, lines that name no picture or one named before, missing
    pictures unless ``require_files`` is false, and names that do not say an identity.
    """
    assert config.root is not None
    root, lists = config.root, _read_all(config)
    _refuse_repeated(root, lists)
    if require_files:
        _require_there(root, lists)
    has_identities = lists[0].identities is not None
    usual = MSMT_PATTERN if has_identities else MARKET_PATTERN
    rows = Rows()
    for one in lists:
        paths = np.asarray(one.paths, TEXT)
        parsed = parse_names(paths, config.name_pattern or usual)
        if one.identities is None:
            require_parsed(parsed, paths, config.name_pattern or usual, root=one.file)
        rows.add(one.paths, one.identities or parsed.identity, parsed.camera, one.split)
    rows, remarks = without_junk(rows)
    remarks += _settle_validation(rows)
    if has_identities:
        remarks += _keep_apart(rows)
    return Identities(rows.manifest(root), remarks)


def _read_all(config: ReidDataConfig) -> list[_Listed]:
    """The lists in the order of LISTS; DataError where one is missing or they are of two kinds."""
    root = config.root
    assert root is not None
    names = present_lists(root)
    lacking = [split for split in _NEEDED if split not in [LISTS[name] for name in names]]
    kinds = {name.partition("_")[0] for name in names}
    if lacking or len(kinds) > 1:
        raise DataError(
            f"The folder {root} has no complete set of lists.",
            expected="list_train.txt, list_query.txt, list_gallery.txt and perhaps list_val.txt "
            "(MSMT17), or name_train.txt, name_query.txt and name_test.txt (VeRi-776)",
            got=shortened(names, 10) or "no list",
            where="data.root",
            remedy="add the missing lists, or leave them all out and name the folders with "
            "data.layout=market or data.layout=folders",
        )
    lists = [_read(root / name, _folder(config, LISTS[name]), LISTS[name]) for name in names]
    if len({one.identities is None for one in lists}) > 1:
        raise DataError(
            "Some lists give the identities of their pictures and others do not.",
            expected="lines such as 0000/0000_000_01_0303morning_0008_0.jpg 0 in all lists, or "
            "bare names in all",
            got=f"identities in {shortened([one.file.name for one in lists if one.identities])}",
            where=root,
            remedy="write all lists alike",
        )
    return lists


def _folder(config: ReidDataConfig, split: str) -> str:
    """The folder of a list's pictures, relative to the root."""
    split = "train" if split == "val" else split
    named: str | None = getattr(config, f"{split}_folder")
    assert config.root is not None
    names = (named,) if named else _FOLDERS[split]
    found = [name for name in names if (config.root / name).is_dir()]
    if not found:
        raise DataError(
            f"The folder {config.root} has no folder with the pictures of {split}.",
            expected=named or f"one of {', '.join(_FOLDERS[split])}",
            got=f"the folders {shortened(child_folders(config.root), 10) or 'none'}",
            where=f"data.{split}_folder",
            remedy=f"name it with data.{split}_folder=NAME",
        )
    return found[0]


def _read(file: Path, folder: str, split: str) -> _Listed:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The list {file} cannot be read: {error}.", remedy="save it as UTF-8 text"
        ) from error
    texts = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    found = [(_WITH_IDENTITY.fullmatch(text), (number, text)) for number, text in texts]
    given = [match[2] for match, _ in found if match is not None]
    names = [match[1] if match is not None else text for match, (_, text) in found]
    bad = [
        text
        for (match, text), name in zip(found, names, strict=True)
        if (given and match is None) or not is_image(name)
    ]
    if bad or not texts:
        raise DataError(
            f"{len(bad)} lines of {file} name no picture or no identity." if bad
            else f"The list {file} is empty.",
            expected="a path in every line, in all or in none followed by a number",
            got=shortened([f"line {number}: {text!r}" for number, text in bad]) if bad else None,
            remedy="correct the list",
        )  # fmt: skip
    paths = [f"{folder}/{name}".replace("\\", "/") for name in names]
    return _Listed(file, split, paths, given or None)


def _refuse_repeated(root: Path, lists: Sequence[_Listed]) -> None:
    seen: dict[str, str] = {}
    again = []
    for one in lists:
        for path in one.paths:
            if path in seen:
                again.append(f"{path} ({seen[path]} and {one.file.name})")
            seen.setdefault(path, one.file.name)
    if again:
        raise DataError(
            f"{len(again)} pictures are listed more than once.",
            expected="every picture in one list",
            got=shortened(again),
            where=root,
            remedy="remove the repeated lines",
        )


def _require_there(root: Path, lists: Sequence[_Listed]) -> None:
    folders = {path.partition("/")[0] for one in lists for path in one.paths}
    there = {f"{folder}/{name}" for folder in folders for name in list_images(root / folder)}
    lost = [path for one in lists for path in one.paths if path not in there]
    if lost:
        raise DataError(
            f"{len(lost)} of {sum(len(one.paths) for one in lists)} listed pictures are not there.",
            expected=f"files in {', '.join(sorted(folders))}",
            got=shortened(lost),
            where=root,
            remedy="add the files, or name the right folders with data.train_folder, "
            "data.query_folder and data.gallery_folder",
        )


def _settle_validation(rows: Rows) -> list[Remark]:
    """Make val train where it shares an identity with train; changes ``rows``."""
    learnt, held = _identities(rows, ("train",)), _identities(rows, ("val",))
    shared = learnt & held
    if not shared:
        return []
    count = rows.split.count("val")
    rows.split[:] = ["train" if split == "val" else split for split in rows.split]
    return [
        Remark(
            "val_joins_train", count,
            f"{count} pictures of the list of val join train, because {len(shared)} of its "
            f"{len(held)} identities are in train too; validation is carved from whole identities.",
        )
    ]  # fmt: skip


def _keep_apart(rows: Rows) -> list[Remark]:
    """Rename the identities of query and gallery where train uses their numbers too."""
    tested = _identities(rows, ("query", "gallery"))
    shared = _identities(rows, ("train", "val")) & tested
    if not shared:
        return []
    for row, split in enumerate(rows.split):
        if split in ("query", "gallery"):
            rows.identity[row] = f"test-{rows.identity[row]}"
    return [
        Remark(
            "identities_renamed", len(tested),
            f"{len(tested)} identities of query and gallery are called test-N: {len(shared)} of "
            "their numbers stand for someone else in train.",
        )
    ]  # fmt: skip


def _identities(rows: Rows, splits: Sequence[str]) -> set[str]:
    pairs = zip(rows.identity, rows.split, strict=True)
    return {identity for identity, split in pairs if split in splits}
