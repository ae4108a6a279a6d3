"""Reads flat folders of pictures whose names say identity and camera, as Market-1501's do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sightline.data.image_files import EXTENSIONS, child_folders, list_images
from sightline.data.manifest import TEXT, Strings, shortened
from sightline.data.reid_names import MARKET_PATTERN, parse_names, require_parsed
from sightline.data.reid_rows import (
    Identities,
    Remark,
    Rows,
    without_distractors,
    without_junk,
)
from sightline.errors import DataError


def read_market(
    root: Path, folders: Mapping[str, str], *, name_pattern: str | None = None
) -> Identities:
    """One row per picture of each split's folder, split by split, sorted by name.

    ``folders`` maps splits to folders of the root (Found.folders). Identity -1 is left out, and
    identity 0, distractors, outside the gallery, as in Market-1501 (Zheng et al. 2015).

    Raises DataError for an empty folder, names that do not say an identity and queries of
    distractors.
    """
    pattern = name_pattern or MARKET_PATTERN
    listed = {split: _pictures(root, name) for split, name in folders.items()}
    paths = np.concatenate([np.empty(0, TEXT), *listed.values()])
    parsed = parse_names(paths, pattern)
    require_parsed(parsed, paths, pattern, root=root)
    rows, start = Rows(), 0
    for split, names in listed.items():
        part = slice(start, start + len(names))
        rows.add(names.tolist(), parsed.identity[part], parsed.camera[part], split)
        start += len(names)
    rows, remarks = without_junk(rows)
    rows, more = without_distractors(rows, root)
    _require_each(root, rows, folders)
    return Identities(rows.manifest(root), [*remarks, *more, *_beside(root, folders)])


def _pictures(root: Path, name: str) -> Strings:
    """Paths below root of the pictures of one folder."""
    found = list_images(root / name)
    if not len(found):
        raise DataError(
            f"The folder {root / name} holds no pictures.",
            expected=f"files ending in {', '.join(EXTENSIONS)}, in any letter case",
            where="data.root",
            remedy="add the pictures; without query and gallery remove both folders or name the "
            "training folder as data.root, and some of its identities become the test",
        )
    return np.strings.add(np.array(f"{name}/" if name else "", TEXT), found)


def _require_each(root: Path, rows: Rows, folders: Mapping[str, str]) -> None:
    """Raise DataError for a split of which nothing but junk and distractors was there."""
    for split, name in folders.items():
        if split not in rows.split:
            raise DataError(
                f"The folder {root / name} holds nothing but junk (identity -1) or "
                "distractors (identity 0).",
                expected="pictures of identities",
                where="data.root",
                remedy="add pictures, or correct data.name_pattern",
            )


def _beside(root: Path, folders: Mapping[str, str]) -> list[Remark]:
    others = [name for name in child_folders(root) if name not in folders.values()]
    if not others or "" in folders:
        return []
    return [
        Remark("folder_left_out", len(others), f"Folders left out beside: {shortened(others)}.")
    ]
