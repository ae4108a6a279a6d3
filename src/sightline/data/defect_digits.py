"""Writes a small set for anomaly detection, made of scikit-learn's handwritten digits."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.data.decode import Pixels
from sightline.errors import DataError
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

Mask = npt.NDArray[np.bool_]


def write_defect_digits(folder: Path) -> Path:
    """Write normal zeros and two types of defect as MVTec AD's folders and return the folder.

    train/good and test/good hold handwritten zeros, test/other_digit other digits (without mask),
    test/patched zeros onto which a piece of another digit was pasted (as CutPaste does, Li et al.
    2021), and ground_truth/patched the pixels that it changed. The same bytes every time. A folder
    that already holds them all is left alone; the files are made beside it and moved in one step.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    Raises DataError where the folder exists with other content or cannot be written.
    """
    if folder.exists():
        _require_complete(folder)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        beside.chmod(0o755)
        _write(beside)
        beside.rename(folder)
    except OSError as error:
        # Another process may have finished first; what it wrote is the same.
        if not folder.exists():
            raise _unwritable(folder, error) from error
        _require_complete(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


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


def _require_complete(folder: Path) -> None:
    found = 0
    if folder.is_dir():
        found = sum(len(list(folder.glob(f"{place}/*/*.png"))) for place in _PLACES)
    if found != COUNT:
        raise DataError(
            f"{folder} exists and does not hold the digits for anomaly detection.",
            expected=f"no folder, or one with the {COUNT} pictures and masks",
            got=f"{found} pictures",
            remedy="name another folder with data.digits=FOLDER, or remove this one",
        )


_PLACES = ("train", "test", "ground_truth")


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"The digits for anomaly detection cannot be written to {folder}: {error.strerror}.",
        remedy="name a folder you may write to with data.digits=FOLDER",
    )
