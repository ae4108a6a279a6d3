"""Objects that are left out whole because one of their pictures is too small or unreadable."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.broken_files import BROKEN
from sightline.data.decoding import BadImage, require_decodable
from sightline.data.file_chunks import over_files
from sightline.data.fingerprints import scan
from sightline.data.groups import units
from sightline.data.images import reason
from sightline.data.manifest import Category, Integers, Manifest, shortened
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.data.splits_file import path_from, written_beside
from sightline.errors import DataError

Sizes = npt.NDArray[np.int32]


class Excluded(NamedTuple):
    """A sample that is left out."""

    id: str
    path: str
    """Relative to the root of the manifest."""
    label: str
    group: str
    reason: str
    """`smaller than 224: 180x240`, `unreadable: ...` or `same object as ID`."""


def find_excluded(manifest: Manifest, config: RetrievalDataConfig) -> tuple[Excluded, ...]:
    """The samples to leave out and why, by id.

    A picture with a side below `data.min_image_size` takes its whole group with it, and with
    `data.on_bad_image=skip` one that cannot be decoded does too; for that every file is read in
    full. Without skip, DataError lists the files that are no pictures. Sizes come from the headers,
    so whether a picture lies on its side does not matter. Raises DataError where fewer than two
    classes are left.
    """
    least = config.min_image_size
    if config.on_bad_image == "skip":
        seen = scan(manifest, workers=config.workers)
        sizes = np.stack([seen.record["width"], seen.record["height"]], axis=1)
        problems = seen.problems
    elif least:
        sizes, problems = picture_sizes(manifest, config.workers)
        require_decodable(manifest, [BadImage(row, why) for row, why in problems.items()])
    else:
        return ()
    reasons = _reasons(manifest, sizes, problems, least)
    readable = np.delete(sizes, list(problems), axis=0)
    _require_classes(manifest, np.delete(np.arange(len(manifest)), list(reasons)), readable, least)
    return tuple(
        Excluded(
            str(manifest.id[row]),
            str(manifest.path[row]),
            manifest.label.text(row),
            manifest.group.text(row),
            reasons[row],
        )
        for row in sorted(reasons, key=lambda row: str(manifest.id[row]))
    )


def with_classes_left(manifest: Manifest) -> Manifest:
    """The same samples; a class that has none is no class any more."""
    label = manifest.label
    left, codes = np.unique(label.codes, return_inverse=True)
    if (left >= 0).sum() == len(label.names):
        return manifest
    shift = int(left[0] < 0)
    names = label.names[left[shift:]]
    return replace(manifest, label=Category((codes - shift).astype(np.int32), names))


def exclusion_notes(excluded: Sequence[Excluded], left: Manifest) -> list[str]:
    """Sentences on what is left out and why, and on the classes of which nothing is left."""
    if not excluded:
        return []
    kinds = [
        ("smaller", "too small"),
        ("unreadable", "unreadable"),
        ("same", "of the same objects"),
    ]
    counts = [(sum(one.reason.startswith(key) for one in excluded), text) for key, text in kinds]
    objects = count_objects(excluded)
    first = [f"{one.id} ({one.reason})" for one in excluded if not one.reason.startswith("same")]
    notes = [
        f"{len(excluded)} pictures of {objects} objects are left out, "
        f"{', '.join(f'{count} {text}' for count, text in counts if count)}: {shortened(first, 3)}."
    ]
    lost = sorted({one.label for one in excluded} - {str(name) for name in left.label.names})
    if lost:
        notes.append(f"{len(lost)} classes have no object left: {shortened(lost, 10)}.")
    return notes


def count_objects(excluded: Sequence[Excluded]) -> int:
    """How many objects the samples show; a sample without group shows one of its own."""
    return len({("group", one.group) if one.group else ("id", one.id) for one in excluded})


def write_excluded(excluded: Sequence[Excluded], target: Path, *, root: Path) -> None:
    """Write the table, beside and then renamed; its paths start from the folder of the file.

    `root` is that of the manifest. Without anything excluded the file has only its header.
    """
    prefix = path_from(target.resolve().parent, root)
    with written_beside(target, "excluded samples") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(Excluded._fields)
        writer.writerows(one._replace(path=f"{prefix}{one.path}") for one in excluded)


def picture_sizes(manifest: Manifest, workers: int | None = None) -> tuple[Sizes, dict[int, str]]:
    """Width and height (N, 2) from the headers of the files, and why some rows have none (0)."""
    sizes = np.zeros((len(manifest), 2), np.int32)
    problems: dict[int, str] = {}
    # Threads: nearly all of the time is spent opening files.
    for start, (found, failed) in over_files(
        manifest, _size_chunk, workers=workers, processes=False
    ):
        sizes[start : start + len(found)] = found
        problems |= {start + row: why for row, why in failed.items()}
    return sizes, problems


def _size_chunk(root: str, names: list[str]) -> tuple[Sizes, dict[int, str]]:
    from PIL import Image, UnidentifiedImageError

    sizes = np.zeros((len(names), 2), np.int32)
    failed: dict[int, str] = {}
    for row, name in enumerate(names):
        try:
            with Image.open(os.path.join(root, name)) as image:  # noqa: PTH118
                sizes[row] = image.size
        except UnidentifiedImageError:
            failed[row] = "not a picture in a known format"
        except BROKEN as error:
            failed[row] = reason(error)
    return sizes, failed


def _reasons(
    manifest: Manifest, sizes: Sizes, problems: dict[int, str], least: int
) -> dict[int, str]:
    """Why each row is left out that is."""
    reasons = {row: f"unreadable: {why}" for row, why in problems.items()}
    for row in np.flatnonzero(sizes.min(axis=1, initial=least) < least).tolist():
        reasons.setdefault(row, f"smaller than {least}: {sizes[row, 0]}x{sizes[row, 1]}")
    parts = units(manifest).unit
    first: dict[int, str] = {}
    for row in sorted(reasons, key=lambda row: str(manifest.id[row])):
        first.setdefault(int(parts[row]), str(manifest.id[row]))
    for row in np.flatnonzero(np.isin(parts, list(first))).tolist():
        reasons.setdefault(row, f"same object as {first[int(parts[row])]}")
    return reasons


def _require_classes(manifest: Manifest, kept: Integers, sizes: Sizes, least: int) -> None:
    """Raise DataError where fewer than two classes are left; sizes are those that could be read."""
    left = len(np.unique(manifest.label.codes[kept]))
    if left >= 2 or len(kept) == len(manifest):
        return
    what = f"{len(manifest) - len(kept)} of {len(manifest)} pictures are left out"
    if not len(sizes):
        raise DataError(
            f"{what}, because none can be read.",
            where=manifest.root,
            remedy="repair the files; `sightline check` lists them",
        )
    order = np.argsort(sizes.min(axis=1), kind="stable")
    places = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
    shown = [f"{word} {sizes[row, 0]}x{sizes[row, 1]}" for word, row in places.items()]
    raise DataError(
        f"{what} with their objects, and the others have {left} classes.",
        expected=f"2 classes or more with objects whose pictures all have sides of {least} or more",
        got=f"widths x heights: {', '.join(shown)}",
        where=manifest.root,
        remedy=f"lower the limit; data.min_image_size={sizes.min()} leaves out none for its size",
    )
