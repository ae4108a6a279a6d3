"""The images of a manifest, decoded once into a store or each time they are asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.data.decode import Pixels, decode
from sightline.data.manifest import Manifest, shortened
from sightline.data.pixel_store import FILE, IMAGE, PixelStore, Slots, digest, file_stamp
from sightline.errors import DataError

CHUNK = 32
"""Files decoded by one call of a worker."""

Decoded = tuple[int, bytes, bytes, tuple[int, int, int]]
"""Row, stamp of the file, digest of its content, slot."""


@dataclass(frozen=True)
class Images:
    """Pixels of the rows of a manifest, each with a shorter side of at most `shorter_side`."""

    manifest: Manifest
    shorter_side: int
    store: PixelStore | None = None
    slots: Slots = field(default_factory=lambda: np.empty((0, 3), np.int64))

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, row: int) -> Pixels:
        """(H, W, 3) pixels of one row; raises DataError, naming the file, if it cannot be decoded."""
        if self.store is not None and self.slots[row, 0] >= 0:
            return self.store.read(self.slots[row])
        path = self.manifest.file(row)
        try:
            return decode(path.read_bytes(), self.shorter_side)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                "An image cannot be decoded.",
                got=f"{type(error).__name__}: {error}",
                where=path,
                remedy="run `sightline check` to list every such file, or set data.on_bad_image=skip",
            ) from error


@dataclass(frozen=True, slots=True)
class BadImage:
    """A row whose file cannot be decoded, and why."""

    row: int
    reason: str


def decode_all(
    manifest: Manifest,
    *,
    shorter_side: int,
    cache_dir: Path,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Images, list[BadImage]]:
    """The manifest's images in a store under cache_dir, and the rows that cannot be decoded.

    Only files whose content is not in the store are decoded. `progress` hears of the files done
    and the files to do. Raises DataError when the store cannot be written.
    """
    store = PixelStore(cache_dir, shorter_side)
    paths = [os.path.abspath(manifest.file(row)) for row in range(len(manifest))]
    bad: list[BadImage] = []
    try:
        with store.building():
            slots = store.find(paths)
            missing = np.flatnonzero(slots[:, 0] < 0)
            done = 0
            for decoded, failed in _decode_missing(store, paths, missing, workers):
                _remember(store, paths, decoded, slots)
                bad += failed
                done += len(decoded) + len(failed)
                if progress is not None:
                    progress(done, len(missing))
    except OSError as error:
        raise DataError(
            "The decoded images could not be kept.",
            got=error.strerror or error,
            where=store.folder,
            remedy="free some space, choose another folder with data.cache_dir=FOLDER, "
            "or do without: data.cache=off",
        ) from error
    bad.sort(key=lambda one: one.row)
    return Images(manifest, shorter_side, store, slots), bad


def require_decodable(manifest: Manifest, bad: Sequence[BadImage]) -> None:
    """Raise DataError, listing every file, if there are images that cannot be decoded."""
    if not bad:
        return
    lines = [f"{manifest.path[one.row]} ({one.reason})" for one in bad]
    raise DataError(
        f"{len(bad)} of {len(manifest)} images cannot be decoded.",
        got="\n            ".join(lines[:20]) + (f"\n            and {len(lines) - 20} more"
                                                 if len(lines) > 20 else ""),
        where=manifest.root,
        remedy="repair or remove them, or leave them out with data.on_bad_image=skip",
    )  # fmt: skip


def fits_on_disk(count: int, *, shorter_side: int, cache_dir: Path) -> bool:
    """Whether decoded images of usual shape (3:2) would take less than half of the free space."""
    existing = next(folder for folder in (cache_dir, *cache_dir.absolute().parents) if folder.exists())
    needed = count * shorter_side * shorter_side * 3 * 1.5
    return needed < shutil.disk_usage(existing).free / 2


def _decode_missing(
    store: PixelStore, paths: list[str], missing: npt.NDArray[np.int64], workers: int
) -> Iterator[tuple[list[Decoded], list[BadImage]]]:
    chunks = [missing[start : start + CHUNK].tolist() for start in range(0, len(missing), CHUNK)]
    known = store.by_content()
    jobs = [(store, known, [(row, paths[row]) for row in chunk]) for chunk in chunks]
    if workers < 2 or len(chunks) < 4:
        yield from map(_decode_chunk, jobs)
        return
    # Threads: hashing, decoding and resizing all let go of the interpreter's lock.
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(_decode_chunk, jobs)


def _decode_chunk(
    job: tuple[PixelStore, dict[bytes, tuple[int, int, int]], list[tuple[int, str]]],
) -> tuple[list[Decoded], list[BadImage]]:
    """Decode some files and append their pixels; runs in a worker thread."""
    store, known, files = job
    found: list[tuple[int, bytes, bytes, tuple[int, int, int] | Pixels]] = []
    bad: list[BadImage] = []
    for row, path in files:
        try:
            stamp = file_stamp(path)
            with open(path, "rb") as handle:
                data = handle.read()
            content = digest(data)
            found.append(
                (row, stamp, content, known.get(content) or decode(data, store.shorter_side))
            )
        except (OSError, ValueError, SyntaxError) as error:
            bad.append(BadImage(row, _reason(error, path)))
    fresh = [pixels for *_, pixels in found if isinstance(pixels, np.ndarray)]
    offsets = iter(store.append(fresh))
    decoded: list[Decoded] = [
        (row, stamp, content, (next(offsets), *where.shape[:2]))
        if isinstance(where, np.ndarray)
        else (row, stamp, content, where)
        for row, stamp, content, where in found
    ]
    return decoded, bad


def _reason(error: Exception, path: str) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if "cannot identify image file" in text:
        return "empty file" if os.path.getsize(path) == 0 else "not an image"
    return text


def _remember(store: PixelStore, paths: list[str], decoded: list[Decoded], slots: Slots) -> None:
    images, files = np.empty(len(decoded), IMAGE), np.empty(len(decoded), FILE)
    for number, (row, stamp, content, slot) in enumerate(decoded):
        images[number] = (content, *slot)
        files[number] = (digest(os.fsencode(paths[row])), stamp, content)
        slots[row] = slot
    store.record(images, files)


def listed(bad: Sequence[BadImage], manifest: Manifest) -> str:
    """The first few bad files and how many more there are, for a log line."""
    return shortened(str(manifest.path[one.row]) for one in bad)
