"""Writes a small set for anomaly detection, made of scikit-learn's handwritten digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.data.decode import Pixels
from sightline.data.written_once import Content, write_once
from sightline.random_numbers import generator

SIDE = 32
"""Width and height of a picture; the digits' own 8 are too few to look at a heat map."""
COUNT = 284
"""Files, masks included."""

_NORMAL_DIGIT = 0
_TRAIN, _TEST, _EACH_OTHER = 110, 34, 8
_PATCH_SIDES = (9, 15)
_LEAST_CHANGE = 64
_LEAST_AREA = 24

_CONTENT = Content(
    "the digits for anomaly detection",
    ("train/*/*.png", "test/*/*.png", "ground_truth/*/*.png"),
    COUNT,
)

Mask = npt.NDArray[np.bool_]


def write_defect_digits(folder: Path) -> Path:
    """Write normal zeros and two types of defect as MVTec AD's folders and return the folder.

    train/good and test/good hold handwritten zeros, test/other_digit other digits (without mask),
    test/patched zeros onto which a piece of another digit was pasted (as CutPaste does, Li et al.
    2021), and ground_truth/patched the pixels that it changed. The same bytes every time. A folder
    that already holds them all is left alone.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    Raises DataError where the folder exists with other content or cannot be written.
    """
    return write_once(folder, _CONTENT, _write)


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pictures = [_enlarged(values) for values in bunch.images]
    normal = np.flatnonzero(bunch.target == _NORMAL_DIGIT).tolist()
    for row in normal[:_TRAIN]:
        _save(pictures[row], folder / "train" / "good", f"{row:04d}")
    for row in normal[_TRAIN : _TRAIN + _TEST]:
        _save(pictures[row], folder / "test" / "good", f"{row:04d}")
    others = [np.flatnonzero(bunch.target == digit).tolist() for digit in range(1, 10)]
    for rows in others:
        for row in rows[:_EACH_OTHER]:
            _save(pictures[row], folder / "test" / "other_digit", f"{row:04d}")
    donors = [pictures[row] for rows in others for row in rows[_EACH_OTHER : 2 * _EACH_OTHER]]
    for row in normal[_TRAIN + _TEST :]:
        picture, mask = _patched(pictures[row], donors, name=f"{row:04d}")
        _save(picture, folder / "test" / "patched", f"{row:04d}")
        _save(
            np.where(mask, 255, 0).astype(np.uint8),
            folder / "ground_truth" / "patched",
            f"{row:04d}_mask",
        )


def _enlarged(values: npt.NDArray[np.float64]) -> Pixels:
    """Greys (SIDE, SIDE) of a digit's 8 x 8 values, which are 0..16."""
    from PIL import Image

    small = np.rint(values * (255 / 16)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _patched(picture: Pixels, donors: list[Pixels], *, name: str) -> tuple[Pixels, Mask]:
    """The picture with a rectangle of a donor somewhere else, and the pixels that changed."""
    random = generator(0, 0, f"patched digit {name}")
    while True:
        donor = donors[random.integers(len(donors))]
        height, width = random.integers(*_PATCH_SIDES, 2, endpoint=True).tolist()
        rows, columns, top, left = random.integers(
            0, [SIDE - height + 1, SIDE - width + 1, SIDE - height + 1, SIDE - width + 1]
        ).tolist()
        changed = picture.copy()
        changed[top : top + height, left : left + width] = donor[
            rows : rows + height, columns : columns + width
        ]
        mask = np.abs(changed.astype(np.int16) - picture) >= _LEAST_CHANGE
        if mask.sum() >= _LEAST_AREA:
            return changed, np.asarray(changed != picture)


def _save(picture: Pixels, folder: Path, name: str) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{name}.png")
