"""Carves validation and test from the samples, by whole groups and class by class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sightline.data.groups import Units, units
from sightline.data.manifest import SPLITS, Integers, Manifest, shortened
from sightline.errors import ConfigError, DataError

_TRAIN, _FIT = SPLITS.index("train"), SPLITS.index("fit")
_VAL, _TEST = SPLITS.index("val"), SPLITS.index("test")
Codes = npt.NDArray[np.int8]
Carve = Callable[[Manifest, dict[int, float]], tuple[Codes, list[str]]]


def assign_splits(
    manifest: Manifest,
    *,
    test_fraction: float,
    val_fraction: float,
    seed: int,
    stratify: bool = True,
) -> tuple[Manifest, list[str]]:
    """The manifest with every row in fit, val or test, and sentences about what could not be met.

    Splits that the data gives are kept: what is test stays test, validation is carved from train
    where it is absent, and a test is carved only from data without any split. query and gallery
    stay. A group is never divided. The result depends on the seed and the names of the groups (of
    the ids of rows without one), not on the order of rows. Fractions count pictures, class by
    class, where a group belongs to its most frequent class; a class with 3 groups or more has one
    in every split, and every class has one in fit.

    Raises ConfigError for fractions that leave nothing, DataError where nothing is left to fit.
    """

    def carve(part: Manifest, shares: dict[int, float]) -> tuple[Codes, list[str]]:
        return _carve(part, shares, seed=seed, stratify=stratify)

    return complete_splits(manifest, carve, test_fraction=test_fraction, val_fraction=val_fraction)


def complete_splits(
    manifest: Manifest, carve: Carve, *, test_fraction: float, val_fraction: float
) -> tuple[Manifest, list[str]]:
    """The same with another way to carve: `carve` gets the rows that are free and the share of each
    split that is absent, by its code, and answers with their split codes and sentences.
    """
    if val_fraction < 0 or test_fraction < 0 or val_fraction + test_fraction >= 1:
        raise ConfigError(
            "The fractions of validation and test leave nothing to train on.",
            expected="two shares of 0 or more with a sum below 1",
            got=f"data.val_fraction={val_fraction} data.test_fraction={test_fraction}",
            remedy="lower one of them",
        )
    given = manifest.split.astype(np.int8)
    notes = _crossing(manifest, given)
    free = np.flatnonzero((given <= _TRAIN) | (given == _FIT))
    has_val, has_splits = bool((given == _VAL).any()), bool((given > 0).any())
    if has_splits and not (given >= _TEST).any() and test_fraction > 0:
        notes.append(
            "The data gives splits without a test; none is carved from them, so a score on val is "
            "that of the split the epoch was chosen on."
        )
    shares = {_TEST: 0.0 if has_splits else test_fraction, _VAL: 0.0 if has_val else val_fraction}
    split = given.copy()
    split[free] = _FIT
    wanted = {code: share for code, share in shares.items() if share > 0}
    if wanted and len(free):
        part = manifest.select(free)
        codes, more = carve(part, wanted)
        split[free] = codes
        notes += more
    if not (split == _FIT).any():
        raise DataError(
            f"No sample of {len(manifest)} is left to train on.",
            expected="rows whose split is train or empty",
            remedy="correct the column of splits, or the folder of train",
        )
    return manifest.with_split(split), notes


def _carve(
    part: Manifest, shares: dict[int, float], *, seed: int, stratify: bool
) -> tuple[Codes, list[str]]:
    """Split codes of the rows, and the classes that are too small."""
    parts = units(part)
    sizes = np.bincount(parts.unit, minlength=len(parts))
    majority = majority_labels(parts, part.label.codes)
    rank = seeded_ranks(parts.key, seed)
    strata = majority if stratify else np.zeros(len(parts), np.int64)
    chosen = np.full(len(parts), _FIT, np.int8)
    order = np.lexsort((rank, strata))
    bounds = np.flatnonzero(np.r_[True, strata[order][1:] != strata[order][:-1], True])
    for start, stop in pairwise(bounds):
        members = order[start:stop]
        chosen[members] = _fill(sizes[members], shares)
    _give_back(chosen, parts, part.label.codes, rank)
    return chosen[parts.unit], _small_classes(part, parts)


def _fill(sizes: Integers, shares: dict[int, float]) -> Codes:
    """Split codes of one class's groups, taken in order until each share is as near as can be."""
    codes = np.full(len(sizes), _FIT, np.int8)
    counts, total = sizes.tolist(), int(sizes.sum())
    for later, (code, share) in zip(reversed(range(len(shares))), shares.items(), strict=True):
        goal, have = share * total, 0
        left = int((codes == _FIT).sum())
        kept = 1 + (later if len(sizes) >= 3 else 0)
        for place in np.flatnonzero(codes == _FIT).tolist():
            if left <= kept or have >= goal:
                break
            # A group that overshoots by more than is missing without it is passed over.
            if have + counts[place] / 2 <= goal:
                codes[place], have, left = code, have + counts[place], left - 1
        if have == 0 and len(sizes) >= 3:
            remaining = np.flatnonzero(codes == _FIT)
            codes[remaining[np.argmin(sizes[remaining])]] = code
    return codes


def _give_back(chosen: Codes, parts: Units, labels: Integers, rank: Integers) -> None:
    """Move whole groups to fit until every class has one there; changes ``chosen`` (G,)."""
    have = np.unique(labels[chosen[parts.unit] == _FIT])
    for label in np.setdiff1d(np.unique(labels[labels >= 0]), have):
        holders = np.unique(parts.unit[labels == label])
        if not (chosen[holders] == _FIT).any():
            chosen[holders[np.argmin(rank[holders])]] = _FIT


def majority_labels(parts: Units, labels: Integers) -> Integers:
    """The most frequent label code (G,) of each unit's rows, the first by name where two tie."""
    span = int(labels.max(initial=-1)) + 2
    pairs, counts = np.unique(parts.unit * span + labels + 1, return_counts=True)
    unit, label = np.divmod(pairs, span)
    order = np.lexsort((label, -counts, unit))
    first = np.r_[True, unit[order][1:] != unit[order][:-1]]
    result: Integers = label[order][first] - 1
    return result


def units_per_label(parts: Units, labels: Integers, count: int) -> Integers:
    """How many units (K,) hold rows of each of the ``count`` labels."""
    pairs = np.unique(np.stack([parts.unit, labels], axis=1)[labels >= 0], axis=0)
    return np.bincount(pairs[:, 1], minlength=count)


def seeded_ranks(keys: Iterable[str], seed: int) -> Integers:
    """A number (G,) for each key that depends on the seed and the key alone."""

    def number(key: str) -> int:
        digest = blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    return np.fromiter(map(number, keys), np.int64)


def _small_classes(part: Manifest, parts: Units) -> list[str]:
    counts = units_per_label(parts, part.label.codes, len(part.label.names))
    small = np.flatnonzero((counts > 0) & (counts < 3))
    if not len(small):
        return []
    listed = [f"{part.label.names[code]} ({counts[code]})" for code in small]
    return [
        f"{len(listed)} classes have fewer than 3 groups of pictures and cannot be in every split: "
        f"{shortened(listed, 20)}."
    ]


def _crossing(manifest: Manifest, given: Codes) -> list[str]:
    """A sentence that names groups the data itself divides between train, val and test."""
    roles = np.where((given <= _TRAIN) | (given == _FIT), _FIT, given)
    rows = (manifest.group.codes >= 0) & np.isin(roles, (_FIT, _VAL, _TEST))
    pairs = np.unique(np.stack([manifest.group.codes, roles], axis=1)[rows], axis=0)
    groups, counts = np.unique(pairs[:, 0], return_counts=True)
    crossing = manifest.group.names[groups[counts > 1]]
    if not len(crossing):
        return []
    return [
        f"The data's own splits divide {len(crossing)} groups, which makes the score too good: "
        f"{shortened(crossing)}."
    ]
