"""How faiss-ivfpq divides a gallery into cells, and how many bytes it keeps of a vector."""

from __future__ import annotations

import math
from typing import NamedTuple

from sightline.errors import DataError
from sightline.search.settings import IndexSettings

_POINTS_PER_CENTROID = 39
"""Faiss warns where k-means has fewer points for each centroid."""
_CODES = 256
_SMALLEST = _POINTS_PER_CENTROID * _CODES
_SAMPLE_PER_LIST = 64


class Plan(NamedTuple):
    """How faiss-ivfpq divides a gallery."""

    lists: int
    probes: int
    code_bytes: int
    sample: int
    """Vectors that the cells and codes are learned from."""


def plan_cells(count: int, dimension: int, settings: IndexSettings) -> Plan:
    """Cells and codes for N vectors of D numbers, where the settings leave them open.

    4 sqrt(N) cells, so that choosing cells and looking into them cost about the same, but no more
    than have 39 vectors each to learn from; a sixteenth of them, at least 8, is looked at; a code
    of a byte for every 8 numbers, at least 16 bytes. Learned from 64 vectors for each cell and at
    least 65,536. Raises DataError for galleries that are too small to learn codes from, and for
    settings that do not fit.
    """
    if count < _SMALLEST:
        raise DataError(
            "The gallery is too small for faiss-ivfpq to learn its codes.",
            expected=f"at least {_SMALLEST} embeddings: {_POINTS_PER_CENTROID} for each of "
            f"{_CODES} codes",
            got=count,
            remedy="use index.engine=exact, which takes milliseconds at this size",
        )
    lists = settings.lists or min(round(4 * math.sqrt(count)), count // _POINTS_PER_CENTROID)
    if lists * _POINTS_PER_CENTROID > count:
        raise DataError(
            "The gallery is too small for so many cells.",
            expected=f"index.lists of at most {count // _POINTS_PER_CENTROID}",
            got=lists,
            remedy="lower index.lists, or leave it at 0",
        )
    code = settings.code_bytes or _code_bytes(dimension)
    if dimension % code:
        raise DataError(
            "A vector cannot be cut into so many equal parts.",
            expected=f"index.code_bytes that divides the dimension {dimension}",
            got=code,
            remedy=f"set index.code_bytes={_code_bytes(dimension)}, or leave it at 0",
        )
    probes = min(lists, settings.probes or default_probes(lists))
    sample = min(count, max(_CODES**2, _SAMPLE_PER_LIST * lists))
    return Plan(lists, probes, code, sample)


def default_probes(lists: int) -> int:
    """How many of so many cells are looked at."""
    return min(lists, max(8, lists // 16))


def _code_bytes(dimension: int) -> int:
    most = min(dimension, max(16, dimension // 8))
    return max(size for size in range(1, most + 1) if dimension % size == 0)
