"""Writes the handwritten digits that ship with scikit-learn as a folder of pictures per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sightline.data.written_once import Content, write_once

COUNT = 1797
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_CONTENT = Content("the handwritten digits", ("[0-9]_*/*.png",), COUNT)


def write_digits(folder: Path) -> Path:
    """Write 1,797 grey PNG files of 8x8 pixels into ``folder/<digit>/`` and return the folder.

    The same bytes every time. A folder that already holds them all is left alone.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    Raises DataError where the folder exists with other content or cannot be written.
    """
    return write_once(folder, _CONTENT, _write)


def _write(folder: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Values are 0..16; full range makes them pictures a person can look at.
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    for digit, name in enumerate(_NAMES):
        (folder / f"{digit}_{name}").mkdir()
    for row, (picture, digit) in enumerate(zip(pixels, bunch.target, strict=True)):
        target = folder / f"{digit}_{_NAMES[digit]}" / f"{row:04d}.png"
        Image.fromarray(picture).save(target)
