"""Findings about cameras: pictures without one, patterns that would name them, names alike."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from sightline.data.findings import MOST_EXAMPLES, Finding
from sightline.data.manifest import Category, Manifest
from sightline.data.reid_protocol import CAMERA_HINT

CAMERA_PATTERNS = (
    (r"[_/]c(\d+)", "the number after c"),
    (r"(?i)cam(?:era)?[_-]?(\d+)", "the number after cam"),
    (r"/(\d+)[_-][^/]*$", "the number that file names begin with"),
)
"""What may say the camera in an id, and its meaning in words."""


def camera_findings(manifest: Manifest) -> Iterator[Finding]:
    """Pictures whose camera is unknown, and cameras whose names are one number."""
    yield from _unknown_cameras(manifest)
    yield from _alike(manifest)


def _unknown_cameras(manifest: Manifest) -> Iterator[Finding]:
    unknown = np.flatnonzero(manifest.camera.codes < 0)
    if not len(unknown):
        return
    if len(unknown) < len(manifest):
        what = "pictures have no camera while others have one"
        examples = tuple(str(manifest.id[row]) for row in unknown[:MOST_EXAMPLES])
        remedy = f"name them too: {CAMERA_HINT}"
        yield Finding("warning", "unknown_camera", len(unknown), what, examples, remedy)
        return
    what = "pictures without a known camera: those of one camera and day find each other easily"
    yield Finding("info", "no_camera", len(unknown), what, (), _proposed_cameras(manifest))


def _proposed_cameras(manifest: Manifest) -> str:
    """A data.camera_pattern that the ids allow, or where one would come from."""
    labels, count = manifest.label.codes, len(manifest)
    for pattern, what in CAMERA_PATTERNS:
        found = [re.search(pattern, str(name)) for name in manifest.id]
        texts = [match[1] for match in found if match is not None]
        if len(texts) < count:
            continue
        cameras = Category.encode(texts)
        pairs = np.unique(np.stack([labels, cameras.codes], axis=1), axis=0)
        # A number of the picture, or of the identity, is no camera.
        per_identity = np.bincount(pairs[:, 0][pairs[:, 0] >= 0])
        if len(pairs) < count and (per_identity > 1).any():
            return (
                f"if {what} is the camera or the day, data.camera_pattern='{pattern}' names "
                f"{len(cameras.names):,} of them"
            )
    return f"if something says the camera or the day, {CAMERA_HINT}"


def _alike(manifest: Manifest) -> Iterator[Finding]:
    """Names such as 01 and 1: the rule would take one camera for two."""
    codes = np.unique(manifest.camera.codes)
    by_number: dict[int, list[str]] = {}
    for name in manifest.camera.names[codes[codes >= 0]].tolist():
        if name.isdecimal():
            by_number.setdefault(int(name), []).append(name)
    twice = [", ".join(names) for names in by_number.values() if len(names) > 1]
    if twice:
        yield Finding(
            "warning",
            "camera_number_twice",
            len(twice),
            "numbers of cameras are written in several ways and count as several cameras",
            tuple(twice[:MOST_EXAMPLES]),
            "write each camera alike if they are one; if they are several, give them other names",
        )
