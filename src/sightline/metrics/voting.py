"""The class of a query by a vote of its nearest neighbours, and how clear the vote was.

Q queries, k neighbours that vote, K neighbours that were found (K > k). Only the neighbours are
looked at, so the number of classes costs nothing. Neighbours come nearest first; a distance of
infinity is a place without a neighbour, and its label is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts, Floats

NOBODY = -1
"""The class of a place to which no neighbour gave a vote."""
_SMALLEST = 1e-6
"""Added to each distance before it is inverted."""
_ROUNDING = 1e-4
"""A distance may be so far below 0: one minus a float32 cosine of equal vectors."""


class Criteria(NamedTuple):
    """Three signs of how far an answer can be relied on, (Q,) each."""

    distance: Floats
    """To the nearest neighbour; small is good, infinity where there is none."""
    margin: Floats
    concentration: Floats


@dataclass(frozen=True)
class Votes:
    """The classes of each query's neighbours by falling weight, (Q, k), and the nearest distance.

    Places beyond the classes that were voted for hold NOBODY and a share of 0.
    """

    classes: Counts
    shares: Floats
    """Weight of the class divided by that of all neighbours; 0..1, a row sums to 1."""
    nearest: Floats
    """(Q,)"""

    @property
    def winner(self) -> Counts:
        """The class with the most weight, (Q,); NOBODY where there was no neighbour."""
        return self.classes[:, 0]

    @property
    def confidence(self) -> Floats:
        """The winner's share of all weight, (Q,): the concentration of the vote."""
        return self.shares[:, 0]

    @property
    def margin(self) -> Floats:
        """(s1 - s2) / s1 of the two largest shares, (Q,): 1 for a single class, 0 for nobody."""
        second = self.shares[:, 1] if self.shares.shape[1] > 1 else np.zeros(len(self.shares))
        most = self.confidence
        return np.divide(most - second, most, out=np.zeros_like(most), where=most > 0)

    @property
    def criteria(self) -> Criteria:
        """Distance, margin and concentration, which ``reliability`` judges by."""
        return Criteria(self.nearest, self.margin, self.confidence)


def weighted_vote(distances: npt.ArrayLike, labels: npt.ArrayLike) -> Votes:
    """Return the vote of the neighbours (Q, k), each weighing 1 / (distance + 1e-6).

    The inverse distances of Dudani, The Distance-Weighted k-Nearest-Neighbor Rule (1976), with a
    small constant, so that an identical picture outweighs others but is no division by zero.
    ``distances`` ascend in each row and are not negative, so no scores; ``labels`` are whole
    numbers from 0. Of classes with equal weight the one with the nearer nearest neighbour wins,
    then the one whose neighbour comes first.

    >>> votes = weighted_vote([[0.1, 0.15, 0.15]], [[4, 9, 9]])
    >>> votes.winner.tolist(), votes.shares.round(3).tolist()
    ([9], [[0.571, 0.429, 0.0]])
    """
    away, classes = _checked(distances, labels)
    rows, k = away.shape
    weights = 1 / (away + _SMALLEST)
    # 1. Neighbours of one class side by side, in their order of distance.
    order = np.argsort(classes, axis=1, kind="stable")
    grouped = np.take_along_axis(classes, order, axis=1)
    begins = np.ones((rows, k), dtype=bool)
    begins[:, 1:] = grouped[:, 1:] != grouped[:, :-1]
    # 2. A slot for each class of a row: its weight, and the place of its nearest neighbour.
    slots = (np.cumsum(begins, axis=1) - 1) + np.arange(rows)[:, None] * k
    gathered = np.take_along_axis(weights, order, axis=1)
    sums = np.bincount(slots.ravel(), weights=gathered.ravel(), minlength=rows * k)
    first, names = np.full(rows * k, k), np.full(rows * k, NOBODY)
    first[slots[begins]], names[slots[begins]] = order[begins], grouped[begins]
    sums, first, names = (one.reshape(rows, k) for one in (sums, first, names))
    # 3. By falling weight, then by the nearest neighbour.
    ranking = np.lexsort((first, -sums), axis=1)
    total = np.maximum(sums.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    sorted_sums, sorted_names = (np.take_along_axis(one, ranking, 1) for one in (sums, names))
    return Votes(sorted_names.astype(np.int64), sorted_sums / total, away[:, 0])


def top_percentages(votes: Votes, count: int = 3) -> tuple[Counts, Floats]:
    """Return the first classes of each vote and their percentages for people, (Q, count) each.

    The weights of those classes alone, in tenths of a percent that add up to 100: each is rounded
    down, and the tenths that are missing go to the largest remainders. NOBODY has 0 percent, and
    a vote without a neighbour has nothing but that.

    >>> top_percentages(weighted_vote([[0.1, 0.2, 0.2, 0.9]], [[4, 9, 7, 5]]))[1].tolist()
    [[50.0, 25.0, 25.0]]
    """
    shares = votes.shares[:, :count]
    total = shares.sum(axis=1, keepdims=True)
    exact = np.divide(1000 * shares, total, out=np.zeros_like(shares), where=total > 0)
    tenths = np.floor(exact)
    missing = np.where(total > 0, 1000 - tenths.sum(axis=1, keepdims=True), 0)
    order = np.argsort(tenths - exact, axis=1, kind="stable")
    np.put_along_axis(
        tenths, order, np.take_along_axis(tenths, order, 1) + (_places(order) < missing), axis=1
    )
    return votes.classes[:, :count], tenths / 10


def _places(table: npt.NDArray[np.intp]) -> Counts:
    return np.broadcast_to(np.arange(table.shape[1]), table.shape)


def _checked(distances: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Counts]:
    away = np.asarray(distances, dtype=np.float64)
    classes = np.asarray(labels)
    if away.ndim != 2 or not away.shape[1] or classes.shape != away.shape:
        raise DataError(
            "Neighbours cannot vote like this.",
            expected="distances and labels of one shape (Q, k), k >= 1",
            got=f"shapes {away.shape} and {classes.shape}",
        )
    # The second condition is written so that a NaN fails it too.
    falling = away[:, 1:] < away[:, :-1]
    if falling.any() or not (away >= -_ROUNDING).all():
        raise DataError(
            "These are no distances of neighbours, nearest first.",
            expected="numbers from 0, ascending in each row",
            got=f"{int(falling.sum())} falling steps, least {away.min():.3g}",
            remedy="vote with cosine or euclidean distances, not with scores",
        )
    there = np.isfinite(away)
    if not np.issubdtype(classes.dtype, np.integer) or (classes[there] < 0).any():
        raise DataError(
            "Neighbours have labels that are no class indices.",
            expected="whole numbers from 0",
            got=f"{classes.dtype}, {int((classes[there] < 0).sum())} below 0",
        )
    return np.maximum(away, 0), np.where(there, classes, NOBODY).astype(np.int64)
