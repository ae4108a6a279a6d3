"""Nearest neighbours: exact search, and galleries that are searched by one engine or another.

The public names below are imported when they are first used, so importing the package is free.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.search.exact import nearest
    from sightline.search.neighbours import Metric, Neighbours

__all__ = ["Metric", "Neighbours", "nearest"]

_HOMES = {
    "Metric": "sightline.search.neighbours",
    "Neighbours": "sightline.search.neighbours",
    "nearest": "sightline.search.exact",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline.search' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
