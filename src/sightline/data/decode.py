"""From the bytes of an image file to upright RGB pixels of a bounded size."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sightline.data.broken_files import BROKEN

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) RGB, 0..255."""

VERSION = 1
"""Changes whenever the same bytes would give other pixels; a store has it in its name."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image with this EXIF orientation upright."""


def decode(data: bytes, shorter_side: int | None = None) -> Pixels:
    """RGB pixels of an encoded image, upright by its EXIF tag, shrunk to a shorter side.

    Images already smaller keep their size. A JPEG at least twice too large is decoded at a
    fraction of its size (libjpeg's scaled DCT), then resized with antialiasing. 16-bit greys keep
    their upper byte; transparency is dropped. Raises ValueError, which says why, for bytes that
    are no complete image.
    """
    if not data:
        raise ValueError("empty file")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if shorter_side is not None:
                image.draft("RGB", _shrunk(image.size, shorter_side))
            pixels = _decoded_jpeg(data, image)
            if pixels is None:
                ImageOps.exif_transpose(image, in_place=True)
                pixels = np.asarray(_rgb(image))
    except UnidentifiedImageError as error:
        raise ValueError("not an image") from error
    except BROKEN as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if shorter_side is None or min(pixels.shape[:2]) <= shorter_side:
        return np.ascontiguousarray(pixels)
    width, height = _shrunk((pixels.shape[1], pixels.shape[0]), shorter_side)
    result: Pixels = resize(planes(pixels), height=height, width=width)[0].permute(1, 2, 0).numpy()
    return np.ascontiguousarray(result)


def planes(pixels: Pixels) -> torch.Tensor:
    """(1, 3, H, W) uint8 in channels-last memory; shares that of writable pixels."""
    shared = pixels if pixels.flags.writeable else pixels.copy()
    # The batch dimension comes first: permuted before, it would hide the memory format from torch,
    # which would then reorder every result.
    return torch.from_numpy(shared).unsqueeze(0).permute(0, 3, 1, 2)


def resize(image: torch.Tensor, *, height: int, width: int) -> torch.Tensor:
    """The planes (1, 3, H, W) at another size: bilinear, antialiased when they shrink."""
    return torch.nn.functional.interpolate(
        image, size=(height, width), mode="bilinear", antialias=True
    )


def _decoded_jpeg(data: bytes, header: Image.Image) -> Pixels | None:
    """The pixels of a JPEG by simplejpeg, twice as fast as Pillow and equal to the last bit.

    None where that is not installed, or the file is not an ordinary grey or colour JPEG. `header`
    is the image as Pillow opened it, with the size that it would decode to.
    """
    decode_jpeg = _fast_decoder()
    if decode_jpeg is None or header.format != "JPEG" or header.mode not in ("RGB", "L"):
        return None
    width, height = header.size
    try:
        pixels: Pixels = decode_jpeg(data, min_width=width, min_height=height, min_factor=1)
    except ValueError:
        return None  # Pillow decides whether it is broken, and says how.
    if pixels.shape[:2] != (height, width):
        return None
    turn = _UPRIGHT.get(header.getexif().get(ExifTags.Base.Orientation, 1))
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


@functools.cache
def _fast_decoder() -> Callable[..., Any] | None:
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    decoder: Callable[..., Any] = decode_jpeg
    return decoder


def _shrunk(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    """Width and height scaled so that the shorter one is `shorter_side`, never enlarged."""
    scale = min(1.0, shorter_side / max(min(size), 1))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, without the clipping that Pillow does to deep greys."""
    if image.mode == "F":
        raise ValueError("its pixels are floating point numbers of unknown range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values: Any = np.asarray(image)
        # 32-bit integers are what other programs store 8 and 16 bits in; 16 bits mean 16 bits.
        narrow = image.mode == "I" and values.max(initial=0) <= 255
        upper = values if narrow else values >> 8
        return Image.fromarray(np.clip(upper, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
