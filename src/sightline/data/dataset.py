"""From the `data` section to split samples and their pixels: what every task begins with."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightline.data.fingerprints import Digests, digests
from sightline.data.folds import assign_folds, use_fold
from sightline.data.groups import group_duplicates
from sightline.data.images import Images, decode_all, fits_on_disk, listed, require_decodable
from sightline.data.manifest import Manifest, shortened
from sightline.data.readers import read_manifest
from sightline.data.splits import assign_splits
from sightline.errors import DataError

if TYPE_CHECKING:
    from sightline.data.settings import DataConfig

Say = Callable[[str], None]

MARGIN = 8 / 7
"""Decoded images are this much larger than what a model sees, so that crops lose little detail."""


@dataclass(frozen=True)
class Dataset:
    """Samples with their splits, the hashes of their files, and what was worth a remark."""

    manifest: Manifest
    hashes: Digests
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the labels' codes."""
        return tuple(str(name) for name in self.manifest.label.names)

    def part(self, *splits: str) -> Manifest:
        """The samples of some splits."""
        return self.manifest.select(self.manifest.rows(*splits))

    def without(self, ids: set[str]) -> Dataset:
        """The same samples but for some."""
        kept = np.array([str(one) not in ids for one in self.manifest.id], bool)
        return replace(self, manifest=self.manifest.select(kept), hashes=self.hashes[kept])


def prepare_dataset(config: DataConfig, *, seed: int) -> Dataset:
    """Read the samples, keep identical files together, and give every sample a split.

    Raises DataError for whatever is wrong with the data, also for a class of val or test that no
    training sample has.
    """
    manifest = read_manifest(config)
    hashes = digests(manifest, config.workers)
    if config.group_duplicates:
        manifest = group_duplicates(manifest, hashes)
    manifest, notes = assign_splits(
        manifest,
        test_fraction=config.test_fraction,
        val_fraction=0.0 if config.folds else config.val_fraction,
        seed=seed,
        stratify=config.stratify,
    )
    if config.folds:
        manifest = assign_folds(manifest, config.folds, seed, stratify=config.stratify)
        manifest = use_fold(manifest, config.valid_fold)
    return Dataset(manifest, hashes, tuple(notes))


def require_known_labels(dataset: Dataset) -> None:
    """Raise DataError for samples without label, and for labels of val or test unseen in fit."""
    manifest = dataset.manifest
    unlabelled = manifest.select(manifest.label.codes < 0)
    if len(unlabelled):
        raise DataError(
            f"{len(unlabelled)} samples have no label.",
            expected="a label for every sample",
            got=shortened(unlabelled.id),
            remedy="fill in the label column, or remove these rows",
        )
    seen = np.unique(dataset.part("fit").label.codes)
    for split in ("val", "test"):
        unseen = np.setdiff1d(np.unique(dataset.part(split).label.codes), seen)
        if len(unseen):
            names = [dataset.class_names[code] for code in unseen]
            raise DataError(
                f"The {split} split has {len(names)} labels that no training sample has.",
                expected="every label in training",
                got=shortened(names, 10),
                remedy="add training samples of these classes, correct the labels, or leave the "
                "classes out with data.class_names",
            )


def open_images(
    manifest: Manifest,
    config: DataConfig,
    *,
    size: int,
    cache_dir: Path,
    say: Say,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Images, set[str]]:
    """The samples' images for a model of input `size`, and the ids of those left out as unreadable.

    Images are decoded once and kept under cache_dir, unless `data.cache` says off, or auto and
    they would fill the disk or the folder cannot be written. Raises DataError, listing every
    unreadable file, unless `data.on_bad_image` is skip.
    """
    shorter_side = round(size * MARGIN)
    if not _use_cache(config, len(manifest), shorter_side, cache_dir, say):
        return Images(manifest, shorter_side), set()
    images, bad = decode_all(
        manifest,
        shorter_side=shorter_side,
        cache_dir=cache_dir,
        workers=config.workers if config.workers is not None else _cores(),
        progress=progress,
    )
    if not bad:
        return images, set()
    if config.on_bad_image == "error":
        require_decodable(manifest, bad)
    say(f"left out {len(bad)} images that cannot be decoded: {listed(bad, manifest)}")
    kept = np.setdiff1d(np.arange(len(manifest)), [one.row for one in bad])
    left_out = {str(manifest.id[one.row]) for one in bad}
    return replace(images, manifest=manifest.select(kept), slots=images.slots[kept]), left_out


def _use_cache(
    config: DataConfig, count: int, shorter_side: int, cache_dir: Path, say: Say
) -> bool:
    if config.cache != "auto":
        return config.cache == "on"
    existing = next(folder for folder in (cache_dir, *cache_dir.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        say(f"images are decoded anew in each epoch: {existing} cannot be written")
        return False
    if not fits_on_disk(count, shorter_side=shorter_side, cache_dir=cache_dir):
        say(f"images are decoded anew in each epoch: they would fill more than half of {existing}")
        return False
    return True


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
