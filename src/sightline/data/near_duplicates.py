"""Finds pictures that look the same though their bytes differ: resized, re-encoded, brightened."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sightline.data.fingerprints import THUMBNAIL
from sightline.data.manifest import Integers

Pairs = npt.NDArray[np.int64]
"""(P, 2): row numbers, the smaller first."""

# Of the 64 bits at most this many may differ for a pair to be looked at. With 6 bands some pairs
# that differ in 6 bits are missed; those with 5 never are.
_MOST_BITS = 6
_BANDS = ((0, 11), (11, 11), (22, 11), (33, 11), (44, 10), (54, 10))
# Neighbours compared in each sorted band: bounds the work where thousands share a hash.
_WINDOW = 16
# What may be left of the difference once brightness and contrast agree (root mean square, against
# the deviation of the picture itself), never held finer than what decoders and resizers disagree
# by, nor coarser than another photograph of the same scene.
_RESIDUAL = 0.063
_FINEST_LEVELS, _COARSEST_LEVELS = 1.1, 3.5
# A thumbnail that varies less holds no picture to recognise.
_LEAST_DEVIATION = 8.0
_BLOCK = 65_536


def near_duplicates(thumbnails: npt.NDArray[np.uint8], rows: Integers) -> Pairs:
    """Pairs among the given rows of thumbnails (N, 288) that show the same picture.

    Candidates share a band of a 64-bit difference hash; each is then compared by its thumbnail,
    with brightness and contrast made equal. Reference for the hash: N. Krawetz, "Kind of Like
    That", The Hacker Factor Blog, 2013.
    """
    varied = np.concatenate(
        [
            rows[block][_deviation(thumbnails[rows[block]]) >= _LEAST_DEVIATION]
            for block in _blocks(len(rows))
        ]
        or [rows]
    )
    hashes = np.empty(len(varied), np.uint64)
    for block in _blocks(len(varied)):
        hashes[block] = difference_hash(thumbnails[varied[block]])
    found = [
        varied[pairs][_alike(thumbnails, varied[pairs])]
        for pairs in _candidates(hashes)
        if len(pairs)
    ]
    if not found:
        return np.empty((0, 2), np.int64)
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def difference_hash(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The 64-bit hash (N,) of thumbnails (N, 288): which pixels outshine their left one."""
    width, height = THUMBNAIL
    grey = thumbnails.reshape(-1, height // 2, 2, width // 2, 2).sum(axis=(2, 4), dtype=np.int16)
    bits = (grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(grey), 64)
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


def joined(pairs: Pairs, count: int) -> Integers:
    """A number (N,) per row that is equal for rows linked by pairs, directly or through others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1]))
    graph = coo_array(links, shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, start + _BLOCK)


def _deviation(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.asarray(thumbnails.std(axis=1, dtype=np.float32), np.float32)


def _candidates(hashes: npt.NDArray[np.uint64]) -> Iterator[Pairs]:
    """Blocks of pairs whose hashes share a band and differ in few bits."""
    for first, length in _BANDS:
        band = (hashes >> np.uint64(first)) & np.uint64((1 << length) - 1)
        order = np.lexsort((hashes, band))
        band, sorted_hashes = band[order], hashes[order]
        for step in range(1, min(_WINDOW, len(order) - 1) + 1):
            differing = np.bitwise_count(sorted_hashes[step:] ^ sorted_hashes[:-step])
            near = np.flatnonzero((band[step:] == band[:-step]) & (differing <= _MOST_BITS))
            for block in _blocks(len(near)):
                yield np.stack([order[near[block]], order[near[block] + step]], axis=1)


def _alike(thumbnails: npt.NDArray[np.uint8], pairs: Pairs) -> npt.NDArray[np.bool_]:
    """Which pairs (P,) of rows have thumbnails that agree up to brightness and contrast."""
    one, other = (thumbnails[pairs[:, side]].astype(np.float32) for side in (0, 1))
    one -= one.mean(axis=1, keepdims=True)
    other -= other.mean(axis=1, keepdims=True)
    deviation, other_deviation = one.std(axis=1), other.std(axis=1)
    gain = (one * other).mean(axis=1) / other_deviation**2
    residual = (one - gain[:, None] * other).std(axis=1)
    # The fit runs towards the first picture; the paler of the two sets the scale.
    paler = np.minimum(deviation, other_deviation)
    residual *= paler / deviation
    allowed = np.clip(_RESIDUAL * paler, _FINEST_LEVELS, _COARSEST_LEVELS)
    return np.asarray((gain > 0) & (residual <= allowed), np.bool_)
