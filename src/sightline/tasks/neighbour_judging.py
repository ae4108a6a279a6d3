"""How many of the nearest neighbours in one space are still the nearest in another.

Q queries, N vectors of the pool. `x` is the space whose neighbours are right, `z` the one they are
searched in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats
from sightline.metrics.distance_blocks import (
    Rows,
    Space,
    checked_rows,
    checked_self_rows,
    row_distances,
)
from sightline.metrics.neighbours import neighbour_recall, without_self
from sightline.search.exact import nearest
from sightline.search.neighbours import Neighbours


def judge_neighbours(
    x: Space,
    z: Space,
    *,
    ks: Sequence[int],
    self_rows: npt.ArrayLike | None = None,
    truth: Neighbours | None = None,
    memory_mib: int = 512,
) -> dict[int, Floats]:
    """Return recall@k of each query (Q,) for every k, by exact search of both spaces.

    The same vectors in the same order are in both. ``self_rows`` (Q,) is each query's own row of
    the pool, which is no neighbour; -1, or None for all, where it is not in it. ``truth`` saves
    the search of x where it was made before (``true_neighbours`` with the largest k). Memory:
    `memory_mib` MiB and the lists of neighbours.

    Raises DataError for spaces of other sizes, vectors that are not finite, and a k that the pool
    does not hold besides the query.

    >>> x = np.float32([[0, 0], [0, 1], [0, 3], [5, 0]])
    >>> z = x[:, 1:]
    >>> judge_neighbours(Space(x, x), Space(z, z), ks=[1], self_rows=range(4))[1].tolist()
    [0.0, 1.0, 1.0, 1.0]
    """
    if (len(x.queries), len(x.pool)) != (len(z.queries), len(z.pool)):
        raise DataError(
            "The two spaces do not hold the same vectors.",
            expected=f"{len(x.queries)} queries and a pool of {len(x.pool)} in both",
            got=f"{len(z.queries)} queries and a pool of {len(z.pool)} in the second",
        )
    most = max(ks, default=1)
    if truth is None:
        truth = true_neighbours(x, most, self_rows=self_rows, memory_mib=memory_mib)
    found = true_neighbours(z, most, self_rows=self_rows, memory_mib=memory_mib)
    return judge_rows(x, found.rows, truth, ks=ks, self_rows=self_rows)


def true_neighbours(
    space: Space, k: int, *, self_rows: npt.ArrayLike | None = None, memory_mib: int = 512
) -> Neighbours:
    """Return the k nearest of each query in the pool without the query itself, by exact search.

    Rows of (Q, k) and distances, the nearest first, equally near ones in ascending order of the
    row. Raises DataError for a k that the pool does not hold besides the query.
    """
    own = checked_self_rows(self_rows, space)
    more = int((own >= 0).any())
    others = len(space.pool) - more
    if not 1 <= k <= others:
        raise DataError(
            f"There are no {k} neighbours in a pool of {len(space.pool)} vectors.",
            expected=f"k from 1 to {others}" + (", the query itself not counted" * more),
            got=k,
            remedy="ask for fewer neighbours, or compare with more vectors",
        )
    # One more than k is enough: where copies of a query keep it off the list, all are as near.
    found = nearest(space.queries, space.pool, k + more, metric=space.metric, memory_mib=memory_mib)
    rows, distances = without_self(found.rows, found.distances, self_rows=own, k=k)
    return Neighbours(distances.astype(np.float32), rows)


def judge_rows(
    x: Space,
    found: npt.ArrayLike,
    truth: Neighbours,
    *,
    ks: Sequence[int],
    self_rows: npt.ArrayLike | None = None,
) -> dict[int, Floats]:
    """Return recall@k of each query (Q,) for every k, of neighbours that were found anyhow.

    ``found`` (Q, K) are rows of the pool without the query, the nearest first, -1 for none, as an
    approximate index or a quantiser gives them; ``truth`` is from ``true_neighbours`` in x.
    Raises DataError for a row that is found twice for one query, and for its own (``self_rows``).
    """
    rows = checked_rows(found, x)
    _check_unrepeated(rows, checked_self_rows(self_rows, x))
    most = max(ks, default=1)
    found_distances = row_distances(x, rows[:, :most])
    # The list of the search is in float32: measured alike, equal pairs are equally far.
    reference = np.sort(row_distances(x, truth.rows[:, :most]), axis=1)
    return {k: neighbour_recall(reference, found_distances, k=k) for k in ks}


def _check_unrepeated(rows: Rows, own: Rows) -> None:
    ordered = np.sort(rows, axis=1)
    repeated = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    itself = ((rows == own[:, None]) & (own[:, None] >= 0)).any(axis=1)
    for bad, what in ((repeated, "twice for one query"), (itself, "that is the query itself")):
        if bad.any():
            raise DataError(
                f"A neighbour was found {what}.",
                expected="different rows for each query, its own not among them",
                got=f"{int(bad.sum())} of {len(rows)} queries with such a row",
                where=f"query {int(bad.argmax())}",
            )
