"""Contrast limited adaptive histogram equalisation (CLAHE)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sightline.data.decode import Pixels


def equalized_locally(pixels: Pixels, limit: float = 2.0, tiles: float = 8) -> Pixels:
    """The picture (H, W, 3) with the brightness of each neighbourhood spread over 0..255.

    Zuiderveld, "Contrast Limited Adaptive Histogram Equalization" (1994): each of tiles x tiles
    rectangles has a table from its histogram, cut off at `limit` times the mean height; a pixel's
    value lies between those of the four nearest tables. Only the luma of YCbCr is changed.
    """
    luma, *chroma = Image.fromarray(pixels).convert("YCbCr").split()
    values = np.asarray(luma)
    (rows, row_places), (columns, column_places) = (
        _grid(length, int(tiles)) for length in values.shape
    )
    tables = np.stack(
        [
            _table(values[top:bottom, left:right], limit)
            for top, bottom in rows
            for left, right in columns
        ]
    ).reshape(len(rows), len(columns), 256)
    above, below, down = row_places
    before, after, across = column_places
    down, across = down[:, None], across[None]

    def looked_up(row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> Any:
        return tables[row[:, None], column[None], values]

    upper = looked_up(above, before) * (1 - across) + looked_up(above, after) * across
    lower = looked_up(below, before) * (1 - across) + looked_up(below, after) * across
    mixed = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return np.array(Image.merge("YCbCr", [Image.fromarray(mixed), *chroma]).convert("RGB"))


def _grid(length: int, tiles: int) -> tuple[list[tuple[int, int]], tuple[Any, Any, Any]]:
    """Where tiles begin and end; and each place's tiles before and after it, and its way between.

    Places outside the outermost centres have the same tile on both sides.
    """
    count = min(tiles, length)
    edges = np.rint(np.linspace(0, length, count + 1)).astype(np.int64)
    centres = (edges[:-1] + edges[1:] - 1) / 2
    place = np.interp(np.arange(length), centres, np.arange(count))
    before = np.floor(place).astype(np.int64)
    after = np.minimum(before + 1, count - 1)
    spans = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    return spans, (before, after, (place - before).astype(np.float32))


def _table(tile: npt.NDArray[np.uint8], limit: float) -> npt.NDArray[np.float32]:
    """(256,) new values 0..255 of a tile: its cumulative histogram, what is cut off spread."""
    counts = np.bincount(tile.ravel(), minlength=256).astype(np.float64)
    highest = limit * tile.size / 256
    excess = np.maximum(counts - highest, 0).sum()
    counts = np.minimum(counts, highest) + excess / 256
    table: npt.NDArray[np.float64] = 255 * counts.cumsum() / tile.size
    return table.astype(np.float32)
