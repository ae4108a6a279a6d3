"""Divides everything but the test into folds, or checks the folds that the data names."""

from __future__ import annotations

import numpy as np

from sightline.data.groups import Units, plain_name, units
from sightline.data.manifest import SPLITS, Integers, Manifest, shortened
from sightline.data.splits import majority_labels, units_per_label
from sightline.errors import ConfigError, DataError

_FIT, _VAL = SPLITS.index("fit"), SPLITS.index("val")
_OUTSIDE = tuple(SPLITS.index(name) for name in ("test", "query", "gallery"))


def assign_folds(manifest: Manifest, folds: int, seed: int, *, stratify: bool = True) -> Manifest:
    """The manifest with a fold from 0 to ``folds - 1`` on every row outside test, query and
    gallery.

    Folds that the manifest has already are checked and kept. New ones keep groups whole and
    classes balanced (scikit-learn's StratifiedGroupKFold, or StratifiedKFold without groups),
    and depend on the seed, ids and labels, not on the order of rows.

    Raises DataError naming the classes with fewer units than folds, and for given folds the
    groups in several, the rows without one, and folds that are missing.
    """
    if folds < 2:
        raise ConfigError(
            "Cross-validation needs at least 2 folds.",
            got=f"data.folds={folds}",
            remedy="set data.folds to 2 or more, or to 0 for one validation split",
        )
    rows = np.flatnonzero(~np.isin(manifest.split, _OUTSIDE))
    part = manifest.select(rows)
    parts = units(part)
    given = bool((part.fold >= 0).any())
    if given:
        _check_given(part, folds)
    else:
        _require_enough(part, parts, folds)
    fold = np.full(len(manifest), -1, np.int16)
    fold[rows] = part.fold if given else _divide(part, parts, (folds, seed, stratify))
    _require_training(manifest, fold, folds)
    return manifest.with_fold(fold)


def use_fold(manifest: Manifest, fold: int) -> Manifest:
    """The manifest with one fold as val and the other folds as fit; the rest is unchanged."""
    split = manifest.split.copy()
    split[manifest.fold >= 0] = _FIT
    split[manifest.fold == fold] = _VAL
    return manifest.with_split(split)


def _divide(part: Manifest, parts: Units, choice: tuple[int, int, bool]) -> Integers:
    """A fold number for each row."""
    from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

    folds, seed, stratify = choice
    labels = majority_labels(parts, part.label.codes)
    grouped = len(parts) < len(part)
    kind = KFold if not stratify else StratifiedGroupKFold if grouped else StratifiedKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    number = np.full(len(parts), -1, np.int16)
    if kind is StratifiedGroupKFold:
        # It weighs groups by their rows, and takes them in the order of their numbers.
        for fold, (_, held) in enumerate(splitter.split(part.id, part.label.codes, parts.unit)):
            number[parts.unit[held]] = fold
    else:
        for fold, (_, held) in enumerate(splitter.split(labels, labels)):
            number[held] = fold
    return np.asarray(number[parts.unit])


def _require_enough(part: Manifest, parts: Units, folds: int) -> None:
    counts = units_per_label(parts, part.label.codes, len(part.label.names))
    small = np.flatnonzero((counts > 0) & (counts < folds))
    if len(small) or len(parts) < folds:
        listed = [f"{part.label.names[code]} ({counts[code]})" for code in small]
        what = "groups" if len(parts) < len(part) else "pictures"
        raise DataError(
            f"{len(listed)} classes have fewer {what} than folds: {shortened(listed, 20)}."
            if listed
            else f"{len(parts)} {what} cannot be divided into {folds} folds.",
            expected=f"at least {folds} {what} of every class outside the test",
            remedy=f"set data.folds={max(2, int(counts[counts > 0].min(initial=folds)))}, add "
            "pictures, or leave the classes out with data.class_names",
        )


def _check_given(part: Manifest, folds: int) -> None:
    without = np.flatnonzero(part.fold < 0)
    if len(without):
        raise DataError(
            f"{len(without)} of {len(part)} rows outside the test have no fold.",
            expected="a fold on every row, or on none",
            got=shortened([part.id[row] for row in without[:6]]),
            remedy="fill in the column, or remove data.fold_col to make new folds",
        )
    found = np.unique(part.fold)
    if not np.array_equal(found, np.arange(folds)):
        raise DataError(
            f"The data has the folds {shortened(found, 20)}.",
            expected=f"0 to {folds - 1}, as data.folds={folds} says",
            remedy="correct data.folds or the column of folds",
        )
    grouped = part.group.codes >= 0
    pairs = np.unique(np.stack([part.group.codes, part.fold], axis=1)[grouped], axis=0)
    groups, counts = np.unique(pairs[:, 0], return_counts=True)
    leaking = part.group.names[groups[counts > 1]]
    if len(leaking):
        raise DataError(
            f"{len(leaking)} groups lie in several folds, so validation sees what was trained on: "
            f"{shortened([plain_name(f'group {name}') for name in leaking])}.",
            expected="every group in one fold",
            remedy="correct the column of folds, or remove data.fold_col to make new folds; "
            "identical files form a group unless data.group_duplicates=false",
        )


def _require_training(manifest: Manifest, fold: Integers, folds: int) -> None:
    """A class whose rows all lie in one fold could not be trained when that fold is held out."""
    inside = (fold >= 0) & (manifest.label.codes >= 0)
    pairs = np.unique(np.stack([manifest.label.codes, fold], axis=1)[inside], axis=0)
    labels, counts = np.unique(pairs[:, 0], return_counts=True)
    lonely = manifest.label.names[labels[counts == 1]]
    if len(lonely):
        raise DataError(
            f"{len(lonely)} classes lie in one fold alone, so holding it out leaves none to train "
            f"on: {shortened(lonely, 20)}.",
            expected=f"every class in at least 2 of the {folds} folds",
            remedy="add pictures or groups of these classes, or leave them out with "
            "data.class_names",
        )
