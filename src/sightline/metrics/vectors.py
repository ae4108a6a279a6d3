"""Checks of embeddings and of the codes that belong to them, before anything is scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts

Vectors = npt.NDArray[Any]

_PIECE = 8192
"""Rows that are looked at together."""


def check_vectors(queries: Vectors, gallery: Vectors) -> None:
    """Raise a DataError unless (Q, D) and (N, D) are finite and cannot overflow when multiplied."""
    shapes = [np.shape(one) for one in (queries, gallery)]
    if any(len(one) != 2 for one in shapes) or shapes[0][1] != shapes[1][1]:
        raise DataError(
            "Queries and gallery do not belong together.",
            expected="shapes (Q, D) and (N, D)",
            got=f"shapes {shapes[0]} and {shapes[1]}",
        )
    if not len(gallery):
        raise DataError("The gallery is empty.", expected="at least one vector", got=0)
    longest = [_longest(one, name) for one, name in ((queries, "queries"), (gallery, "gallery"))]
    # By Cauchy and Schwarz no score is larger than this.
    if longest[0] * longest[1] >= float(np.finfo(np.float32).max):
        raise DataError(
            "The vectors are too long: their float32 dot products may overflow.",
            expected="vectors of unit length",
            got=f"lengths up to {longest[0]:.3g} and {longest[1]:.3g}",
            remedy="divide each vector by its length first",
        )


def whole_numbers(values: npt.ArrayLike, n: int) -> Counts:
    """Return n whole numbers as (n,) int64, or raise a DataError."""
    codes = np.asarray(values)
    if codes.shape != (n,) or (n and not np.issubdtype(codes.dtype, np.integer)):
        raise DataError(
            "Labels and vectors do not belong together.",
            expected=f"{n} whole numbers, one for each vector",
            got=f"{codes.dtype}, shape {codes.shape}",
        )
    return codes.astype(np.int64)


def _longest(vectors: Vectors, name: str) -> float:
    longest = 0.0
    for at in range(0, len(vectors), _PIECE):
        piece = np.asarray(vectors[at : at + _PIECE], dtype=np.float64)
        lengths = np.sqrt(np.einsum("nd,nd->n", piece, piece))
        bad = np.flatnonzero(~np.isfinite(lengths))
        if len(bad):
            raise DataError(
                f"The {name} hold a vector that is not finite.",
                expected="finite numbers",
                where=f"row {at + bad[0]}",
            )
        longest = max(longest, float(lengths.max(initial=0)))
    return longest
