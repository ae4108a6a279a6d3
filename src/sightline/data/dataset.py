"""From the `data` section to split samples and their pixels: what every task begins with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightline.config.image_size import ImageSize, size_of
from sightline.data.class_splits import assign_class_splits
from sightline.data.decoding import (
    BadImage,
    decode_all,
    fits_on_disk,
    listed,
    require_decodable,
    undecodable,
)
from sightline.data.defect_settings import AnomalyDataConfig
from sightline.data.exclusions import Excluded, exclusion_notes, find_excluded, with_classes_left
from sightline.data.fingerprints import Digests, digests
from sightline.data.folds import assign_folds, use_fold
from sightline.data.groups import group_duplicates, units
from sightline.data.images import Images, find_decoded
from sightline.data.manifest import Manifest, shortened
from sightline.data.normal_splits import assign_normal_splits
from sightline.data.readers import read_with_notes
from sightline.data.reid_settings import ReidDataConfig
from sightline.data.reid_splits import assign_identity_splits
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.data.splits import assign_splits, units_per_label
from sightline.data.synthetic_defects import with_synthetic_defects
from sightline.errors import DataError

if TYPE_CHECKING:
    from sightline.data.settings import DataConfig

Say = Callable[[str], None]


@dataclass(frozen=True)
class Dataset:
    """Samples with their splits, the hashes of their files if known, and remarks on them."""

    manifest: Manifest
    hashes: Digests | None = None
    notes: tuple[str, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    """What was left out with its whole object (retrieval)."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the labels' codes."""
        return tuple(str(name) for name in self.manifest.label.names)

    def part(self, *splits: str) -> Manifest:
        """The samples of some splits."""
        return self.manifest.select(self.manifest.rows(*splits))

    def class_counts(self, *splits: str) -> list[int]:
        """Samples of each class in some splits, in the order of the classes."""
        codes = self.part(*splits).label.codes
        counts: list[int] = np.bincount(codes[codes >= 0], minlength=len(self.class_names)).tolist()
        return counts

    def holding_out(self, fold: int) -> Dataset:
        """The same samples with one fold as val and the others as fit."""
        return replace(self, manifest=use_fold(self.manifest, fold))

    def without(self, ids: set[str]) -> Dataset:
        """The same samples but for some."""
        if not ids:
            return self
        kept = np.array([str(one) not in ids for one in self.manifest.id], bool)
        hashes = None if self.hashes is None else self.hashes[kept]
        return replace(self, manifest=self.manifest.select(kept), hashes=hashes)


def prepare_dataset(config: DataConfig, *, seed: int) -> Dataset:
    """Read the samples, keep identical files together, and give every sample a split.

    With `data.valid_fold=all` every row outside the test is fit and has a fold: choose each with
    `use_fold`. The same data and seed give the same splits, in whatever order files are listed.
    Raises DataError for whatever is wrong with the files or the tables.
    """
    manifest, notes = read_with_notes(config)
    hashes = digests(manifest, config.workers)
    # A manifest was grouped when it was made, and its splits are to be used as they are.
    if config.group_duplicates and config.manifest is None:
        manifest = group_duplicates(manifest, hashes)
    if isinstance(config, AnomalyDataConfig):
        manifest, notes = assign_normal_splits(manifest, config, seed=seed)
        if config.synthetic_defects:
            manifest, rows = with_synthetic_defects(manifest)
            hashes = hashes[rows]
        return Dataset(manifest, hashes, tuple(notes))
    if isinstance(config, ReidDataConfig):
        shares = {"test_fraction": config.test_fraction, "val_fraction": config.val_fraction}
        manifest, more = assign_identity_splits(manifest, seed=seed, **shares)
        return Dataset(manifest, hashes, (*notes, *more))
    if isinstance(config, RetrievalDataConfig):
        return _retrieval_dataset(Dataset(manifest, hashes, tuple(notes)), config, seed=seed)
    manifest, notes = assign_splits(
        manifest,
        test_fraction=config.test_fraction,
        val_fraction=0.0 if config.folds else config.val_fraction,
        seed=seed,
        stratify=config.stratify,
    )
    if config.folds:
        if len(manifest.rows("val")):
            notes.append(
                "The data gives a validation split; with data.folds its pictures are divided among "
                "the folds like all others outside the test."
            )
        manifest = assign_folds(manifest, config.folds, seed, stratify=config.stratify)
        if config.valid_fold != "all":
            manifest = use_fold(manifest, config.valid_fold)
    return Dataset(manifest, hashes, tuple(notes))


def _retrieval_dataset(dataset: Dataset, config: RetrievalDataConfig, *, seed: int) -> Dataset:
    """The same without the objects that are left out, and with a split for every sample."""
    # What a manifest lists was chosen when it was made.
    excluded = () if config.manifest is not None else find_excluded(dataset.manifest, config)
    dataset = dataset.without({one.id for one in excluded})
    manifest = with_classes_left(dataset.manifest)
    notes = [*dataset.notes, *exclusion_notes(excluded, manifest)]
    shares = {"test_fraction": config.test_fraction, "val_fraction": config.val_fraction}
    if config.split_by == "class":
        manifest, more = assign_class_splits(manifest, seed=seed, **shares)
    else:
        manifest, more = assign_splits(manifest, seed=seed, stratify=config.stratify, **shares)
    return Dataset(manifest, dataset.hashes, (*notes, *more), excluded)


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


def unvalidated_classes(dataset: Dataset) -> list[str]:
    """Classes that validation could have, having 3 groups or more to train on, and does not."""
    fit, val = dataset.part("fit"), dataset.part("val")
    if not len(val):
        return []
    count = len(dataset.class_names)
    groups = units_per_label(units(fit), fit.label.codes, count)
    seen = np.bincount(val.label.codes, minlength=count)
    return [dataset.class_names[code] for code in np.flatnonzero((groups >= 3) & (seen == 0))]


def require_validated_classes(dataset: Dataset, config: DataConfig) -> None:
    """Raise DataError for such classes, unless `data.on_unvalidated_class` allows them."""
    names = unvalidated_classes(dataset)
    if names and config.on_unvalidated_class == "error":
        raise DataError(
            f"Validation has no sample of {len(names)} classes, so nothing would show how well "
            "they are learnt.",
            expected="samples of every class that has enough of them",
            got=shortened(names, 10),
            remedy="move some samples of these classes to validation, leave the classes out with "
            "data.class_names, or mean it: data.on_unvalidated_class=note",
        )


def open_images(
    manifest: Manifest,
    config: DataConfig,
    *,
    size: ImageSize,
    cache_dir: Path,
    say: Say,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Images, set[str]]:
    """The samples' images for a model of input `size`, and the ids of those left out as unreadable.

    Images are decoded once and kept under cache_dir, unless `data.cache` says off, or auto and
    they would fill the disk or the folder cannot be written. Without `data.on_bad_image=skip` an
    unreadable file raises DataError: a list of all when images are kept, else when its turn comes.
    """
    # A picture of any shape then has as many pixels as the model sees, whatever `data.fit` is.
    side = round(size_of(size).longer * config.margin)
    if config.cache == "off":
        images = Images(manifest, side)
    else:
        images = find_decoded(manifest, shorter_side=side, cache_dir=cache_dir)
    bad: list[BadImage] = []
    missing = len(images.undecoded())
    if missing and (config.cache == "on" or _may_keep(config, missing, side, cache_dir, say)):
        images, bad = decode_all(
            manifest,
            shorter_side=side,
            cache_dir=cache_dir,
            workers=config.workers,
            progress=progress,
            say=say,
        )
    elif missing and config.on_bad_image == "skip":
        bad = undecodable(images, workers=config.workers)
    if config.on_bad_image == "error":
        require_decodable(manifest, bad)
    if not bad:
        return images, set()
    say(f"left out {len(bad)} images that cannot be decoded: {listed(bad, manifest)}")
    rows = [one.row for one in bad]
    left_out = {str(one) for one in manifest.id[rows]}
    return images.select(np.setdiff1d(np.arange(len(manifest)), rows)), left_out


def _may_keep(config: DataConfig, count: int, side: int, cache_dir: Path, say: Say) -> bool:
    """Whether decoded images are to be kept where `data.cache` is auto; says why not."""
    if config.cache == "off":
        return False
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        # Permissions do not say all: the folder may be on a read-only disk.
        tempfile.TemporaryFile(dir=cache_dir).close()
    except OSError as error:
        reason = error.strerror or error
        say(f"images are decoded anew in each epoch: {cache_dir} cannot be written ({reason})")
        return False
    if not fits_on_disk(count, shorter_side=side, cache_dir=cache_dir):
        say(f"images are decoded anew in each epoch: they would fill most of {cache_dir}'s disk")
        return False
    return True
