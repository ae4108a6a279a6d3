"""Decodes the files of a manifest in threads: into a store, or only to find the bad ones."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.decode import Pixels, decode
from sightline.data.images import Images, file_paths, find_decoded, reason
from sightline.data.manifest import Manifest, shortened
from sightline.data.pixel_store import (
    Builder,
    Contents,
    PixelStore,
    Slots,
    digest,
    file_key,
    is_settled,
)
from sightline.errors import DataError

CHUNK = 16
"""Files decoded by one call of a worker."""

Progress = Callable[[int, int], None]
"""Hears of the files done and the files to do."""


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
    workers: int | None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[Images, list[BadImage]]:
    """The manifest's images in a store under cache_dir, and the rows that cannot be decoded.

    Only files whose content is not in the store are decoded, by `workers` threads (None: one for
    each processor). A store that has them all need not be writable. `say` hears of another process
    that must be waited for. Raises DataError when the store cannot be written.
    """
    images = find_decoded(manifest, shorter_side=shorter_side, cache_dir=cache_dir)
    store, paths = images.store, file_paths(manifest)
    if store is None or not len(images.undecoded()):
        return images, []
    bad: list[BadImage] = []
    waiting = f"waiting for another process that decodes images into {store.folder}"
    try:
        with store.building(None if say is None else lambda: say(waiting)) as builder:
            # Again, for what others added until the lock was free.
            slots = store.find(paths)
            missing = np.flatnonzero(slots[:, 0] < 0)
            contents = store.contents()
            chunks = _looked_at(missing, paths, workers, known=contents, side=shorter_side)
            done = 0
            added: dict[bytes, int] = {}
            for looks, failed in chunks:
                _keep(builder, looks, slots, contents=contents, added=added)
                bad += failed
                done += len(looks) + len(failed)
                if progress is not None:
                    progress(done, len(missing))
    except OSError as error:
        raise _unkept(store, error) from error
    return Images(manifest, shorter_side, store, slots), bad


def undecodable(images: Images, *, workers: int | None) -> list[BadImage]:
    """The rows outside of the store that cannot be decoded; every such file is read."""
    paths, side = file_paths(images.manifest), images.shorter_side
    chunks = _looked_at(images.undecoded(), paths, workers, known=None, side=side)
    return [one for _, failed in chunks for one in failed]


@contextlib.contextmanager
def every_bad_file_named(manifest: Manifest, *, shorter_side: int) -> Iterator[None]:
    """Where the block stops at a file that cannot be decoded, list all of them in the error."""
    try:
        yield
    except DataError:
        bad = undecodable(Images(manifest, shorter_side), workers=None)
        require_decodable(manifest, bad, remedy="repair or remove them")
        raise


def require_decodable(
    manifest: Manifest,
    bad: Sequence[BadImage],
    *,
    remedy: str = "repair or remove them, or leave them out with data.on_bad_image=skip",
) -> None:
    """Raise DataError, listing every file, if there are images that cannot be decoded."""
    if not bad:
        return
    raise DataError(
        f"{len(bad)} of {len(manifest)} images cannot be decoded.",
        got="\n            ".join(f"{manifest.path[one.row]} ({one.reason})" for one in bad),
        where=manifest.root,
        remedy=remedy,
    )


def fits_on_disk(count: int, *, shorter_side: int, cache_dir: Path) -> bool:
    """Whether decoded images of usual shape (3:2) would take less than half of the free space."""
    folders = (cache_dir, *cache_dir.absolute().parents)
    existing = next(folder for folder in folders if folder.is_dir())
    needed = count * shorter_side * shorter_side * 3 * 1.5
    return needed < shutil.disk_usage(existing).free / 2


def listed(bad: Sequence[BadImage], manifest: Manifest) -> str:
    """The first few bad files and how many more there are, for a log line."""
    return shortened(str(manifest.path[one.row]) for one in bad)


def available_cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Look(NamedTuple):
    """What was found in the file of a row."""

    row: int
    key: bytes | None
    """Of the file, None if its times are too young to be trusted."""
    content: bytes
    pixels: Pixels | None
    """None if the store has the content."""


_Looks = tuple[list[_Look], list[BadImage]]


def _looked_at(
    rows: npt.NDArray[np.int64],
    paths: Sequence[str],
    workers: int | None,
    *,
    known: Contents | None,
    side: int,
) -> Iterator[_Looks]:
    """What is in the files of the rows, chunk by chunk in order, decoded unless it is known."""

    def look(start: int) -> _Looks:
        looks, bad = [], []
        for row in rows[start : start + CHUNK].tolist():
            try:
                looks.append(_look(row, paths[row], known, side))
            except (OSError, ValueError) as error:
                bad.append(BadImage(row, reason(error)))
        return looks, bad

    starts = range(0, len(rows), CHUNK)
    threads = available_cores() if workers is None else workers
    if threads < 2 or len(starts) < 4:
        yield from map(look, starts)
        return
    # Threads: hashing, decoding and resizing all let go of the interpreter's lock. Few chunks are
    # in flight, so memory does not grow with the number of files.
    waiting: deque[Future[_Looks]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in starts:
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(look, start))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _look(row: int, path: str, known: Contents | None, side: int) -> _Look:
    with open(path, "rb", buffering=0) as handle:
        status = os.fstat(handle.fileno())
        key = file_key(path, status) if is_settled(status) else None
        data = handle.read()
    content = digest(data)
    found = known is not None and known.slot(content)[0] >= 0
    return _Look(row, key, content, None if found else decode(data, side))


def _keep(
    builder: Builder,
    looks: Sequence[_Look],
    slots: Slots,
    *,
    contents: Contents,
    added: dict[bytes, int],
) -> None:
    """Store what is new of a chunk and fill in its slots; `added` holds a row of each content."""
    fresh: dict[bytes, Pixels] = {}
    for look in looks:
        if look.pixels is not None and look.content not in added:
            fresh[look.content] = look.pixels
            added[look.content] = look.row
    new = builder.add_images(list(fresh), list(fresh.values()))
    for content, slot in zip(fresh, new, strict=True):
        slots[added[content]] = slot
    for look in looks:
        if look.content in added:
            slots[look.row] = slots[added[look.content]]
        else:
            slots[look.row] = contents.slot(look.content)
    trusted = [look for look in looks if look.key is not None]
    builder.add_files([look.key or b"" for look in trusted], [look.content for look in trusted])


def _unkept(store: PixelStore, error: OSError) -> DataError:
    taken = 0
    if store.folder.is_dir():
        taken = sum(file.stat().st_size for file in store.folder.iterdir())
    return DataError(
        "The decoded images could not be kept.",
        got=reason(error),
        where=store.folder,
        remedy=f"free some space (this folder takes {taken / 2**30:.1f} GiB and may be deleted), "
        "choose another one with data.cache_dir=FOLDER, or do without: data.cache=off",
    )
