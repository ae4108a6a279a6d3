"""From a configuration to samples that are ready to be loaded: read, grouped and split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.data.fingerprints import digests
from sightline.data.folds import assign_folds
from sightline.data.groups import group_duplicates
from sightline.data.manifest import Manifest
from sightline.data.readers import read_manifest
from sightline.data.splits import assign_splits

if TYPE_CHECKING:
    from sightline.data.settings import DataConfig


def prepare(config: DataConfig, *, seed: int) -> tuple[Manifest, list[str]]:
    """The samples with their splits, and sentences a user should read about them.

    With ``config.folds`` every row outside the test is fit and has a fold: choose one with
    `use_fold`. Otherwise rows are fit, val or test. The same data and seed give the same splits,
    in whatever order the files are listed.
    """
    manifest = read_manifest(config)
    # A manifest was grouped when it was made; hashing it again would only cost time.
    if config.group_duplicates and config.manifest is None:
        manifest = group_duplicates(manifest, digests(manifest, config.workers))
    manifest, notes = assign_splits(
        manifest,
        test_fraction=config.test_fraction,
        val_fraction=0.0 if config.folds else config.val_fraction,
        seed=seed,
        stratify=config.stratify,
    )
    if config.folds:
        manifest = assign_folds(manifest, config.folds, seed, stratify=config.stratify)
    return manifest, notes
