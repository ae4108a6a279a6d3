"""From the bytes of an image file to upright RGB pixels of a bounded size."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) RGB, 0..255."""

VERSION = 1
"""Changes whenever the same bytes would be decoded to other pixels; caches carry it in their name."""


def decode(data: bytes, shorter_side: int | None = None) -> Pixels:
    """RGB pixels of an encoded image, upright by its EXIF tag, shrunk to a shorter side.

    Images already smaller keep their size. A JPEG at least twice too large is decoded at a
    fraction of its size (libjpeg's scaled DCT), then resized with antialiasing. 16-bit greys keep
    their upper byte; transparency is dropped. Raises OSError or ValueError for bytes that are no
    complete image.
    """
    with Image.open(io.BytesIO(data)) as image:
        if shorter_side is not None:
            image.draft("RGB", _shrunk(image.size, shorter_side))
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(_rgb(upright))
    if shorter_side is None or min(pixels.shape[:2]) <= shorter_side:
        return np.ascontiguousarray(pixels)
    width, height = _shrunk((pixels.shape[1], pixels.shape[0]), shorter_side)
    return np.ascontiguousarray(resize(pixels, height=height, width=width))


def resize(pixels: Pixels, *, height: int, width: int) -> Pixels:
    """The image at another size: bilinear, antialiased when it shrinks."""
    writable = pixels if pixels.flags.writeable and pixels.flags.c_contiguous else pixels.copy()
    planes = torch.from_numpy(writable).permute(2, 0, 1).unsqueeze(0)
    smaller = torch.nn.functional.interpolate(
        planes, size=(height, width), mode="bilinear", antialias=True
    )
    result: Pixels = smaller.squeeze(0).permute(1, 2, 0).numpy()
    return result


def _shrunk(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    """Width and height scaled so that the shorter one is `shorter_side`, never enlarged."""
    scale = min(1.0, shorter_side / max(min(size), 1))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _rgb(image: Image.Image) -> Image.Image:
    """The image in RGB; 16-bit and palette images are brought there without clipping or warnings."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values: Any = np.asarray(image)
        scaled = values >> 8 if values.max(initial=0) > 255 else values
        return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
