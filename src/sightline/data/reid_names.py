"""Finds identities and cameras in the names of pictures, and explains names that hold none."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sightline.data.manifest import TEXT, Category, Integers, Manifest, Strings, shortened
from sightline.errors import DataError

MARKET_PATTERN = r"^(?P<identity>-?\d+)_c(?P<camera>\d+)"
"""Market-1501 (Zheng et al. 2015), DukeMTMC-reID and VeRi-776: 0002_c1s1_000451_03.jpg."""
MSMT_PATTERN = r"^(?P<identity>-?\d+)_\d+_(?P<camera>\d+)_"
"""MSMT17 (Wei et al. 2018): 0000_000_01_0303morning_0008_0.jpg."""
_NUMBER_FIRST = r"^(?P<identity>\d+)[_-]"


class Parsed(NamedTuple):
    """What a pattern finds in N names."""

    identity: list[str]
    """(N,) the text as it is, so 0002 and 2 are two identities; empty where nothing was found."""
    camera: list[str]
    """(N,) empty where the pattern has no group for it or the group takes no part."""
    lost: Integers
    """Rows without identity."""


def parse_names(paths: Strings, pattern: str) -> Parsed:
    """What the named groups `identity` and `camera` of a pattern find in the last part of paths.

    >>> parse_names(np.array(["query/0002_c1s1_000451_03.jpg"], TEXT), MARKET_PATTERN)[:2]
    (['0002'], ['1'])
    """
    found = re.compile(pattern)
    has_camera = "camera" in found.groupindex
    identity, camera = [""] * len(paths), [""] * len(paths)
    for row, path in enumerate(paths.tolist()):
        match = found.search(path.rpartition("/")[2])
        if match is not None:
            identity[row] = match["identity"] or ""
            camera[row] = (match["camera"] or "") if has_camera else ""
    lost = np.asarray([row for row, name in enumerate(identity) if not name], np.int64)
    return Parsed(identity, camera, lost)


def require_parsed(parsed: Parsed, paths: Strings, pattern: str, *, root: Path) -> None:
    """Raise DataError with the names that hold no identity, and the key that would read them."""
    if not len(parsed.lost):
        return
    lost = paths[parsed.lost]
    raise DataError(
        f"{len(lost)} of {len(paths)} names do not say which identity they show.",
        expected=f"names that match {pattern}, such as 0002_c1s1_000451_03.jpg",
        got=shortened(lost),
        where=root,
        remedy=_proposal(paths, lost),
    )


def with_cameras(manifest: Manifest, pattern: str) -> Manifest:
    """The manifest with the camera that the pattern's one group finds in each id.

    Raises DataError for ids in which it finds nothing.
    """
    find = re.compile(pattern).search
    matches = (find(name) for name in manifest.id)
    cameras = np.asarray([match[1] or "" if match else "" for match in matches], dtype=TEXT)
    lost = np.flatnonzero(cameras == "")
    if len(lost):
        raise DataError(
            f"data.camera_pattern finds no camera in {len(lost)} of {len(cameras)} ids.",
            expected=f"ids that match {pattern}",
            got=shortened(manifest.id[lost]),
            remedy="widen the pattern, or leave it out to go on without cameras; ids of a folder "
            "are paths such as test/0002/31_left.jpg",
        )
    return replace(manifest, camera=Category.encode(cameras))


def _proposal(paths: Strings, lost: Strings) -> str:
    """What to write so that these names can be read."""
    if len(lost) < len(paths):
        return (
            "rename these pictures or move them out of the folder, or widen the pattern with "
            "data.name_pattern=REGEX"
        )
    for pattern, what in (
        (MARKET_PATTERN, "names of Market-1501"),
        (MSMT_PATTERN, "names of MSMT17"),
        (_NUMBER_FIRST, "an identity and no camera"),
    ):
        if not len(parse_names(lost, pattern).lost):
            return f"these look like {what}: data.name_pattern='{pattern}'"
    parents = {path.rpartition("/")[0] for path in lost.tolist()}
    if len(parents) >= 2 and all("/" in parent for parent in parents):
        return "where the folders are the identities, say data.layout=folders"
    return (
        "say where the identity is with data.name_pattern=REGEX and the named groups "
        "(?P<identity>...) and (?P<camera>...), sort the pictures into a folder per identity, or "
        "name a table with data.train_csv=FILE"
    )
