"""Decoded images on disk: written once, found by content, read through a memory map.

A store is a folder for one decoder version and one size:
    pixels.u8    RGB bytes of one image after another; only ever appended to
    images.idx   (digest of the encoded file, offset, height, width) per image
    files.idx    (digest of the path, size and times of the file, digest of its content) per file
    build.lock   held by the one process that is adding images

As in git's index, a file whose size and times are unchanged is taken to be unchanged; any other
is read again, and decoded again only if its content is new. Records are appended after their
pixels, so a process killed at any moment leaves at worst some unused bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data import decode
from sightline.data.decode import Pixels

IMAGE = np.dtype([("digest", "V16"), ("offset", "<i8"), ("height", "<i4"), ("width", "<i4")])
FILE = np.dtype([("path", "V16"), ("stamp", "V16"), ("digest", "V16")])

Slots = npt.NDArray[np.int64]
"""(N, 3) offset, height and width in the store; offset -1 where the image is not there."""


def digest(data: bytes) -> bytes:
    """16 bytes that stand for the data (BLAKE2b)."""
    return hashlib.blake2b(data, digest_size=16).digest()


def file_stamp(path: str) -> bytes:
    """16 bytes that change when a file is written, replaced or touched; raises OSError without one."""
    status = os.stat(path)
    return digest(f"{status.st_size}/{status.st_mtime_ns}/{status.st_ctime_ns}".encode())


class PixelStore:
    """The decoded images of one folder and one size."""

    def __init__(self, folder: Path, shorter_side: int) -> None:
        self.folder = Path(folder) / f"decoded-v{decode.VERSION}-{shorter_side}px"
        self.shorter_side = shorter_side
        self._pixels: np.memmap[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}

    def find(self, paths: list[str]) -> Slots:
        """Where the files' images are, by their path and stamp; nothing is read or decoded."""
        slots = np.full((len(paths), 3), -1, np.int64)
        by_content = self.by_content()
        by_file = {
            (bytes(record["path"]), bytes(record["stamp"])): bytes(record["digest"])
            for record in self._records("files.idx", FILE)
        }
        for row, path in enumerate(paths):
            with contextlib.suppress(OSError):
                content = by_file.get((digest(os.fsencode(path)), file_stamp(path)))
                if content in by_content:
                    slots[row] = by_content[content]
        return slots

    def by_content(self) -> dict[bytes, tuple[int, int, int]]:
        """Where each image is, by the digest of its encoded file."""
        size = self._size("pixels.u8")
        return {
            bytes(record["digest"]): (
                int(record["offset"]),
                int(record["height"]),
                int(record["width"]),
            )
            for record in self._records("images.idx", IMAGE)
            if record["offset"] + int(record["height"]) * int(record["width"]) * 3 <= size
        }

    def read(self, slot: npt.NDArray[np.int64]) -> Pixels:
        """The pixels at a slot, as a read-only view into the file."""
        offset, height, width = (int(value) for value in slot)
        end = offset + height * width * 3
        if self._pixels is None or len(self._pixels) < end:
            self._pixels = np.memmap(self.folder / "pixels.u8", np.uint8, mode="r")
        view: Pixels = self._pixels[offset:end].reshape(height, width, 3)
        return view

    def append(self, images: list[Pixels]) -> list[int]:
        """Add pixels at the end of the store and return their offsets; several processes may."""
        if not images:
            return []
        block = b"".join(image.tobytes() for image in images)
        with open(self.folder / "pixels.u8", "ab", buffering=0) as handle, _exclusive(handle):
            start = handle.seek(0, os.SEEK_END)
            written = 0
            while written < len(block):
                written += handle.write(block[written:])
        sizes = [image.nbytes for image in images]
        return [start + sum(sizes[:number]) for number in range(len(sizes))]

    def record(self, images: npt.NDArray[Any], files: npt.NDArray[Any]) -> None:
        """Make appended images and looked-at files findable."""
        for name, records in (("images.idx", images), ("files.idx", files)):
            with open(self.folder / name, "ab", buffering=0) as handle, _exclusive(handle):
                torn = handle.seek(0, os.SEEK_END) % records.dtype.itemsize
                handle.write(b"\0" * ((records.dtype.itemsize - torn) if torn else 0))
                handle.write(records.tobytes())

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Be the only process that adds images; waits for another one that is at it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "build.lock", "ab") as handle, _exclusive(handle):
            yield

    def _records(self, name: str, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        count = self._size(name) // kind.itemsize
        if not count:
            return np.empty(0, kind)
        return np.fromfile(self.folder / name, kind, count=count)

    def _size(self, name: str) -> int:
        with contextlib.suppress(OSError):
            return (self.folder / name).stat().st_size
        return 0


@contextlib.contextmanager
def _exclusive(handle: Any) -> Iterator[None]:
    """Hold the file's lock, which the system gives back when the process dies."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)
