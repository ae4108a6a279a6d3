"""Neighbours by codes: float queries against what codes stand for, block by block.

Q queries and N codes of the pool, d numbers that a code stands for, k neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.errors import DataError
from sightline.models.codec import Codec
from sightline.models.quantizers import Binary
from sightline.search.exact import nearest
from sightline.search.neighbours import Metric, Neighbours, distances_of

RESCORE = 4
"""Times k that binary codes keep by Hamming distance for the float query to choose from."""
_NUMBERS_AT_ONCE = 2**23
_NUMBERS_OF_A_CANDIDATE = 6


def find_by_codes(
    codec: Codec, queries: Tensor, codes: Tensor, k: int, *, rescore: int = RESCORE
) -> Neighbours:
    """The k nearest codes to each vector (Q, D), the nearest first, equal ones by row.

    The query is transformed but not quantised, and of the codes only a block is decoded at a time.
    Binary codes are first looked at by Hamming distance; the best `rescore` times k are then put
    into order by the float query. Raises DataError for k > N and rescore below 1.
    """
    if rescore < 1:
        raise DataError("Too few candidates are kept.", expected="rescore >= 1", got=rescore)
    if k > len(codes):
        raise DataError("There are not so many codes.", expected=f"k <= {len(codes)}", got=k)
    asked, quantizer = codec.project(queries), codec.quantizer
    if not isinstance(quantizer, Binary):
        return _nearest_in_blocks(asked, codes, k, decode=codec.decode, metric=codec.metric)
    # Seen from the centre bits are whole numbers, so that equal Hamming distances are equal.
    asked = asked - quantizer.centre
    bits = torch.where(asked > 0, 1.0, -1.0)
    found = _nearest_in_blocks(
        bits, codes, min(k * rescore, len(codes)), decode=quantizer.signs, metric="euclidean"
    )
    return _rescored(quantizer, asked, codes, found, k)


def _nearest_in_blocks(
    asked: Tensor, codes: Tensor, k: int, *, decode: Callable[[Tensor], Tensor], metric: Metric
) -> Neighbours:
    size = max(k, _NUMBERS_AT_ONCE // asked.shape[1])
    best: Neighbours | None = None
    for start in range(0, len(codes), size):
        block = decode(codes[start : start + size])
        found = nearest(asked, block, min(k, len(block)), metric=metric)
        best = _merged(best, Neighbours(found.distances, found.rows + start), k)
    assert best is not None
    return best


def _merged(best: Neighbours | None, found: Neighbours, k: int) -> Neighbours:
    if best is None:
        return found
    distances = np.concatenate([best.distances, found.distances], axis=1)
    rows = np.concatenate([best.rows, found.rows], axis=1)
    return _first(distances, rows, k)


def _first(distances: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int) -> Neighbours:
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)
    )


def _rescored(
    quantizer: Binary, asked: Tensor, codes: Tensor, found: Neighbours, k: int
) -> Neighbours:
    """The best k of candidates (Q, C) by the distance of float queries to the bits."""
    count = found.rows.shape[1]
    step = max(1, _NUMBERS_AT_ONCE // (_NUMBERS_OF_A_CANDIDATE * count * quantizer.size))
    distances = np.empty(found.rows.shape, np.float32)
    for start in range(0, len(asked), step):
        part = slice(start, start + step)
        candidates = quantizer.signs(codes[torch.from_numpy(found.rows[part].ravel())])
        each = asked[part].repeat_interleave(count, dim=0)
        distances[part] = distances_of(each, candidates, "euclidean").numpy().reshape(-1, count)
    return _first(distances, found.rows, k)
