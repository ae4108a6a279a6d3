"""Which files are pictures: their extensions, and sorted listings of folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sightline.data.manifest import TEXT, Strings
from sightline.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_BLOCK = 65_536


def is_image(name: str) -> bool:
    """Whether a file name ends in the extension of a picture, in any letter case.

    >>> is_image("scan.2024.JPG"), is_image("scan.2024")
    (True, False)
    """
    return name.lower().endswith(EXTENSIONS)


def list_images(folder: Path) -> Strings:
    """Pictures below a folder as sorted paths relative to it, with forward slashes.

    Hidden files and folders are left out; links to folders are followed, never in a circle.
    """
    blocks = [np.asarray(names, dtype=TEXT) for names in _walk(str(folder), "", frozenset())]
    if not blocks:
        return np.empty(0, dtype=TEXT)
    # Stable, because numpy 2.4 can crash on texts with its default algorithm.
    return np.sort(np.concatenate(blocks), kind="stable")


def child_folders(folder: Path) -> list[str]:
    """Names of the visible folders directly in a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        raise _unlistable(folder, error) from error
    return sorted(name for name in found if not name.startswith("."))


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[list[str]]:
    """The pictures of one folder, then those of the folders in it."""
    try:
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        files: list[str] = []
        folders: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif is_image(entry.name):
                    files.append(prefix + entry.name)
                    if len(files) == _BLOCK:
                        yield files
                        files = []
    except OSError as error:
        raise _unlistable(Path(folder), error) from error
    if files:
        yield files
    for name in sorted(folders):
        yield from _walk(f"{folder}/{name}", f"{prefix}{name}/", above | {identity})


def _unlistable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"The folder {folder} cannot be listed: {error.strerror}.",
        remedy="check that it exists and that you may read it",
    )
