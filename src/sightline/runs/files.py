"""Files written so that a crash or a full disk never leaves half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sightline.errors import RunError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}


def write_atomically(path: Path | str, data: bytes | str) -> None:
    """Put the data into the file as a whole, or leave what was there; text is written as UTF-8.

    Folders above are made. Raises RunError, naming the path and the remedy, when the disk is full
    or the place cannot be written.
    """
    with replace_atomically(path) as handle:
        handle.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def replace_atomically(path: Path | str) -> Iterator[BinaryIO]:
    """Give a binary handle whose content becomes the file when the block ends without an error.

    The content goes to a hidden file beside, is forced to the disk and renamed. After an error in
    the block the hidden file is gone and the old file is untouched; an OSError becomes RunError.
    """
    target = Path(path)
    temporary = target.with_name(beside(target.name))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise refusal(error, target) from error
        raise


def file_hash(file: Path) -> str:
    """Return the SHA-256 of a file's content; RunError where it cannot be read."""
    try:
        with open(file, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise RunError(
            f"Cannot read {file.name}: {error.strerror}.", where=file, remedy="name another file"
        ) from error


def append_line(path: Path | str, line: str) -> None:
    """Add one line of JSON to the end of the file in a single write.

    A half line that a killed writer left at the end is cut off first. When the disk is full the
    file is brought back to its length before and RunError is raised.
    """
    if "\n" in line:
        raise ValueError(f"one line expected, got {line!r}")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise refusal(error, path) from error
    try:
        with _exclusive(descriptor):
            _write_line(descriptor, line.encode("utf-8"))
    except OSError as error:
        raise refusal(error, path) from error
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path | str) -> Iterator[None]:
    """Hold the folder's lock, so that processes change what is in it one after the other.

    Where the system or the file system has no locks the block runs without one.
    """
    if os.name == "nt":
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise refusal(error, folder) from error
    try:
        with _exclusive(descriptor):
            yield
    finally:
        os.close(descriptor)


def refusal(error: OSError, path: Path | str, *, setting: str = "output.exp_dir") -> RunError:
    """Return the RunError that says why the path cannot be written and what to do about it."""
    reason = error.strerror or str(error)
    elsewhere = f"choose another folder with {setting}=FOLDER"
    if error.errno in _FULL:
        expected, remedy = "room on the disk", f"free space there, or {elsewhere}"
    elif error.errno in _FORBIDDEN:
        expected, remedy = "a place that can be written", f"allow writing there, or {elsewhere}"
    elif error.errno in _IN_THE_WAY:
        expected, remedy = "folders on the way to it", f"move away what is there, or {elsewhere}"
    else:
        expected, remedy = "a place that can be written", elsewhere
    return RunError(
        f"Cannot write {path}: {reason}", expected=expected, got=reason, where=path, remedy=remedy
    )


def beside(name: str) -> str:
    """Return a hidden name that no other process picks for the same file."""
    return f".{name}.{os.getpid()}-{os.urandom(4).hex()}"


def is_json(text: bytes) -> bool:
    """Tell whether the text is a complete JSON value, not one cut short."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _write_line(descriptor: int, line: bytes) -> None:
    start, separator = _settle_end(descriptor)
    payload = separator + line + b"\n"
    try:
        while payload:
            payload = payload[os.write(descriptor, payload) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, start)
        raise


def _settle_end(descriptor: int) -> tuple[int, bytes]:
    """Cut a half last line off; return the size that is left and what must come before a line."""
    size = os.fstat(descriptor).st_size
    if not size or _ends_with_newline(descriptor, size):
        return size, b""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as handle:
        content = handle.read()
    start = content.rfind(b"\n") + 1
    if is_json(content[start:]):
        return size, b"\n"
    os.ftruncate(descriptor, start)
    return start, b""


def _ends_with_newline(descriptor: int, size: int) -> bool:
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


@contextmanager
def _exclusive(descriptor: int) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with suppress(OSError):  # a network file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        # Said aloud, because a forked worker may still hold a copy of the descriptor.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
