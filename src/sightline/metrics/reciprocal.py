"""k-reciprocal neighbours, their expansion and their weights, as sparse tables of N rows.

Sections are those of Zhong, Zheng, Cao & Li, Re-ranking Person Re-identification with
k-reciprocal Encoding (CVPR 2017). A set of neighbours of each of N vectors is a table (N, N) that
holds a one for each member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sightline.metrics.all_neighbours import AllNeighbours
from sightline.metrics.classification import Counts
from sightline.metrics.ranking import Scores
from sightline.metrics.stacked_vectors import StackedVectors

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_ROWS = 8192
"""Of a table that are expanded at once."""
_PAIR_BYTES = 32 << 20
"""Of vectors in float32 that are gathered for distances at once."""


def reciprocal_sets(near: Counts, k1: int) -> csr_matrix:
    """Return R* of section 3.2 from the nearest neighbours (N, k), each its own first, k > k1.

    R(p, k) are the k nearest and p itself, as far as p is among theirs too. R(q, k1 / 2) of a
    member q joins R(p, k1) where more than two thirds of it are in there already.
    """
    from scipy.sparse import vstack

    whole = _mutual(near[:, : k1 + 1])
    # As the authors' program does: half to even, and more than two thirds, not as many.
    half = _mutual(near[:, : int(np.around(k1 / 2)) + 1])
    enough = 2 / 3 * np.diff(half.indptr)
    parts = []
    for at in range(0, len(near), _ROWS):
        some = whole[at : at + _ROWS]
        overlap = (some @ half).multiply(some).tocsr()
        overlap.data = (overlap.data > enough[overlap.indices]).astype(np.float32)
        overlap.eliminate_zeros()
        parts.append(some + overlap @ half)
    return vstack(parts, format="csr")


def set_weights(sets: csr_matrix, vectors: StackedVectors, near: AllNeighbours) -> csr_matrix:
    """Return the Gaussian weights of section 3.3 of the members of each set, that sum to one.

    exp(-d) of the squared distance d divided by the largest one of the row.
    """
    from scipy.sparse import csr_matrix

    n = len(vectors)
    rows = np.repeat(np.arange(n), np.diff(sets.indptr))
    distances, known = _known_distances(rows * n + sets.indices, near)
    step = max(1, _PAIR_BYTES // (4 * max(1, vectors.gallery.shape[1])))
    unknown = np.flatnonzero(~known)
    for at in range(0, len(unknown), step):
        piece = unknown[at : at + step]
        apart = vectors.take(rows[piece])
        apart -= vectors.take(sets.indices[piece])
        distances[piece] = np.einsum("pd,pd->p", apart, apart)
    weights = np.exp(-distances / near.farthest[rows])
    sums = np.bincount(rows, weights=weights, minlength=n)
    weights = (weights / sums[rows]).astype(np.float32)
    return csr_matrix((weights, sets.indices, sets.indptr), shape=(n, n))


def _known_distances(pairs: Counts, near: AllNeighbours) -> tuple[Scores, npt.NDArray[np.bool_]]:
    """Distances of pairs, each a row times N and another row, and which are among the nearest."""
    n = len(near.rows)
    order = np.argsort(near.rows, axis=1)
    ordered = np.take_along_axis(near.rows, order, axis=1)
    ordered += np.arange(n)[:, None] * n
    ordered = ordered.reshape(-1)
    places = np.minimum(np.searchsorted(ordered, pairs), len(ordered) - 1)
    distances = np.take_along_axis(near.distances, order, axis=1).reshape(-1)
    return distances[places], ordered[places] == pairs


def neighbour_means(weights: csr_matrix, near: Counts) -> csr_matrix:
    """Return the mean of the weights of the nearest (N, k2) of each: local query expansion.

    Section 3.4; the row itself is the first of its nearest, so k2 = 1 changes nothing.
    """
    means = _ones(near) @ weights
    means.data /= np.float32(near.shape[1])
    return means


def _mutual(near: Counts) -> csr_matrix:
    """The neighbours of each whose neighbour it is."""
    ones = _ones(near)
    return ones.multiply(ones.T).tocsr()


def _ones(near: Counts) -> csr_matrix:
    from scipy.sparse import csr_matrix

    n, k = near.shape
    data = np.ones(n * k, dtype=np.float32)
    return csr_matrix((data, near.reshape(-1), np.arange(n + 1) * k), shape=(n, n))
