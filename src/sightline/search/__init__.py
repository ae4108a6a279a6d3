"""Nearest neighbours: exact search, and galleries that are searched by one engine or another.

The public names below are imported when they are first used, so importing the package is free.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.search.exact import nearest
    from sightline.search.gallery import Gallery
    from sightline.search.index import Index, build_index, recall_against_exact
    from sightline.search.neighbours import Metric, Neighbours
    from sightline.search.saved import open_gallery, verify_gallery, write_gallery
    from sightline.search.settings import IndexSettings
    from sightline.search.writer import GalleryWriter

__all__ = [
    "Gallery",
    "GalleryWriter",
    "Index",
    "IndexSettings",
    "Metric",
    "Neighbours",
    "build_index",
    "nearest",
    "open_gallery",
    "recall_against_exact",
    "verify_gallery",
    "write_gallery",
]

_HOMES = {
    "Gallery": "sightline.search.gallery",
    "GalleryWriter": "sightline.search.writer",
    "Index": "sightline.search.index",
    "IndexSettings": "sightline.search.settings",
    "Metric": "sightline.search.neighbours",
    "Neighbours": "sightline.search.neighbours",
    "build_index": "sightline.search.index",
    "nearest": "sightline.search.exact",
    "open_gallery": "sightline.search.saved",
    "recall_against_exact": "sightline.search.index",
    "verify_gallery": "sightline.search.saved",
    "write_gallery": "sightline.search.saved",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline.search' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
