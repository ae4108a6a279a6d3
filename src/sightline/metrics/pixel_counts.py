"""Counts the pixels of heat maps in bins of their score: anomalous, normal, and region shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats
from sightline.metrics.score_bins import CELLS, Keys, ScoreBins, cells_of, ordered_keys

PixelImages: TypeAlias = Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
"""Item i is a map (H, W) float32 and a mask (H, W) bool; an item may be read several times."""

Flags = npt.NDArray[np.bool_]

_AT_ONCE = 1 << 16
"""Pixels that are worked on at a time: their intermediate results stay in the cache."""
_KIND_BINS = 1 << 14
_IMAGE_BINS = (64, 1024)
"""Fewest and most bins of one image; between them as many as make `_IMAGE_CELLS` in all."""
_IMAGE_CELLS = 1 << 18


@dataclass(frozen=True)
class PixelCounts:
    """Histograms over bins in rising order of score.

    ``anomalous``, ``normal`` and ``overlap`` are (K,): how many pixels, and the shares of regions
    (each region adds 1 in all). ``by_kind`` (kinds, 3, fewer bins) and ``by_image`` (N, 3, fewer
    bins) hold the same three for each kind and image, empty where they were not asked for.
    """

    anomalous: Floats
    normal: Floats
    overlap: Floats
    by_kind: Floats
    by_image: npt.NDArray[np.float32]
    n_regions: int


def count_pixels(
    images: PixelImages,
    *,
    kinds: npt.NDArray[np.int64] | None = None,
    n_kinds: int = 0,
    by_image: bool = False,
    regions: bool = True,
) -> PixelCounts:
    """Return the histograms of all images; ``kinds`` (N,) gives each image's kind, 0..n_kinds-1.

    Raises DataError for a map or mask of the wrong shape, a NaN, or images that are not the same
    when read again.
    """
    bins = _fitting_bins(images)
    total = np.zeros((3, bins.size + 1))
    of_kind = np.zeros((n_kinds, 3, _KIND_BINS if n_kinds else 1))
    width = int(np.clip(_IMAGE_CELLS // max(len(images), 1), *_IMAGE_BINS)) if by_image else 1
    of_image = np.zeros((len(images) if by_image else 0, 3, width), dtype=np.float32)
    kind_groups, image_groups = bins.merged(of_kind.shape[-1]), bins.merged(width)
    n_regions = 0
    for index, (scores, mask) in enumerate(_checked(images)):
        shares, found = region_shares(mask) if regions else (np.zeros(0), 0)
        n_regions += found
        for keys, flags, part in _parts(scores, mask, shares):
            places = bins.numbers(keys)
            _add(total, places, flags, part)
            if kinds is not None:
                _add(of_kind[kinds[index]], kind_groups[places], flags, part)
            if by_image:
                _add_few(of_image[index], image_groups[places], flags, part)
    if total[:, -1].any():
        raise DataError(
            "The heat maps changed between two readings.",
            expected="the same map each time an image is read",
            got=f"{int(total[:2, -1].sum())} pixels with scores that were not there before",
            remedy="score the images in eval mode, without random augmentation",
        )
    return PixelCounts(total[0, :-1], total[1, :-1], total[2, :-1], of_kind, of_image, n_regions)


def region_shares(mask: Flags) -> tuple[Floats, int]:
    """Return one over the area of its region for each True pixel in row order, and the regions.

    Pixels that touch at an edge or a corner are one region.

    >>> shares, regions = region_shares(np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]], bool))
    >>> shares.tolist(), regions
    ([1.0, 0.5, 0.5, 1.0], 3)
    """
    if not mask.any():
        return np.zeros(0), 0
    from scipy import ndimage

    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    regions, number = ndimage.label(box, structure=np.ones((3, 3), dtype=bool))
    chosen = regions[box]
    areas = np.bincount(chosen, minlength=number + 1).astype(np.float64)
    areas[0] = 1.0
    return (1.0 / areas)[chosen], int(number)


def _fitting_bins(images: PixelImages) -> ScoreBins:
    """Bins for half the weight on anomalous pixels, however few they are, and half on normal."""
    cells = np.zeros((2, CELLS))
    for scores, mask in _checked(images):
        for keys, flags, _ in _parts(scores, mask, np.zeros(0)):
            places = cells_of(keys)
            np.add.at(cells[1], places, 1.0)
            if flags is not None:
                np.add.at(cells[0], places[flags], 1.0)
    cells[1] -= cells[0]
    totals = cells.sum(axis=1, keepdims=True)
    return ScoreBins.fit((cells / np.maximum(totals, 1)).sum(axis=0))


def _checked(images: PixelImages) -> Iterator[tuple[npt.NDArray[np.float32], Flags]]:
    for index in range(len(images)):
        values, marks = images[index]
        scores, mask = np.asarray(values, dtype=np.float32), np.asarray(marks, dtype=bool)
        if scores.ndim != 2 or scores.shape != mask.shape:
            raise DataError(
                "A heat map and its mask do not belong together.",
                expected="two arrays of one shape (H, W)",
                got=f"a map of shape {scores.shape} and a mask of shape {mask.shape}",
                where=f"image {index}",
            )
        check_map(scores, index)
        yield scores, mask


def check_map(scores: npt.NDArray[np.float32], index: int) -> None:
    """Raise a DataError that names the image if its map holds a NaN."""
    if scores.size and np.isnan(scores.max()):
        raise DataError(
            "A heat map holds values that are no numbers.",
            expected="a map without NaN",
            got=f"{int(np.isnan(scores).sum())} NaN among {scores.size} pixels",
            where=f"image {index}",
        )


def _parts(
    scores: npt.NDArray[np.float32], mask: Flags, shares: Floats
) -> Iterator[tuple[Keys, Flags | None, Floats]]:
    """Keys, mask (None without a True) and shares of an image, some rows at a time."""
    flat, marks = scores.reshape(-1), mask.reshape(-1)
    done = 0
    for start in range(0, len(flat), _AT_ONCE):
        flags = marks[start : start + _AT_ONCE]
        number = int(np.count_nonzero(flags))
        keys = ordered_keys(flat[start : start + _AT_ONCE])
        yield keys, flags if number else None, shares[done : done + number]
        done += number


def _add(table: Floats, places: npt.NDArray[Any], flags: Flags | None, shares: Floats) -> None:
    """Count pixels in the rows anomalous, normal, overlap of a (3, K) table."""
    np.add.at(table[1], places, 1.0)
    if flags is not None:
        chosen = places[flags]
        np.add.at(table[0], chosen, 1.0)
        np.add.at(table[1], chosen, -1.0)
        if len(shares):
            np.add.at(table[2], chosen, shares)


def _add_few(
    table: npt.NDArray[np.float32], places: npt.NDArray[Any], flags: Flags | None, shares: Floats
) -> None:
    """The same for few bins; sums of a part at a time, since float32 stops counting at 2^24."""
    width = table.shape[-1]
    total = np.bincount(places, minlength=width)
    if flags is not None:
        chosen = places[flags]
        anomalous = np.bincount(chosen, minlength=width)
        total -= anomalous
        table[0] += anomalous
        table[2] += np.bincount(chosen, weights=shares, minlength=width)
    table[1] += total
