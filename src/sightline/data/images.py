"""The images of a manifest: from a store of decoded ones, or decoded when they are asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.data.decode import Pixels, decode
from sightline.data.manifest import Manifest
from sightline.data.pixel_store import PixelStore, Slots
from sightline.errors import DataError


@dataclass(frozen=True)
class Images:
    """Pixels of the rows of a manifest, each with a shorter side of at most `shorter_side`.

    Rows with a slot come from the store, the others are decoded whenever they are asked for.
    """

    manifest: Manifest
    shorter_side: int
    store: PixelStore | None = None
    slots: Slots = field(default_factory=lambda: np.empty((0, 3), np.int64))

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, row: int) -> Pixels:
        """(H, W, 3) pixels of one row; raises DataError that names a file which is no image."""
        if self.store is not None and self.slots[row, 0] >= 0:
            return self.store.read(self.slots[row])
        path = self.manifest.file(row)
        try:
            return decode(path.read_bytes(), self.shorter_side)
        except (OSError, ValueError) as error:
            raise DataError(
                "An image cannot be decoded.",
                got=reason(error),
                where=path,
                remedy="repair or remove it; `sightline check` lists every such file, and "
                "data.on_bad_image=skip leaves them out of training",
            ) from error

    def select(self, rows: npt.NDArray[np.int64]) -> Images:
        """The given rows, in the order given."""
        slots = self.slots if self.store is None else self.slots[rows]
        return Images(self.manifest.select(rows), self.shorter_side, self.store, slots)

    def undecoded(self) -> npt.NDArray[np.int64]:
        """The rows that are not in the store."""
        if self.store is None:
            return np.arange(len(self))
        return np.flatnonzero(self.slots[:, 0] < 0)


def find_decoded(manifest: Manifest, *, shorter_side: int, cache_dir: Path) -> Images:
    """The manifest's images with what a store under cache_dir has of them; nothing is written."""
    store = PixelStore(cache_dir, shorter_side)
    return Images(manifest, shorter_side, store, store.find(file_paths(manifest)))


def file_paths(manifest: Manifest) -> list[str]:
    """The absolute path of every row's file."""
    # A Path for each of a million files would take longer than looking them up.
    root = os.path.abspath(manifest.root)
    return [os.path.join(root, path) for path in manifest.path.tolist()]  # noqa: PTH118


def reason(error: Exception) -> str:
    """Why a file cannot be read or decoded, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
