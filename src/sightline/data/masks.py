"""Reads masks of defects, and the upright size of a picture without decoding it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sightline.data.broken_files import BROKEN
from sightline.data.defect_labels import NORMAL
from sightline.data.manifest import Manifest
from sightline.errors import DataError

Mask = npt.NDArray[np.bool_]
"""(H, W), True where there is a defect."""

THRESHOLD = 127
"""Greys above it are defect: masks saved as JPEG, or resized, have greys between 0 and 255."""
MOST_REGIONS = 31
"""A lossless mask without any value above this one holds numbers of regions, 0 for none."""

_LOSSY = ("JPEG", "WEBP")


class MaskSizeError(DataError):
    """A mask of another size than its picture."""


def read_mask(path: Path, size: tuple[int, int]) -> Mask:
    """The mask of a picture whose upright size is (height, width).

    A pixel is defect where its grey is above THRESHOLD. Grey is the brightest of the channels, so
    that a red mark counts as a white one, and transparent pixels are black. Three kinds of mask
    have no greys: where a lossless file has one value beside 0, where none of its values is above
    MOST_REGIONS (the numbers of regions as in VisA), and where a palette has colours, everything
    but 0, or black, is defect. All False is allowed: some data sets have defects nobody marked.

    Raises DataError for a file that is no picture and for a mask of another size.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            is_lossless = image.format not in _LOSSY
            ImageOps.exif_transpose(image, in_place=True)
            has_colours = image.mode == "P"
            values = _greys(image)
    except UnidentifiedImageError as error:
        raise _unreadable(path, "not an image") from error
    except BROKEN as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    if values.shape[:2] != size:
        raise MaskSizeError(
            "A mask has another size than its picture.",
            expected=_words(size),
            got=_words((values.shape[0], values.shape[1])),
            where=path,
            remedy="export it again at the size of the picture, or remove it; `sightline check` "
            "lists every such mask",
        )
    if values.ndim == 3:
        has_colours &= bool((values != values[..., :1]).any())
        values = values.max(axis=-1)
    else:
        has_colours = False
    highest = values.max(initial=0)
    one_value = bool(((values == 0) | (values == highest)).all()) and bool((values == 0).any())
    numbers_regions = is_lossless and (highest <= MOST_REGIONS or one_value)
    return np.asarray(values > (0 if numbers_regions or has_colours else THRESHOLD))


def picture_mask(manifest: Manifest, row: int) -> Mask | None:
    """The mask of one row at the size of its upright picture; None for a defect without a mask.

    That of a normal picture is all False. Raises DataError as read_mask and image_size do.
    """
    path = str(manifest.mask[row])
    is_good = manifest.label.text(row) == NORMAL
    if not path and not is_good:
        return None
    size = image_size(manifest.file(row))
    return np.zeros(size, np.bool_) if is_good else read_mask(manifest.root / path, size)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture set upright by its EXIF tag, from the header alone.

    Raises DataError for a file that cannot be read or is no picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = _orientation(image, path)
    except UnidentifiedImageError as error:
        raise _unreadable(path, "not an image") from error
    except BROKEN as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    return (width, height) if orientation >= 5 else (height, width)


def _greys(image: Image.Image) -> npt.NDArray[Any]:
    """Values 0..255, (H, W) or for colours (H, W, 3)."""
    if image.mode == "F":
        values = np.asarray(image)
        # Floating point masks are 0..1 by convention, unless a value says otherwise.
        return values * 255 if values.max(initial=0) <= 1 else values
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image)
        return deep if deep.max(initial=0) <= 255 else deep >> 8
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image, path: Path) -> int:
    if image.format == "TIFF":
        return 1  # Pillow has its size upright already.
    # Pillow decodes a PNG to look for an EXIF block after its pixels; few have one anywhere.
    if image.format == "PNG" and "exif" not in image.info:
        content = path.read_bytes()
        if not any(name in content for name in (b"eXIf", b"exif", b"adobe.xmp")):
            return 1
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _words(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]} pixels (width x height)"


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(
        "A picture cannot be read.",
        got=why,
        where=path,
        remedy="repair or remove it; `sightline check` lists every such file",
    )
