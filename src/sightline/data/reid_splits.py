"""Carves validation, and a test where there is none, from whole identities that can be found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sightline.data.class_splits import LEAST, Wholes, carve_wholes, shared_with_fit
from sightline.data.manifest import Manifest, shortened
from sightline.data.splits import Codes, complete_splits

_NAME = "identities"
_REMEDY = "or say which identities are val and test by folders or a column of splits"
_ONE_REMEDY = "or correct the folder, column or pattern that names identities"


def assign_identity_splits(
    manifest: Manifest, *, test_fraction: float, val_fraction: float, seed: int
) -> tuple[Manifest, list[str]]:
    """The manifest with every row in fit, val, test, query or gallery, and sentences about it.

    As assign_class_splits does: splits of the data are kept, validation is carved from the
    identities of train, and a test only from data without any split. Identities with a single
    picture stay in fit. Where every picture has a camera, so do those seen by one camera, because a
    query of theirs has nothing to find; if too few are left without them, they may leave too.

    Raises DataError where a split cannot have two identities.
    """

    def carve(part: Manifest, shares: dict[int, float]) -> tuple[Codes, list[str]]:
        remedy = _REMEDY if len(part.label.names) > 1 else _ONE_REMEDY
        stay, notes = _seen_once(part, splits=len(shares))
        wholes = Wholes(_NAME, "no file of another identity", remedy, stay)
        codes, more = carve_wholes(part, shares, seed=seed, wholes=wholes)
        return codes, [*notes, *more]

    divided, notes = complete_splits(
        manifest, carve, test_fraction=test_fraction, val_fraction=val_fraction
    )
    shared = shared_with_fit(divided, ("val", "test", "query"), _NAME)
    return divided, [*notes, *shared]


def _seen_once(part: Manifest, *, splits: int) -> tuple[npt.NDArray[np.bool_] | None, list[str]]:
    """Identities (C,) that have to stay in fit for want of a second camera, and a sentence."""
    labels, cameras = part.label.codes, part.camera.codes
    if (cameras < 0).any():
        return None, []
    count, known = len(part.label.names), labels >= 0
    pairs = np.unique(np.stack([labels, cameras], axis=1)[known], axis=0)
    seen = np.bincount(pairs[:, 0], minlength=count)
    once = (seen == 1) & (np.bincount(labels[known], minlength=count) >= LEAST)
    if not once.any():
        return None, []
    names = shortened(part.label.names[once])
    if (seen > 1).sum() < LEAST * splits:
        return None, [
            f"{once.sum()} identities are seen by one camera only, and too few by two to validate "
            f"on: {names}."
        ]
    return once, [
        f"{once.sum()} identities are seen by one camera only and stay in training, because under "
        f"the camera rule they could not be found: {names}."
    ]
