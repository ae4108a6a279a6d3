"""Naming pictures after their nearest neighbours, with these as evidence.

Q queries, N gallery rows, D embedding size, k neighbours that vote, m that are found.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.metrics.voting import Votes, weighted_vote
from sightline.search.exact import nearest
from sightline.search.neighbours import Neighbours
from sightline.tasks.retrieval_protocol import Codes, Searched

Distances = npt.NDArray[np.floating[Any]]

NO_ROW = -1
CELLS_AT_ONCE = 1 << 22
"""Neighbours that are held at a time where a query's own must be passed over."""


MOST_VOTERS = 20
"""Neighbours that vote where nothing is said and classes are large."""


class Answers(NamedTuple):
    """The vote of each query, and its m neighbours, the nearest first."""

    votes: Votes
    distances: Distances
    """(Q, m), infinity where there is none."""
    rows: Codes
    """(Q, m) rows of the gallery, NO_ROW where there is none."""


def voters(top_k: int | None, gallery_labels: Codes) -> int:
    """How many neighbours vote in a gallery with these labels (N,), if `top_k` does not say.

    >>> voters(None, np.array([0, 0, 0, 1, 1, 1, 2])), voters(5, np.array([0, 0, 1]))
    (3, 5)
    """
    if top_k is not None:
        return top_k
    sizes = np.unique(gallery_labels, return_counts=True)[1]
    return int(np.clip(np.median(sizes), 1, MOST_VOTERS))


def answers_from(neighbours: Neighbours, gallery_labels: Codes, k: int) -> Answers:
    """The vote of the first k neighbours (Q, m); labels of the gallery (N,) count from 0."""
    labels = gallery_labels[neighbours.rows[:, :k]]
    return Answers(weighted_vote(neighbours.distances[:, :k], labels), *neighbours)


def answers_in(searched: Searched, top_k: int | None, *, shown: int = 1) -> Answers:
    """The answers of queries by a vote of `voters` neighbours, or of all where there are fewer.

    At least `shown` neighbours come with each, so far as the query sees any. Found by exact search,
    so that a score never depends on an index.
    """
    k = voters(top_k, searched.gallery_labels)
    distances, rows = _visible(searched, max(k, shown))
    labels = np.where(rows == NO_ROW, -1, searched.gallery_labels[rows])
    return Answers(weighted_vote(distances[:, :k], labels[:, :k]), distances, rows)


def answers_without_own_class(searched: Searched, top_k: int | None) -> Votes:
    """The votes of queries as if none of their classes were in the gallery.

    This is what the run would say to something it does not know, measured with the classes there
    are. Training knew them all, so something really new may look more, or less, familiar.
    """
    hidden = (searched.query_labels, searched.gallery_labels)
    return answers_in(searched._replace(exclude=hidden), top_k).votes


def _visible(searched: Searched, k: int) -> tuple[Distances, Codes]:
    """The k nearest gallery rows that each query sees, (Q, k); infinity and NO_ROW beyond them."""
    size = len(searched.gallery)
    if searched.exclude is None:
        found = nearest(searched.queries, searched.gallery, min(k, size))
        return found.distances, found.rows
    shown = searched.exclude[1]
    most_hidden = int(np.unique(shown, return_counts=True)[1].max(initial=0))
    wanted = min(k + most_hidden, size)
    step = max(1, CELLS_AT_ONCE // wanted)
    parts = [
        _unhidden(searched, slice(start, start + step), wanted, min(k, size))
        for start in range(0, len(searched.queries), step)
    ]
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])


def _unhidden(searched: Searched, part: slice, wanted: int, k: int) -> tuple[Distances, Codes]:
    """The same for some queries, of whose `wanted` nearest rows at least k are not hidden."""
    assert searched.exclude is not None
    asks, shown = searched.exclude[0][part], searched.exclude[1]
    found = nearest(searched.queries[part], searched.gallery, wanted)
    hidden = shown[found.rows] == asks[:, None]
    order = np.argsort(hidden, axis=1, kind="stable")[:, :k]
    gone = np.take_along_axis(hidden, order, axis=1)
    distances = np.take_along_axis(found.distances, order, axis=1)
    rows = np.take_along_axis(found.rows, order, axis=1)
    return np.where(gone, np.inf, distances), np.where(gone, NO_ROW, rows)
