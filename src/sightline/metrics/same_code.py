"""Gallery rows with the same code as a query: what is relevant to it, what is left out for it.

Q queries, N gallery rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.metrics.classification import Counts
from sightline.metrics.vectors import whole_numbers


class Members(NamedTuple):
    """Gallery rows with the same code as a query."""

    rows: Counts
    """(N,) gallery rows in the order of their codes."""
    starts: Counts
    """(Q,)"""
    ends: Counts
    """(Q,)"""

    def of(self, query: int) -> Counts:
        """Return the gallery rows of one query, ascending."""
        return self.rows[self.starts[query] : self.ends[query]]


def relevant_and_out(
    sizes: tuple[int, int],
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    exclude: tuple[npt.ArrayLike, npt.ArrayLike] | None,
) -> tuple[Members, Members | None]:
    """Return what is relevant to each query by its label, and what is left out by its code.

    ``sizes`` are Q and N; codes below 0 leave nothing out. Raises DataError where lengths differ.
    """
    labels = whole_numbers(query_labels, sizes[0]), whole_numbers(gallery_labels, sizes[1])
    if exclude is None:
        return same_code(*labels), None
    codes = whole_numbers(exclude[0], sizes[0]), whole_numbers(exclude[1], sizes[1])
    return same_code(*labels), same_code(*codes, from_code=0)


def same_code(queries: Counts, gallery: Counts, from_code: int | None = None) -> Members:
    """Return the members of each query's code; none where that is below ``from_code``."""
    rows = np.argsort(gallery, kind="stable")
    ordered = gallery[rows]
    starts, ends = (np.searchsorted(ordered, queries, side) for side in ("left", "right"))
    if from_code is not None:
        ends = np.where(queries >= from_code, ends, starts)
    return Members(rows, starts, ends)
