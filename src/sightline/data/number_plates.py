"""Writes a small set for re-identification: plates of two handwritten digits, by four cameras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.decode import Pixels
from sightline.data.written_once import Content, write_once
from sightline.random_numbers import generator

WIDTH, HEIGHT = 48, 32
PLATES = 99
"""Identities, called 0001 to 0099 after the number that is written on them."""
EACH = 2
"""Pictures of a plate by each camera."""


class _Camera(NamedTuple):
    """How a camera shows what is before it."""

    light: float
    """Factor of all values."""
    tint: tuple[float, float, float]
    """Factors of red, green and blue."""
    blur: float
    """Radius in pixels."""
    place: tuple[int, int]
    """How far right and down the plate is from the middle, in pixels."""


_CAMERAS = (
    _Camera(1.0, (1.0, 1.0, 1.0), 0.0, (0, 0)),
    _Camera(0.55, (1.0, 0.85, 0.65), 0.6, (-3, 2)),
    _Camera(0.8, (0.7, 0.9, 1.0), 1.2, (3, -2)),
    _Camera(0.4, (0.8, 1.0, 0.75), 0.8, (2, 3)),
)
CAMERAS = len(_CAMERAS)
COUNT = PLATES * CAMERAS * EACH
"""Pictures."""
_DIGIT_SIZES = (17, 21)
"""Least and greatest height of a digit, in pixels."""
_PLATE, _AROUND, _INK = 225.0, 110.0, 215.0
_NOISE = 6.0
_TEST_FOLDERS = ("query", "bounding_box_test")
_CONTENT = Content(
    "the number plates",
    ("bounding_box_train/*.png", "query/*.png", "bounding_box_test/*.png"),
    COUNT,
)

Values = npt.NDArray[np.float64]


def write_number_plates(folder: Path) -> Path:
    """Write colour PNG files of HEIGHT x WIDTH pixels in the layout of Market-1501; the folder.

    Every plate is seen twice by each of four cameras, which differ in light, tint, blur and
    position, and each picture shows digits of its own: no handwriting is used twice. A third of the
    plates are the test, one picture of each camera in `query` and one in `bounding_box_test`. The
    same bytes every time. A folder that already holds them all is left alone.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    Raises DataError where the folder exists with other content or cannot be written.
    """
    return write_once(folder, _CONTENT, _write)


def _write(folder: Path) -> None:
    from PIL import Image

    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (folder / name).mkdir()
    digits = _handwriting()
    for frame in range(COUNT):
        plate, view = divmod(frame, CAMERAS * EACH)
        camera, again = divmod(view, EACH)
        plate += 1
        split = "bounding_box_train" if plate % 3 else _TEST_FOLDERS[again]
        name = f"{plate:04d}_c{camera + 1}s1_{frame:06d}_00.png"
        pair = [next(digits[number]) for number in divmod(plate, 10)]
        Image.fromarray(_seen(pair, _CAMERAS[camera], name)).save(folder / split / name)


def _handwriting() -> list[Iterator[Pixels]]:
    """For each digit its 8 x 8 pictures of 0..255, each once."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    values = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return [iter(values[bunch.target == digit]) for digit in range(10)]


def _seen(digits: list[Pixels], camera: _Camera, name: str) -> Pixels:
    """A picture (HEIGHT, WIDTH, 3) of a plate by a camera; what is random depends on the name."""
    from PIL import Image, ImageFilter

    random = generator(0, 0, f"number plate {name}")
    right, down = (np.array(camera.place) + random.integers(-1, 1, 2, endpoint=True)).tolist()
    scene = np.full((HEIGHT, WIDTH), _AROUND) + random.uniform(-30, 30)
    top, left = 3 + down, 4 + right
    scene[max(top, 0) : top + HEIGHT - 6, max(left, 0) : left + WIDTH - 8] = _PLATE
    for place, digit in enumerate(digits):
        height = int(random.integers(*_DIGIT_SIZES, endpoint=True))
        width = round(height * 0.85)
        large = Image.fromarray(digit).resize((width, height), Image.Resampling.BILINEAR)
        ink = np.asarray(large, np.float64) / 255
        row = top + (HEIGHT - 6 - height) // 2
        column = left + (WIDTH - 8) * (1 + 2 * place) // 4 - width // 2
        _draw(scene, ink, row, column)
    blurred = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(camera.blur)
    )
    light = camera.light * random.uniform(0.85, 1.15)
    colours = np.asarray(blurred, np.float64)[..., None] * np.array(camera.tint) * light
    colours += random.normal(0, _NOISE, colours.shape)
    shown: Pixels = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return shown


def _draw(scene: Values, ink: Values, row: int, column: int) -> None:
    """Darken the scene where there is ink, 0..1; what lies outside is lost."""
    bottom, end = min(row + ink.shape[0], HEIGHT), min(column + ink.shape[1], WIDTH)
    top, left = max(row, 0), max(column, 0)
    scene[top:bottom, left:end] -= (
        _INK * ink[top - row : bottom - row, left - column : end - column]
    )
