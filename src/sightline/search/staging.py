"""A folder that is replaced as a whole, or stays what it was."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from sightline.errors import RunError


def begin(folder: Path) -> Path:
    """A new empty folder beside the one that it is going to replace."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        staged.chmod(0o755)
    except OSError as error:
        raise unwritable(folder, error) from error
    return staged


def commit(staged: Path, folder: Path) -> None:
    """Force everything staged to the disk and give it the folder's name.

    What had the name is removed only when the new one is in place; where that fails it is back.
    """
    try:
        _sync(staged)
        aside = _set_aside(folder)
        try:
            staged.rename(folder)
        except OSError:
            if aside is not None:
                aside.rename(folder)
            raise
    except OSError as error:
        raise unwritable(folder, error) from error
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def abandon(staged: Path) -> None:
    """Remove what was staged."""
    shutil.rmtree(staged, ignore_errors=True)


def unwritable(folder: Path, error: OSError) -> RunError:
    """The error that says why the index cannot be written."""
    return RunError(
        f"The index cannot be written: {error.strerror or error}.",
        expected="a place that can be written, with room for the embeddings",
        where=folder,
        remedy="free space there, or name another folder",
    )


def _set_aside(folder: Path) -> Path | None:
    """Move the folder to a hidden name; only a link could be replaced in one step."""
    if not folder.exists():
        return None
    aside = folder.with_name(f".{folder.name}-replaced-{os.getpid()}-{os.urandom(4).hex()}")
    folder.rename(aside)
    return aside


def _sync(staged: Path) -> None:
    for path in sorted(staged.rglob("*")):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
    # Windows cannot open folders, and some file systems cannot force them.
    with suppress(OSError):
        descriptor = os.open(staged, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
