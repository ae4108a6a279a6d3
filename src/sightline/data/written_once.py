"""A folder of generated files that is there as a whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sightline.errors import DataError


class Content(NamedTuple):
    """What the folder is to hold."""

    what: str
    """In words, as in `the handwritten digits`."""
    patterns: tuple[str, ...]
    """Where its files are, as Path.glob takes them."""
    files: int
    """Their number."""


def write_once(folder: Path, content: Content, write: Callable[[Path], None]) -> Path:
    """Let `write` fill the folder unless it is complete already, and return it.

    The files are made beside it and moved in one step, so a process killed meanwhile leaves no half
    set. Raises DataError where the folder exists with other content or cannot be written.
    """
    if folder.exists():
        _require(folder, content)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, content, error) from error
    try:
        beside.chmod(0o755)
        write(beside)
        beside.rename(folder)
    except OSError as error:
        # Another process may have finished first; what it wrote is the same.
        if not folder.exists():
            raise _unwritable(folder, content, error) from error
        _require(folder, content)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _require(folder: Path, content: Content) -> None:
    found = 0
    if folder.is_dir():
        found = sum(1 for pattern in content.patterns for _ in folder.glob(pattern))
    if found != content.files:
        raise DataError(
            f"{folder} exists and does not hold {content.what}.",
            expected=f"no folder, or one with the {content.files} pictures",
            got=f"{found} pictures",
            remedy="name another folder with data.digits=FOLDER, or remove this one",
        )


def _unwritable(folder: Path, content: Content, error: OSError) -> DataError:
    what = content.what[0].upper() + content.what[1:]
    return DataError(
        f"{what} cannot be written to {folder}: {error.strerror}.",
        remedy="name a folder you may write to with data.digits=FOLDER",
    )
