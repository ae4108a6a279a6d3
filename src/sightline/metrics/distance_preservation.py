"""How much of the distances of one space is left in another: ranks near by, and all of them.

Q queries, N vectors of the pool. `x` is the space whose distances are to be kept, `z` the one
they are looked for in. A query is left out of its own pool by its row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats
from sightline.metrics.distance_blocks import (
    Rows,
    Space,
    checked_rows,
    checked_self_rows,
    distances_in_blocks,
)
from sightline.metrics.neighbours import TOLERANCE


def trustworthiness(
    x: Space,
    z_rows: npt.ArrayLike,
    *,
    self_rows: npt.ArrayLike | None = None,
    memory_mib: int = 256,
) -> Floats:
    """Return for each query how far neighbours found in z are from being neighbours in x; (Q,).

    Venna & Kaski, Neighborhood preservation in nonlinear projection methods (2001), equation 1:
    1 - 2 / (k (2n - 3k - 1)) times the sum of r - k over those of the k nearest in z whose rank r
    in x is above k; n counts the query too. 1 is best, 0 worst; the mean over all vectors is
    theirs. ``z_rows`` (Q, k) are rows of the pool without the query, whose own row is in
    ``self_rows`` (Q,), -1 or None for none. Vectors equally far in x share the best of their ranks.

    Raises DataError for k >= n / 2, where it is not defined.

    >>> line = np.float32([[0], [1], [2], [3], [4]])
    >>> trustworthiness(Space(line[:1], line), [[4]], self_rows=[0]).tolist()
    [0.0]
    """
    return _kept_ranks(x, z_rows, self_rows, memory_mib)


def continuity(
    z: Space,
    x_rows: npt.ArrayLike,
    *,
    self_rows: npt.ArrayLike | None = None,
    memory_mib: int = 256,
) -> Floats:
    """Return for each query how far its neighbours in x are from being neighbours in z; (Q,).

    Venna & Kaski (2001), equation 2: trustworthiness with the spaces exchanged, so what is lost
    counts and not what came in. ``x_rows`` (Q, k) are its k nearest in x without itself; range,
    ties and errors as there.

    >>> line = np.float32([[0], [1], [2], [3], [4]])
    >>> continuity(Space(line[:1], line), [[1]], self_rows=[0]).tolist()
    [1.0]
    """
    return _kept_ranks(z, x_rows, self_rows, memory_mib)


def rank_correlation(
    x: Space, z: Space, *, self_rows: npt.ArrayLike | None = None, memory_mib: int = 256
) -> Floats:
    """Return Spearman's correlation of each query's distances in x and in z; (Q,) in -1..1.

    Spearman (1904), equal distances with the mean of their ranks: Pearson's correlation of the
    ranks over the pool without the query. NaN where all distances of a query are equal.

    >>> line = np.float32([[0], [1], [3]])
    >>> rank_correlation(Space(line[:1], line), Space(-line[:1], -line), self_rows=[0]).tolist()
    [1.0]
    """
    from scipy.stats import rankdata

    own = _checked_spaces(x, z, self_rows)
    found = np.empty(len(own))
    for part, kept, distances in _both(x, z, own, memory_mib):
        # Nearest of all in both spaces, the query itself moves all other ranks by one.
        ranks = [rankdata(np.where(kept, one, -np.inf), axis=1) for one in distances]
        count = kept.sum(axis=1, keepdims=True)
        centred = [
            np.where(kept, one - np.where(kept, one, 0).sum(axis=1, keepdims=True) / count, 0)
            for one in ranks
        ]
        products = [
            np.einsum("qn,qn->q", one, other)
            for one, other in ((centred[0], centred[1]), (centred[0],) * 2, (centred[1],) * 2)
        ]
        scale = np.sqrt(products[1] * products[2])
        found[part] = np.where(scale > 0, products[0] / np.where(scale > 0, scale, 1), np.nan)
    return np.clip(found, -1.0, 1.0)


def normalised_stress(
    x: Space,
    z: Space,
    *,
    self_rows: npt.ArrayLike | None = None,
    best_scale: bool = False,
    memory_mib: int = 256,
) -> float:
    """Return the root of the squared errors of all distances in z over those of x squared.

    sqrt(sum (d_x - d_z)^2 / sum d_x^2), Kruskal's stress-1 (Multidimensional scaling by optimizing
    goodness of fit, 1964, section 3) with the distances themselves for his monotone fit, and
    divided by those of x, which do not depend on z. 0 is best; all of z in one point gives 1.
    ``best_scale`` first multiplies d_z by the number that makes it smallest, for spaces in which
    only ratios matter. NaN where all distances in x are 0.

    >>> line = np.float32([[0], [1], [3]])
    >>> spaces = Space(line, line), Space(2 * line, 2 * line)
    >>> normalised_stress(*spaces), normalised_stress(*spaces, best_scale=True)
    (1.0, 0.0)
    """
    own = _checked_spaces(x, z, self_rows)
    errors = squares = products = others = 0.0
    for _, kept, (far, found) in _both(x, z, own, memory_mib):
        far, found = far[kept], found[kept]
        errors += float(np.square(far - found).sum())
        squares, others = squares + float(far @ far), others + float(found @ found)
        products += float(far @ found)
    if not squares:
        return float("nan")
    if best_scale:
        errors = max(0.0, squares - products**2 / others) if others else squares
    return float(np.sqrt(errors / squares))


def _kept_ranks(
    space: Space, rows: npt.ArrayLike, self_rows: npt.ArrayLike | None, memory_mib: int
) -> Floats:
    chosen, own = checked_rows(rows, space), checked_self_rows(self_rows, space)
    k = chosen.shape[1]
    others = len(space.pool) - (own >= 0)
    _check_chosen(chosen, own, int(others.min(initial=len(space.pool))))
    found = np.empty(len(own))
    for part, distances in distances_in_blocks(space, memory_mib=memory_mib):
        _hide(distances, own[part], np.inf)
        far = np.take_along_axis(distances, chosen[part], axis=1)
        # Equal up to rounding is not nearer.
        limits = far - TOLERANCE * np.abs(far)
        nearer = [(distances < limits[:, at : at + 1]).sum(axis=1) for at in range(k)]
        # With r - 1 nearer ones the rank is r.
        excess = np.maximum(np.stack(nearer, axis=1) + 1 - k, 0).sum(axis=1)
        found[part] = 1 - 2 * excess / (k * (2 * others[part] - 3 * k + 1))
    return found


def _check_chosen(chosen: Rows, own: Rows, others: int) -> None:
    k = chosen.shape[1]
    if not 1 <= k < (others + 1) / 2:
        raise DataError(
            f"Ranks beyond {k} neighbours have no scale in a pool of {others} others.",
            expected=f"k from 1 to less than {(others + 1) / 2:g}",
            got=k,
            remedy="take fewer neighbours or a larger pool",
        )
    if (chosen < 0).any() or (chosen == own[:, None]).any():
        raise DataError(
            "A query's neighbours hold the query itself or nothing.",
            expected="rows of the pool other than its own",
            where=f"query {int(((chosen < 0) | (chosen == own[:, None])).any(axis=1).argmax())}",
            remedy="leave it out with without_self",
        )


def _checked_spaces(x: Space, z: Space, self_rows: npt.ArrayLike | None) -> Rows:
    shapes = [(len(one.queries), len(one.pool)) for one in (x, z)]
    if shapes[0] != shapes[1]:
        raise DataError(
            "Two spaces do not hold the same vectors.",
            expected="as many queries and vectors of the pool in one as in the other",
            got=f"{shapes[0][0]} and {shapes[0][1]}, {shapes[1][0]} and {shapes[1][1]}",
        )
    return checked_self_rows(self_rows, x)


def _both(
    x: Space, z: Space, own: Rows, memory_mib: int
) -> Iterator[tuple[slice, npt.NDArray[np.bool_], tuple[Floats, Floats]]]:
    """Blocks of both spaces, and which of their distances are not to the query itself."""
    blocks = (distances_in_blocks(space, memory_mib=memory_mib // 2) for space in (x, z))
    for (part, far), (_, found) in zip(*blocks, strict=True):
        kept = np.ones(far.shape, dtype=np.bool_)
        _hide(kept, own[part], False)
        yield part, kept, (far, found)


def _hide(table: npt.NDArray[Any], own: Rows, value: float) -> None:
    inside = np.flatnonzero(own >= 0)
    table[inside, own[inside]] = value
