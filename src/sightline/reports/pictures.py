"""Sample pictures made small enough to stand in a figure or inside a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def open_thumbnail(file: Path, *, side: int) -> Image.Image | None:
    """Return the picture upright, in RGB, within ``side`` x ``side`` pixels; None if unreadable.

    Transparent parts become white. Small pictures are not enlarged.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            opened.draft("RGB", (side * 2, side * 2))  # a JPEG is decoded small where it can be
            upright = ImageOps.exif_transpose(opened)
            upright.thumbnail((side, side), reducing_gap=2.0)
            return _flatten(upright)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return None


def picture_uri(picture: Image.Image) -> str:
    """Return a picture as a data URI of a JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _flatten(picture: Image.Image) -> Image.Image:
    from PIL import Image

    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    if picture.mode in {"I", "I;16", "I;16B", "F"}:
        low, high = picture.getextrema()
        scale = 255.0 / (float(high) - float(low) or 1.0)  # type: ignore[arg-type]
        return picture.convert("F").point(lambda v: (v - float(low)) * scale).convert("RGB")  # type: ignore[arg-type]
    return picture.convert("RGB")
