"""Findings about data for anomaly detection: masks, defects in train, too few normal pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sightline.data.defect_folders import RULE
from sightline.data.defect_labels import is_normal
from sightline.data.findings import MOST_EXAMPLES, Finding, Severity
from sightline.data.manifest import Manifest
from sightline.data.masks import image_size, read_mask
from sightline.data.roles import ROLE_NAMES, TRAIN_ROLE, roles
from sightline.errors import DataError

FEW_NORMAL = 20
"""With fewer normal training pictures a threshold for 5 % false alarms has too few to rest on."""


def defect_findings(manifest: Manifest, *, unused_masks: Sequence[str] = ()) -> Iterator[Finding]:
    """What is wrong with the masks and splits of normal pictures and defects.

    `manifest` is that of read_manifest(..., require_files=False), before splits are made;
    `unused_masks` those that belong to no picture. Every mask is read; nothing here raises for one.
    """
    yield from _training_findings(manifest)
    yield from _mask_findings(manifest)
    yield from _finding(
        "error",
        "mask_without_picture",
        "masks belong to no picture",
        list(unused_masks),
        f"rename or remove them: {RULE}",
    )


def _training_findings(manifest: Manifest) -> Iterator[Finding]:
    normal, role = is_normal(manifest), roles(manifest)
    given = manifest.split > 0
    yield from _finding(
        "error",
        "defect_in_training",
        "defects are in train, where only normal pictures are learnt from",
        _paths(manifest, ~normal & given & (role == TRAIN_ROLE)),
        "move them to test/TYPE, or correct their labels",
    )
    learnt = int((normal & (role == TRAIN_ROLE)).sum())
    if not learnt:
        yield Finding(
            "error",
            "no_normal_picture_in_training",
            1,
            "there is no normal picture to learn from",
            remedy="add pictures to train/good, or correct the labels",
        )
    elif learnt < FEW_NORMAL:
        yield Finding(
            "warning",
            "few_normal_pictures",
            learnt,
            f"normal pictures to learn from and to set a threshold with, fewer than {FEW_NORMAL}",
            remedy="add normal pictures; a small budget of false alarms needs many",
        )
    in_test = role == ROLE_NAMES.index("test")
    if in_test.any() and len(np.unique(normal[in_test])) == 1:
        kind = "normal pictures" if normal[in_test].all() else "defects"
        yield Finding(
            "warning",
            "test_of_one_class",
            int(in_test.sum()),
            f"pictures of the test are all {kind}: scores that compare the two are undefined",
            remedy="add the other kind to the test",
        )


def _mask_findings(manifest: Manifest) -> Iterator[Finding]:
    lost: list[str] = []
    bad: list[str] = []
    empty: list[str] = []
    for row in np.flatnonzero(manifest.mask != "").tolist():
        name = str(manifest.mask[row])
        path = manifest.root / name
        if not path.is_file():
            lost.append(name)
            continue
        try:
            size = image_size(manifest.file(row))
        except DataError:
            continue  # A picture that cannot be read is a finding of its own.
        try:
            if not read_mask(path, size).any():
                empty.append(name)
        except DataError as error:
            got = f"{error.got}, not {error.expected}" if error.expected else f"{error.got}"
            bad.append(f"{name} ({got})")
    yield from _finding(
        "error",
        "missing_mask",
        "masks are not there",
        lost,
        "restore them, or empty their fields: pixel scores then leave the pictures out",
    )
    yield from _finding(
        "error",
        "unfit_mask",
        "masks have another size than their picture, or cannot be read",
        bad,
        "export them again at the size of their pictures, or remove them",
    )
    yield from _finding(
        "warning",
        "empty_mask",
        "defects have a mask without any defect",
        empty,
        "mark the defects, or remove the masks: pixel scores leave such a picture out",
    )
    bare = ~is_normal(manifest) & (manifest.mask == "")
    yield from _finding(
        "info",
        "defect_without_mask",
        "defects have no mask; pixel scores leave them out",
        _paths(manifest, bare),
        "",
    )


def _paths(manifest: Manifest, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[str]:
    return [str(path) for path in manifest.path[np.flatnonzero(rows)]]


def _finding(
    severity: Severity, kind: str, what: str, found: Sequence[str], remedy: str
) -> Iterator[Finding]:
    """One finding, or none where nothing was found."""
    if found:
        yield Finding(severity, kind, len(found), what, tuple(found[:MOST_EXAMPLES]), remedy)
