"""The true mask of a picture, read from its file, and its outline drawn so that it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.data import masks
from sightline.data.masks import MaskSizeError, image_size
from sightline.errors import DataError

Mask = npt.NDArray[np.bool_]


def read_mask(
    path: str, roots: Sequence[Path], picture_file: Path, size: tuple[int, int]
) -> tuple[Mask | None, str]:
    """Return the mask at the drawn picture's ``size`` (width, height) and "", or None and why.

    Every drawn pixel that the defect touches counts, so a thin crack does not vanish.
    """
    from PIL import Image

    if not path:
        return None, "no mask given"
    file = find_file(path, roots)
    if file is None:
        return None, "mask file not found"
    try:
        height, width = image_size(picture_file)
        defect = masks.read_mask(file, (height, width))
    except MaskSizeError:
        return None, "the mask has another size than the picture: not drawn"
    except DataError:
        return None, "mask file not readable"
    drawn = Image.fromarray(np.where(defect, np.uint8(255), np.uint8(0)))
    mask = np.asarray(drawn.resize(size, Image.Resampling.BOX)) > 0
    return (mask, "") if mask.any() else (None, "the mask is empty")


def draw_outline(pixels: npt.NDArray[np.uint8], mask: Mask) -> npt.NDArray[np.uint8]:
    """Return the picture (H, W, 3) with a white line around the mask (H, W) between black ones.

    Black and white together are seen on any ground. The white line lies just outside the mask.
    """
    white = _grow(mask) & ~mask
    black = _grow(white) & ~white
    drawn = pixels.copy()
    drawn[black] = drawn[black] // 4
    drawn[white] = 255
    return drawn


def find_file(path: str, roots: Sequence[Path]) -> Path | None:
    """Return the file of a path: under each root in turn, then as it stands; None if nowhere."""
    # An absolute path stands for itself: joining it to a root gives it back.
    places = [root / path for root in (*roots, Path())] if path else []
    return next((place for place in places if place.is_file()), None)


def _grow(mask: Mask) -> Mask:
    """The mask and the pixels beside it, above it and below it."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
