"""Naming pictures after their nearest neighbours, with these as evidence.

Q queries, N gallery rows, D embedding size, k neighbours that vote.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.metrics.voting import Votes, leave_class_out, weighted_vote
from sightline.search.exact import nearest
from sightline.search.neighbours import Neighbours
from sightline.tasks.retrieval_protocol import Codes, Searched

Distances = npt.NDArray[np.floating[Any]]

NO_ROW = -1
MOST_UNKNOWN_NEIGHBOURS = 1024
"""A query's own class is passed over among so many neighbours; larger classes leave too few."""


class Answers(NamedTuple):
    """The vote of each query, and its neighbours, the nearest first."""

    votes: Votes
    distances: Distances
    """(Q, k), infinity where there is none."""
    rows: Codes
    """(Q, k) rows of the gallery, NO_ROW where there is none."""


def answers_from(neighbours: Neighbours, gallery_labels: Codes) -> Answers:
    """The vote of neighbours (Q, k) with labels of the gallery (N,), numbers from 0."""
    labels = gallery_labels[neighbours.rows]
    return Answers(weighted_vote(neighbours.distances, labels), *neighbours)


def answers_in(searched: Searched, top_k: int) -> Answers:
    """The answers of queries by a vote of top_k neighbours, or of all where there are fewer.

    Found by exact search, so that a score never depends on an index.
    """
    distances, rows = _visible(searched, top_k)
    labels = np.where(rows == NO_ROW, -1, searched.gallery_labels[rows])
    return Answers(weighted_vote(distances, labels), distances, rows)


def answers_without_own_class(searched: Searched, top_k: int) -> tuple[Votes, npt.NDArray[Any]]:
    """The votes as if no query's class were in the gallery, and where (Q,) enough were left.

    This is what the run would say to something it does not know, measured with the classes there
    are. Training knew them all, so something really new may look more, or less, familiar.
    """
    largest = int(np.bincount(searched.gallery_labels).max(initial=0))
    wanted = min(top_k + largest, MOST_UNKNOWN_NEIGHBOURS)
    distances, rows = _visible(searched, wanted)
    labels = np.where(rows == NO_ROW, -1, searched.gallery_labels[rows])
    k = min(top_k, distances.shape[1])
    rest = leave_class_out(distances, labels, searched.query_labels, k=k)
    has_one = np.isfinite(rest.distances[:, 0])
    enough = has_one if largest + top_k <= MOST_UNKNOWN_NEIGHBOURS else has_one & ~rest.short
    return weighted_vote(rest.distances, rest.labels), enough


def _visible(searched: Searched, k: int) -> tuple[Distances, Codes]:
    """The k nearest gallery rows that each query sees, (Q, k); infinity and NO_ROW beyond them."""
    size = len(searched.gallery)
    if searched.exclude is None:
        found = nearest(searched.queries, searched.gallery, min(k, size))
        return found.distances, found.rows
    asks, shown = searched.exclude
    most_hidden = int(np.unique(shown, return_counts=True)[1].max(initial=0))
    found = nearest(searched.queries, searched.gallery, min(k + most_hidden, size))
    hidden = shown[found.rows] == asks[:, None]
    order = np.argsort(hidden, axis=1, kind="stable")[:, : min(k, size)]
    gone = np.take_along_axis(hidden, order, axis=1)
    distances = np.take_along_axis(found.distances, order, axis=1)
    rows = np.take_along_axis(found.rows, order, axis=1)
    return np.where(gone, np.inf, distances), np.where(gone, NO_ROW, rows)
