"""JSON text of plain data, with null where a number is not finite."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return valid JSON: JSON has no NaN or infinity, so those become null; paths become text.

    A value JSON has no form for (a tensor, an array) is a TypeError, never a guess.
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
