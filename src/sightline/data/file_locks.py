"""A lock on an open file that the system gives back when its process dies."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, Any


@contextlib.contextmanager
def exclusive(handle: IO[Any], on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the file's lock; `on_wait` is called once if somebody else holds it."""
    if not _lock(handle, wait=False):
        if on_wait is not None:
            on_wait()
        while not _lock(handle, wait=True):
            time.sleep(0.1)
    try:
        yield
    finally:
        _unlock(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: IO[Any], *, wait: bool) -> bool:
        # LK_LOCK gives up after ten tries, one a second.
        handle.seek(0)
        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: IO[Any]) -> None:
        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(handle: IO[Any], *, wait: bool) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: IO[Any]) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
