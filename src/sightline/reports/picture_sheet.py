"""Thumbnails for a page: each file opened once, each picture in the page once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.mask_outlines import find_file
from sightline.reports.pictures import open_thumbnail, picture_uri

if TYPE_CHECKING:
    from PIL import Image

_TINY = 64


class PictureSheet:
    """The pictures of a section by a short key, so that one shown ten times is in the page once.

    ``pictures`` are plain data for the template; ``name`` begins the keys, one for each section.
    """

    def __init__(self, name: str = "picture") -> None:
        self._name = name
        self._keys: dict[int, str] = {}
        # An id is only that of one picture as long as the picture lives.
        self._kept: list[Image.Image] = []
        self.pictures: list[dict[str, Any]] = []

    def place(self, picture: Image.Image | None) -> dict[str, Any] | None:
        """Return the key and the size of a picture, which is in the sheet from now on."""
        if picture is None:
            return None
        width, height = picture.size
        key = self._keys.get(id(picture))
        if key is None:
            key = self._keys[id(picture)] = f"{self._name}-{len(self.pictures)}"
            self._kept.append(picture)
            # Pixels of a tiny picture are what there is to see: they are not smoothed.
            tiny = max(width, height) < _TINY
            one = {"key": key, "uri": picture_uri(picture), "tiny": tiny}
            self.pictures.append({**one, "width": width, "height": height})
        return {"key": key, "width": width, "height": height}


def open_thumbnails_at(
    paths: Iterable[str], roots: Sequence[Path], *, side: int, most_pixels: int | None = None
) -> dict[str, Image.Image | None]:
    """Return the picture of each path within ``side`` x ``side``; None where there is none.

    Above ``most_pixels`` a picture is made smaller: its bytes in a page go with its area.
    """
    pictures: dict[str, Image.Image | None] = {}
    for path in dict.fromkeys(paths):
        file = find_file(path, roots)
        picture = open_thumbnail(file, side=side) if file else None
        if picture is not None and most_pixels and picture.width * picture.height > most_pixels:
            shrink = sqrt(most_pixels / (picture.width * picture.height))
            picture.thumbnail((int(picture.width * shrink), int(picture.height * shrink)))
        pictures[path] = picture
    return pictures


def usual_aspect(pictures: Iterable[Mapping[str, Any] | None]) -> float:
    """Return the median width over height of placed pictures, from 1:2 to 3:2; 1 without any.

    >>> usual_aspect([{"width": 64, "height": 128}, None])
    0.5
    """
    known = sorted(one["width"] / one["height"] for one in pictures if one)
    middle = float(known[len(known) // 2]) if known else 1.0
    return round(min(max(middle, 0.5), 1.5), 2)
