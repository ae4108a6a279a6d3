"""Numbers in the files of a run, where a cell may be empty and a value of any type."""

from __future__ import annotations

from math import isfinite, nan
from typing import Any


def number_in(cell: str | None) -> float:
    """Return the finite number that a cell holds; NaN where it holds none.

    >>> number_in("0.25"), number_in(""), number_in("inf")
    (0.25, nan, nan)
    """
    try:
        value = float(cell or "nan")
    except ValueError:
        return nan
    return value if isfinite(value) else nan


def whole_number_in(cell: str | None) -> int:
    """Return the whole number that a cell holds; 0 where it holds none.

    >>> whole_number_in("3"), whole_number_in("3.0"), whole_number_in(None)
    (3, 3, 0)
    """
    value = number_in(cell)
    return int(value) if isfinite(value) else 0


def finite_or_none(value: Any) -> float | None:
    """Return a number of a JSON file as a float; None where it is none, or not finite.

    >>> finite_or_none(1), finite_or_none(True), finite_or_none(float("inf"))
    (1.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isfinite(value) else None
