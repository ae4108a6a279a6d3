"""Writes the handwritten digits that ship with scikit-learn as a folder of pictures per class."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from sightline.errors import DataError

COUNT = 1797
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_digits(folder: Path) -> Path:
    """Write 1,797 grey PNG files of 8x8 pixels into ``folder/<digit>/`` and return the folder.

    The same bytes every time. A folder that already holds them all is left alone; the files are
    made beside it and moved in one step, so a process killed meanwhile leaves no half set.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    Raises DataError where the folder exists with other content or cannot be written.
    """
    if folder.exists():
        _require_digits(folder)
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
        _require_digits(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


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


def _require_digits(folder: Path) -> None:
    found = sum(1 for _ in folder.glob("[0-9]_*/*.png")) if folder.is_dir() else 0
    if found != COUNT:
        raise DataError(
            f"{folder} exists and does not hold the handwritten digits.",
            expected=f"no folder, or one with the {COUNT} pictures",
            got=f"{found} pictures",
            remedy="name another folder with data.digits=FOLDER, or remove this one",
        )


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"The handwritten digits cannot be written to {folder}: {error.strerror}.",
        remedy="name a folder you may write to with data.digits=FOLDER",
    )
