"""Checkpoint files: written whole or not at all, read without running anything in them."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import re
import shutil
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch

from sightline.errors import CheckpointError

FORMAT = 1
PARTIAL = ".partial"
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
_PLAIN_TYPES = (bool, int, float, str)


def save_checkpoint_file(state: dict[str, Any], target: Path) -> None:
    """Write a checkpoint beside its target, flush it to the disk, and rename it into place.

    Whatever goes wrong, the file that was there stays as it was. Raises CheckpointError for a
    full disk, a missing permission or a value that is neither a tensor nor plain data.
    """
    content = {"format": FORMAT, **plain(state)}
    with _beside(target) as partial, open(partial, "wb") as handle:
        torch.save(content, handle)
        handle.flush()
        os.fsync(handle.fileno())


def link_checkpoint_file(source: Path, target: Path) -> None:
    """Give a checkpoint a second name: a hard link, or a copy where links are impossible."""
    if target.exists() and target.samefile(source):
        # Renaming one name of a file over another does nothing, and leaves both.
        return
    with _beside(target) as partial:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
            with open(partial, "rb") as handle:
                os.fsync(handle.fileno())


def load_checkpoint_file(source: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; only tensors and plain data are ever unpickled.

    Raises CheckpointError for a file that is missing, truncated, not a checkpoint of ours, or
    holds a pickled object.
    """
    source = Path(source)
    if not source.is_file():
        raise CheckpointError(
            "The checkpoint is not there.",
            where=source,
            got=_siblings(source),
            remedy="give one of those, or the run's folder",
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(source):
            raise _holds_objects(source, error) from error
        raise _damaged(source) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _damaged(source) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            "The file is not a checkpoint of this version of Sightline.",
            expected=f"format {FORMAT}",
            got=f"format {state.get('format')!r}" if isinstance(state, dict) else type(state),
            where=source,
            remedy="for plain weights use model.weights=FILE",
        )
    return state


def remove_partial_files(folder: Path) -> None:
    """Delete what a killed process left half-written in a checkpoint folder."""
    for leftover in Path(folder).glob(f".*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """The value as tensors and plain data, which is all a checkpoint may hold.

    NumPy numbers and enumerations become Python's numbers and text, arrays become tensors, paths
    become text; mappings and sequences are converted inside. Raises CheckpointError for anything
    else.
    """
    if value is None or type(value) in _PLAIN_TYPES or isinstance(value, torch.Tensor):
        return value
    for kind in (int, float, str):
        # Their subclasses, such as numpy.float64, are pickled as objects.
        if isinstance(value, kind):
            return str.__str__(value) if kind is str else kind(value)
    if isinstance(value, dict):
        converted = {plain(key): plain(item) for key, item in value.items()}
        return _with_module_versions(converted, value)
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, list | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return plain(value.item()) if value.ndim == 0 else _as_tensor(value)
    raise _not_plain(value)


def _as_tensor(array: Any) -> torch.Tensor:
    try:
        return torch.tensor(array)
    except TypeError as error:
        raise _not_plain(array) from error


def _with_module_versions(converted: dict[Any, Any], original: dict[Any, Any]) -> dict[Any, Any]:
    """Keep what a module's state_dict says of the versions of its layers."""
    versions = getattr(original, "_metadata", None)
    if versions is None:
        return converted
    state: Any = OrderedDict(converted)
    state._metadata = versions
    return cast(dict[Any, Any], state)


def _not_plain(value: Any) -> CheckpointError:
    return CheckpointError(
        f"A checkpoint cannot hold a {type(value).__name__}.",
        expected="tensors, numbers, text, lists and mappings",
        got=repr(value)[:80],
        remedy="return plain data from state_dict(), and put plain data into `about`",
    )


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A path for the new content, which takes the target's place if the block does not fail."""
    partial = target.with_name(f".{target.name}{PARTIAL}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        yield partial
        os.replace(partial, target)
        _sync_folder(target.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):
            raise _cannot_write(target, error) from error
        raise


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _cannot_write(target: Path, error: Exception) -> CheckpointError:
    cause: BaseException = error
    while not isinstance(cause, OSError) and (cause.__cause__ or cause.__context__):
        cause = cause.__cause__ or cause.__context__ or cause
    if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "allow writing there, or choose another folder with output.exp_dir=FOLDER"
    elif isinstance(cause, OSError) and cause.errno in _IN_THE_WAY:
        remedy = "move away what is there, or choose another folder with output.exp_dir=FOLDER"
    else:
        remedy = "free some space and continue with --resume; the earlier checkpoint is intact"
    return CheckpointError(
        f"The checkpoint {target.name} could not be written.",
        got=str(cause).splitlines()[0] if str(cause) else type(cause).__name__,
        where=target,
        remedy=remedy,
    )


def _damaged(source: Path) -> CheckpointError:
    return CheckpointError(
        "The checkpoint is damaged or cut short, so nothing was loaded from it.",
        got=f"{source.stat().st_size} bytes that are no complete checkpoint",
        where=source,
        remedy=f"use another one: {_siblings(source)}",
    )


def _holds_objects(source: Path, error: Exception) -> CheckpointError:
    # torch says for example: "Unsupported global: GLOBAL pathlib.PosixPath was not an allowed ...".
    named = re.search(r"GLOBAL (\w+(?:\.\w+)+)", str(error))
    return CheckpointError(
        "The checkpoint holds a pickled object, which could run code, so it was not loaded.",
        expected="tensors and plain data only",
        got=f"an object of {named[1]}" if named else str(error).splitlines()[0],
        where=source,
        remedy="load it where it was made and save its state_dict() alone",
    )


def _siblings(source: Path) -> str:
    others = sorted(path.name for path in source.parent.glob("*.pth") if path != source)
    return ", ".join(others[:6]) if others else f"no other .pth file in {source.parent}"
