"""Writes the handwritten digits that ship with scikit-learn as a table of vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sightline.data.written_once import Content, write_once

DIMENSION = 64
_FILE = "digits.npy"
_CONTENT = Content("the handwritten digits as vectors", (_FILE,), 1)


def write_digit_vectors(folder: Path) -> Path:
    """Write 1,797 rows of 64 grey values (0 to 16, float32) as folder/digits.npy; its path.

    A folder that already holds it is left alone.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    Raises DataError where the folder exists with other content or cannot be written.
    """
    return write_once(folder, _CONTENT, _write) / _FILE


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits

    np.save(folder / _FILE, load_digits().data.astype(np.float32))
