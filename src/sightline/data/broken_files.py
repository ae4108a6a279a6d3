"""What Pillow's readers raise for a file that is broken."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

BROKEN = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""Among them UnidentifiedImageError, which is an OSError."""
