"""Carves validation and test by whole classes, so that both have classes that training never sees.

C classes, U sets of classes that stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.groups import units
from sightline.data.manifest import SPLITS, Integers, Manifest, shortened
from sightline.data.splits import Codes, complete_splits, seeded_ranks
from sightline.errors import DataError

LEAST = 2
"""Classes in every split, and pictures of a class that is asked for: one finds the other."""
_FIT = SPLITS.index("fit")


class Wholes(NamedTuple):
    """What is carved off whole, and how messages speak of it."""

    name: str = "classes"
    alone: str = "no object of another class"
    """What each has to have, where some share files or groups."""
    remedy: str = "or divide by object: data.split_by=object"
    """What else helps where there are too few."""
    stay: npt.NDArray[np.bool_] | None = None
    """(C,) classes that have to be in fit, beside those with a single picture."""


_CLASSES = Wholes()


def assign_class_splits(
    manifest: Manifest, *, test_fraction: float, val_fraction: float, seed: int
) -> tuple[Manifest, list[str]]:
    """The manifest with every row in fit, val or test, and sentences about what is remarkable.

    Splits that the data gives are kept as in assign_splits, and validation is carved from the
    classes of train. Classes are taken in an order that depends on the seed and their names until
    each split has its share of the pictures. Classes that share a group stay together, those with
    a single picture are in fit.

    Raises DataError where a split cannot have two classes.
    """

    def carve(part: Manifest, shares: dict[int, float]) -> tuple[Codes, list[str]]:
        return carve_wholes(part, shares, seed=seed)

    divided, notes = complete_splits(
        manifest, carve, test_fraction=test_fraction, val_fraction=val_fraction
    )
    return divided, [*notes, *shared_with_fit(divided, ("val", "test"))]


def carve_wholes(
    part: Manifest, shares: dict[int, float], *, seed: int, wholes: Wholes = _CLASSES
) -> tuple[Codes, list[str]]:
    """Split codes (N,) of rows that are free, and sentences about classes that are special.

    `shares` gives the share of the pictures that each split is to have, by its code.
    """
    sets = _sets(part, seed, wholes.stay)
    chosen = np.full(len(sets.pictures), _FIT, np.int8)
    for later, (code, share) in zip(reversed(range(len(shares))), shares.items(), strict=True):
        _take(chosen, sets, code, share=share, later=later)
        if sets.classes[chosen == code].sum() < LEAST:
            raise _too_few(part, sets, code, splits=1 + len(shares), wholes=wholes)
    split = np.full(len(part), _FIT, np.int8)
    labelled = part.label.codes >= 0
    split[labelled] = chosen[sets.of_class[part.label.codes[labelled]]]
    return split, _remarks(part, sets, wholes.name)


def shared_with_fit(
    manifest: Manifest, splits: Sequence[str], name: str = _CLASSES.name
) -> list[str]:
    """A sentence for each split whose classes, as the data divides them, are in fit too."""
    labels = manifest.label.codes
    seen = np.unique(labels[manifest.rows("fit")])
    notes = []
    for split in splits:
        shared = np.intersect1d(np.unique(labels[manifest.rows(split)]), seen)
        shared = shared[shared >= 0]
        if len(shared):
            notes.append(
                f"{len(shared)} {name} of {split} are in training too, as the data divides them: "
                f"{shortened(manifest.label.names[shared], 10)}."
            )
    return notes


@dataclass(frozen=True)
class _Sets:
    """Sets of classes that are carved off together."""

    of_class: Integers
    """(C,) the set of each class."""
    pictures: Integers
    """(U,)"""
    classes: Integers
    """(U,)"""
    may_leave: npt.NDArray[np.bool_]
    """(U,) every class has the pictures that a split but fit needs."""
    order: Integers
    """(U,) the sets as they are taken."""


def _take(chosen: Codes, sets: _Sets, code: int, *, share: float, later: int) -> None:
    """Give sets to a split until it has its share and two classes; changes ``chosen`` (U,).

    Enough classes stay for fit, and for the splits that come `later`.
    """
    goal, have, classes = share * sets.pictures.sum(), 0, 0
    left = int(sets.classes[chosen == _FIT].sum())
    usable = int(sets.classes[(chosen == _FIT) & sets.may_leave].sum())
    by_size = sets.order[np.argsort(sets.pictures[sets.order], kind="stable")]
    # What is passed over because it overshoots is looked at again where two classes are missing.
    for candidates, is_wanted in ((sets.order, True), (by_size, False)):
        for one in candidates.tolist():
            if have >= goal if is_wanted else classes >= LEAST:
                break
            pictures, count = int(sets.pictures[one]), int(sets.classes[one])
            fits = have + pictures / 2 <= goal or not is_wanted
            stays = left - count < LEAST * (1 + later) or usable - count < LEAST * later
            if chosen[one] != _FIT or not sets.may_leave[one] or stays or not fits:
                continue
            chosen[one] = code
            have, classes = have + pictures, classes + count
            left, usable = left - count, usable - count


def _sets(part: Manifest, seed: int, stay: npt.NDArray[np.bool_] | None) -> _Sets:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    labels, count = part.label.codes, len(part.label.names)
    unit = units(part).unit
    known = labels >= 0
    size = count + int(unit.max(initial=-1)) + 1
    links = (np.ones(int(known.sum()), np.int8), (labels[known], count + unit[known]))
    _, component = connected_components(coo_array(links, shape=(size, size)), directed=False)
    present = np.unique(labels[known])
    of_class = np.full(count, -1, np.int64)
    _, first, of_class[present] = np.unique(
        component[present], return_index=True, return_inverse=True
    )
    pictures = np.bincount(labels[known], minlength=count)[present]
    mine = of_class[present]
    held = pictures < LEAST if stay is None else (pictures < LEAST) | stay[present]
    few = np.bincount(mine, weights=held, minlength=len(first))
    # Classes are sorted by name, so the first of a set names it whatever the order of rows.
    names = [str(name) for name in part.label.names[present[first]]]
    return _Sets(
        of_class=of_class,
        pictures=np.bincount(mine, weights=pictures).astype(np.int64),
        classes=np.bincount(mine),
        may_leave=few == 0,
        order=np.argsort(seeded_ranks(names, seed), kind="stable"),
    )


def _remarks(part: Manifest, sets: _Sets, name: str) -> list[str]:
    names = part.label.names
    counts = np.bincount(part.label.codes[part.label.codes >= 0], minlength=len(names))
    notes = []
    single = names[(counts > 0) & (counts < LEAST)]
    if len(single):
        notes.append(
            f"{len(single)} {name} have a single picture and can only be trained on: "
            f"{shortened(single, 20)}."
        )
    joined = [
        " + ".join(str(one) for one in names[sets.of_class == number])
        for number in np.flatnonzero(sets.classes > 1)
    ]
    if joined:
        notes.append(
            f"{name.capitalize()} that share objects or files are in one split: "
            f"{shortened(joined, 10)}."
        )
    return notes


def _too_few(part: Manifest, sets: _Sets, code: int, *, splits: int, wholes: Wholes) -> DataError:
    name = wholes.name
    usable = int(sets.classes[sets.may_leave].sum())
    together = (sets.classes > 1).any()
    fewer = (
        "only one split with data.test_fraction=0"
        if splits > 2
        else f"none with data.{SPLITS[code]}_fraction=0"
    )
    return DataError(
        f"There are too few {name} to carve a {SPLITS[code]} split of whole {name}.",
        expected=f"{LEAST} {name} for each of {splits} splits, each with {LEAST} pictures or more"
        + (f" and {wholes.alone}" if together else ""),
        got=f"{int(sets.classes.sum())} {name}, of which {usable} have {LEAST} pictures or more",
        where=part.root,
        remedy=f"add {name}, carve {fewer}, {wholes.remedy}",
    )
