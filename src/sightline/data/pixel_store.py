"""Decoded images on disk: written once, found by content, read through a memory map.

A store is a folder for one decoder version and one size:
    pixels.u8    RGB bytes of one image after another; only ever appended to
    images.idx   (digest of the encoded file, offset, height, width) per image
    files.idx    (digests of a file's path, of its size and times, and of its content) per file
    build.lock   held by the one process that is adding images

As in git's index, a file whose size and times are unchanged is taken to be unchanged; any other
is read again, and decoded again only if its content is new. Records are appended after their
pixels, so a process killed at any moment leaves at worst some unused bytes. Nothing is ever
removed: whoever needs the space deletes the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sightline.data import decode
from sightline.data.decode import Pixels
from sightline.data.file_locks import exclusive
from sightline.errors import DataError

# Digests are compared as whole arrays only: a single S16 would lose its trailing zeros.
IMAGE = np.dtype([("digest", "S16"), ("offset", "<i8"), ("height", "<i4"), ("width", "<i4")])
FILE = np.dtype([("file", "S32"), ("digest", "S16")])

SETTLED_SECONDS = 2.0
"""How old a file's times must be to be trusted: a later change within one tick would not show."""

Slots = npt.NDArray[np.int64]
"""(N, 3) offset, height and width in the store; offset -1 where the image is not there."""


def digest(data: bytes) -> bytes:
    """16 bytes that stand for the data (BLAKE2b)."""
    return hashlib.blake2b(data, digest_size=16).digest()


def file_key(path: str, status: os.stat_result) -> bytes:
    """32 bytes that change when a file is moved, written, replaced or touched."""
    stamp = f"{status.st_size}/{status.st_mtime_ns}/{status.st_ctime_ns}"
    return digest(os.fsencode(path)) + digest(stamp.encode())


def is_settled(status: os.stat_result) -> bool:
    """Whether any later change of the file must show in its times."""
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    return time.time_ns() - changed >= SETTLED_SECONDS * 1e9


class PixelStore:
    """The decoded images of one folder and one size."""

    def __init__(self, folder: Path, shorter_side: int) -> None:
        self.folder = Path(folder).absolute() / f"decoded-v{decode.VERSION}-{shorter_side}px"
        self.shorter_side = shorter_side
        self._identity: tuple[int, int] | None = None
        self._pixels: Pixels | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}

    def find(self, paths: Sequence[str]) -> Slots:
        """Where the files' images are, by path, size and times; no file is read or decoded."""
        slots = np.full((len(paths), 3), -1, np.int64)
        contents = self.contents()
        files = _records(self.folder / "files.idx", FILE)
        if not len(contents) or not len(files):
            return slots
        keys = np.array([_current_key(path) for path in paths], "S32")
        rows = Index(files["file"]).rows(keys)
        known = np.flatnonzero(rows >= 0)
        slots[known] = contents.slots(files["digest"][rows[known]])
        return slots

    def contents(self) -> Contents:
        """The images that are in the store now."""
        size = 0
        # A store that is not there or cannot be read has no images; to build it says why.
        with contextlib.suppress(OSError):
            status = (self.folder / "pixels.u8").stat()
            self._identity, size = (status.st_dev, status.st_ino), status.st_size
        records = _records(self.folder / "images.idx", IMAGE)
        shape = records["height"].astype(np.int64) * records["width"]
        # Zeros and offsets past the end are what a machine that lost power may leave.
        whole = (shape > 0) & (records["offset"] + 3 * shape <= size)
        return Contents(records[whole])

    def read(self, slot: npt.NDArray[np.int64]) -> Pixels:
        """The pixels at a slot, as a read-only view into the file.

        Raises DataError if the store was deleted or replaced since the slot was found.
        """
        offset, height, width = slot.tolist()
        end = offset + height * width * 3
        if self._pixels is None or len(self._pixels) < end:
            self._pixels = self._mapped(end)
        return self._pixels[offset:end].reshape(height, width, 3)

    @contextlib.contextmanager
    def building(self, on_wait: Callable[[], None] | None = None) -> Iterator[Builder]:
        """Be the only process that adds images; waits, after `on_wait`, for one that is at it.

        Raises OSError when the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / "build.lock"
        with contextlib.ExitStack() as stack:
            held = stack.enter_context(lock.open("ab"))
            stack.enter_context(exclusive(held, on_wait))
            if not os.path.samestat(os.fstat(held.fileno()), lock.stat()):
                raise OSError("the folder was deleted and made again by another process")
            # Open from here on: were the folder deleted and made again, nothing of this build
            # would get into the new files.
            pixels, images, files = (
                stack.enter_context((self.folder / name).open("ab", buffering=0))
                for name in ("pixels.u8", "images.idx", "files.idx")
            )
            yield Builder(pixels, images, files)

    def _mapped(self, end: int) -> Pixels:
        with contextlib.suppress(OSError), (self.folder / "pixels.u8").open("rb") as handle:
            status = os.fstat(handle.fileno())
            if (status.st_dev, status.st_ino) == self._identity and status.st_size >= end:
                pixels: Pixels = np.memmap(handle, np.uint8, mode="r").view(np.ndarray)
                return pixels
        raise DataError(
            "The decoded images were deleted or replaced while they were in use.",
            where=self.folder,
            remedy="run the command again; they are decoded anew",
        )


class Index:
    """Finds the last row of each of many keys; takes about their own memory."""

    def __init__(self, keys: npt.NDArray[np.bytes_]) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def rows(self, keys: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
        """(N,) rows of the keys, -1 where there is none."""
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64)
        place = np.searchsorted(self._keys, keys, side="right") - 1
        return np.where(self._keys[place] == keys, self._order[place], -1)


class Contents:
    """The images of a store by the digest of their encoded file."""

    def __init__(self, records: npt.NDArray[Any]) -> None:
        self._index = Index(records["digest"])
        names = ("offset", "height", "width")
        self._slots = np.stack([records[name].astype(np.int64) for name in names], axis=1)

    def __len__(self) -> int:
        return len(self._slots)

    def slots(self, digests: npt.NDArray[np.bytes_]) -> Slots:
        """(N, 3) slots of the images, -1 where there is none."""
        rows = self._index.rows(digests)
        slots = np.full((len(digests), 3), -1, np.int64)
        slots[rows >= 0] = self._slots[rows[rows >= 0]]
        return slots

    def slot(self, content: bytes) -> Slots:
        """(3,) slot of one image, -1 where there is none."""
        found: Slots = self.slots(np.frombuffer(content, "S16"))[0]
        return found


class Builder:
    """Adds images to a store; only within its `building`."""

    def __init__(self, pixels: IO[bytes], images: IO[bytes], files: IO[bytes]) -> None:
        self._pixels, self._images, self._files = pixels, images, files

    def add_images(self, contents: Sequence[bytes], images: Sequence[Pixels]) -> Slots:
        """Append images with the digests of their files; returns their slots (N, 3)."""
        sizes = [image.nbytes for image in images]
        start = _append(self._pixels, images)
        records = np.empty(len(images), IMAGE)
        records["digest"] = contents
        records["offset"] = start + np.cumsum([0, *sizes[:-1]])[: len(images)]
        records["height"] = [image.shape[0] for image in images]
        records["width"] = [image.shape[1] for image in images]
        _append(self._images, [records], unit=IMAGE.itemsize)
        return Contents(records).slots(records["digest"])

    def add_files(self, keys: Sequence[bytes], contents: Sequence[bytes]) -> None:
        """Make images findable by the files that hold them, without reading those."""
        records = np.empty(len(keys), FILE)
        records["file"], records["digest"] = keys, contents
        _append(self._files, [records], unit=FILE.itemsize)


def _append(handle: IO[bytes], blocks: Iterable[npt.NDArray[Any]], *, unit: int = 1) -> int:
    """Add all blocks at the end of a file, or none, and return where they begin.

    What a killed process left of a record of `unit` bytes is cut off first.
    """
    end = handle.seek(0, os.SEEK_END)
    start = end - end % unit
    try:
        if start < end:
            handle.truncate(start)
        for block in blocks:
            rest = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
            while rest:
                rest = rest[handle.write(rest) :]
    except OSError:
        handle.truncate(start)
        raise
    return start


def _records(file: Path, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The whole records of a file; none without one."""
    with contextlib.suppress(OSError):
        return np.fromfile(file, kind, count=file.stat().st_size // kind.itemsize)
    return np.empty(0, kind)


def _current_key(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return file_key(path, os.stat(path))
    return b""
