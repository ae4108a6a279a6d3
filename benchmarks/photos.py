"""JPEG photos for the loader benchmark, made from those that ship with scikit-image.

Each is another crop, flip and brightness of one of nine photos, scaled to the size asked for, with
the faint grain of a camera, which upscaling takes away and which costs a decoder time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from interleave import WORK

SIZES = {"500x375": ((500, 375), 400), "1600x1200": ((1600, 1200), 120)}
CLASSES = 4
QUALITY = 90


def photo_folder(name: str) -> Path:
    """The folder of one size, with a folder per class; made on the first call."""
    folder = WORK / f"photos-{name}"
    (width, height), count = SIZES[name]
    done = folder / ".complete"
    if not done.exists():
        print(f"making {count} photos of {name}", flush=True)
        sources = _sources()
        for index in range(count):
            place = folder / f"class_{index % CLASSES}" / f"{index:04d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            source = sources[index % len(sources)]
            picture = _variant(source, width, height, np.random.default_rng(index))
            picture.save(place, quality=QUALITY)
        done.touch()
    return folder


def _sources() -> list[Image.Image]:
    from skimage import data

    arrays = [
        data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.hubble_deep_field(),
        data.immunohistochemistry(), data.retina(), *data.stereo_motorcycle()[:2],
    ]  # fmt: skip
    return [Image.fromarray(array[..., :3]) for array in arrays]


def _variant(
    source: Image.Image, width: int, height: int, generator: np.random.Generator
) -> Image.Image:
    share = generator.uniform(0.6, 1.0)
    crop_width = min(source.width, source.height * width / height) * share
    crop_height = crop_width * height / width
    left = generator.uniform(0, source.width - crop_width)
    top = generator.uniform(0, source.height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    picture = source.resize((width, height), Image.Resampling.BICUBIC, box=box)
    if generator.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values: npt.NDArray[np.float32] = np.asarray(picture, np.float32)
    grain = generator.normal(0, 3, (height, width, 1)).astype(np.float32)
    values = values * np.float32(generator.uniform(0.85, 1.15)) + grain
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    for size in sys.argv[1:] or SIZES:
        print(photo_folder(size))
