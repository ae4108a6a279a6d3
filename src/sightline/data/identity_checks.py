"""Findings about data for re-identification: who asks for whom, and who can never be found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sightline.data.findings import MOST_EXAMPLES, Finding
from sightline.data.manifest import SPLITS, Integers, Manifest
from sightline.data.reid_camera_checks import camera_findings
from sightline.data.reid_protocol import (
    NOT_IN_GALLERY,
    SAME_CAMERA_ONLY,
    ReidProtocol,
    SameCamera,
    reid_protocol,
    require_answerable,
)
from sightline.data.reid_rows import Remark
from sightline.data.roles import ROLE_NAMES, TRAIN_ROLE, roles
from sightline.errors import DataError

JUDGED = ("test", "val")
"""Splits whose protocol is explained; query and gallery are the test."""


def identity_findings(
    manifest: Manifest, remarks: Sequence[Remark], divided: Manifest, *, same_camera: SameCamera
) -> Iterator[Finding]:
    """How identities will be judged, and what of them cannot be.

    `manifest` and `remarks` are those of read_identities(..., require_files=False), `divided` the
    same samples with every split carved. Nothing is read from the disk, and nothing here raises.
    """
    for remark in remarks:
        text = remark.text.removeprefix(f"{remark.count} ").removesuffix(".")
        yield Finding(remark.severity, remark.kind, remark.count, text)
    yield from _unlabelled(manifest)
    yield from _counts(manifest)
    yield from _shared(manifest)
    yield from camera_findings(manifest)
    for split in JUDGED:
        yield from _judged(divided, split, same_camera)


def as_one_gallery(manifest: Manifest, *, same_camera: SameCamera) -> Manifest:
    """The manifest as leaks between splits are looked for: a query that does not see the pictures
    of its identity by its own camera may well have a copy of itself in the gallery.
    """
    try:
        protocol = reid_protocol(manifest, "test", same_camera=same_camera)
    except DataError:
        return manifest
    if protocol.own_gallery or not protocol.filters_camera:
        return manifest
    is_query = manifest.split == SPLITS.index("query")
    return manifest.with_split(np.where(is_query, SPLITS.index("gallery"), manifest.split))


def _unlabelled(manifest: Manifest) -> Iterator[Finding]:
    rows = np.flatnonzero(manifest.label.codes < 0)
    if len(rows):
        yield Finding(
            "error",
            "no_identity",
            len(rows),
            "pictures have no label, which says the identity",
            _names(manifest.id, rows),
            "fill in the identities, or remove these rows",
        )


def _counts(manifest: Manifest) -> Iterator[Finding]:
    """How many pictures and cameras identities have; what is learnt from single pictures."""
    pictures = _per_identity(manifest, np.arange(len(manifest)))
    present = np.flatnonzero(pictures)
    if not len(present):
        return
    text = f"identities, {_range(pictures[present], 'picture')} each"
    cameras = _cameras_per_identity(manifest)[present]
    if cameras.any():
        text += f", seen by {_range(cameras, 'camera')}"
    yield Finding("info", "identity_counts", len(present), text)
    learnt = np.flatnonzero(roles(manifest) == TRAIN_ROLE)
    single = np.flatnonzero(_per_identity(manifest, learnt) == 1)
    if len(single):
        yield Finding(
            "warning",
            "identity_with_one_picture",
            len(single),
            "identities of train have a single picture: nothing shows what they have in common "
            "with themselves",
            _names(manifest.label.names, single),
            "add pictures of them; losses that compare pictures see the same one again",
        )


def _shared(manifest: Manifest) -> Iterator[Finding]:
    """Identities that are learnt and judged: the score would be that of known ones."""
    labels, role = manifest.label.codes, roles(manifest)
    learnt = np.unique(labels[role == TRAIN_ROLE])
    asked = np.isin(role, [ROLE_NAMES.index(name) for name in ("val", "test", "query")])
    shared = np.intersect1d(learnt, np.unique(labels[asked]))
    shared = shared[shared >= 0]
    if len(shared):
        yield Finding(
            "warning",
            "identity_learnt_and_judged",
            len(shared),
            "identities of train are in val, test or query too: the score would be better than for "
            "identities never seen",
            _names(manifest.label.names, shared),
            "move each to one side; if the same name means someone else there, rename it",
        )


def _judged(divided: Manifest, split: str, same_camera: SameCamera) -> Iterator[Finding]:
    """The protocol of a split in words, and whoever has nothing to find in it."""
    try:
        protocol = reid_protocol(divided, split, same_camera=same_camera)
    except DataError as error:
        remedy = str(error.remedy)
        yield Finding("error", "protocol", 1, f"protocol of {split}: {error.what}", (), remedy)
        return
    if not len(protocol.queries):
        return
    count = len(protocol.queries)
    yield Finding("info", "protocol", count, f"protocol of {split}: {protocol.said}")
    try:
        require_answerable(divided, protocol)
    except DataError as error:
        what = f"queries of {split} have no picture to find: nothing could be scored"
        yield Finding("error", "nothing_to_find", count, what, (), str(error.remedy))
        return
    yield from _unmatched(divided, split, protocol)


def _unmatched(divided: Manifest, split: str, protocol: ReidProtocol) -> Iterator[Finding]:
    labels = divided.label.codes[protocol.queries]
    camera_only = protocol.reasons == SAME_CAMERA_ONLY
    absent = protocol.reasons == NOT_IN_GALLERY
    names = divided.label.names
    if camera_only.any():
        found = np.unique(labels[camera_only])
        yield Finding(
            "warning",
            "no_second_camera",
            len(found),
            f"identities of {split} have pictures that no other camera took one of: "
            f"{camera_only.sum():,} queries cannot be asked",
            _names(names, found),
            "add pictures by another camera, or let the same camera count with "
            "eval.same_camera=keep",
        )
    if absent.any():
        found = np.unique(labels[absent])
        yield Finding(
            "warning",
            "single_picture_in_test" if protocol.own_gallery else "query_without_gallery",
            len(found),
            f"identities of {split} have a single picture there"
            if protocol.own_gallery
            else f"identities of query are missing from the gallery: {absent.sum():,} queries "
            "cannot be asked",
            _names(names, found[found >= 0]),
            "add pictures of them, or move them to train"
            if protocol.own_gallery
            else "add pictures of them to the gallery, or write their names alike",
        )


def _per_identity(manifest: Manifest, rows: Integers) -> Integers:
    """Pictures (C,) of each identity among some rows."""
    labels = manifest.label.codes[rows]
    return np.bincount(labels[labels >= 0], minlength=len(manifest.label.names))


def _cameras_per_identity(manifest: Manifest) -> Integers:
    """Known cameras (C,) of each identity."""
    labels, cameras = manifest.label.codes, manifest.camera.codes
    known = (labels >= 0) & (cameras >= 0)
    pairs = np.unique(np.stack([labels, cameras], axis=1)[known], axis=0)
    return np.bincount(pairs[:, 0], minlength=len(manifest.label.names))


def _range(counts: Integers, what: str) -> str:
    """Such as `2 to 9 pictures`."""
    least, most = int(counts.min()), int(counts.max())
    number = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return f"{number} {what}" + ("" if most == 1 else "s")


def _names(texts: npt.NDArray[np.generic], rows: Integers) -> tuple[str, ...]:
    return tuple(str(texts[row]) for row in rows[:MOST_EXAMPLES])
