"""Which part of an image a model sees, and how it is changed: drawn first, then rendered.

A view is a function of (seed, epoch, sample id) alone, so neither the number of workers nor the
order of the batches changes what a sample looks like. Lengths are pixels, colours 0..1.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sightline.data.decode import Pixels, planes, resize

if TYPE_CHECKING:
    from sightline.data.settings import AugmentConfig

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. ITU-R BT.601 weights of grey."""
FILL = np.array([124, 116, 104], np.uint8)
"""ImageNet's mean colour; what an erased rectangle is filled with."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The ranges that random views are drawn from."""

    scale: tuple[float, float]
    """Smallest and largest fraction of the image's area that is cut out."""
    ratio: tuple[float, float]
    """Narrowest and widest aspect ratio of the cut, relative to the output's."""
    flip: float
    """Probability of a mirror image."""
    rotate: float
    """Largest rotation in degrees, either way."""
    color: float
    """Largest change of brightness, contrast and saturation as a fraction."""
    erase: float
    """Probability of erasing a rectangle (Zhong et al. 2020)."""


PRESETS = {
    "none": Augmentation((1.0, 1.0), (1.0, 1.0), flip=0.0, rotate=0.0, color=0.0, erase=0.0),
    "basic": Augmentation((0.6, 1.0), (0.8, 1.25), flip=0.5, rotate=0.0, color=0.2, erase=0.0),
    "strong": Augmentation(
        (0.25, 1.0), (0.75, 4 / 3), flip=0.5, rotate=15.0, color=0.4, erase=0.25
    ),
}


def augmentation(config: AugmentConfig) -> Augmentation:
    """The preset with the values that were set instead."""
    preset = PRESETS[config.preset]
    return Augmentation(
        scale=preset.scale if config.scale is None else config.scale,
        ratio=preset.ratio,
        flip=preset.flip if config.flip is None else config.flip,
        rotate=preset.rotate if config.rotate is None else config.rotate,
        color=preset.color if config.color is None else config.color,
        erase=preset.erase if config.erase is None else config.erase,
    )


class Box(NamedTuple):
    """A rectangle: its top left corner and its size."""

    top: int
    left: int
    height: int
    width: int


class View(NamedTuple):
    """Everything random about one sample in one epoch."""

    box: Box
    mirrored: bool = False
    degrees: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    erased: Box | None = None
    """In pixels of the output."""


def generator(seed: int, epoch: int, sample: str) -> np.random.Generator:
    """The random numbers of one sample in one epoch; the same on every machine."""
    name = f"{seed}/{epoch}/{sample}".encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def central_view(height: int, width: int) -> View:
    """The largest central square; what evaluation sees."""
    side = min(height, width)
    return View(Box((height - side) // 2, (width - side) // 2, side, side))


def random_view(
    random: np.random.Generator, height: int, width: int, *, size: int, ranges: Augmentation
) -> View:
    """A random crop (Szegedy et al. 2015) with the changes the ranges allow, for a square output.

    Where no box of the ranges fits, the crop is the central square, and nothing is erased.
    """
    change = ranges.color
    draw = random.random(8).tolist()
    return View(
        box=_random_box(random, height, width, ranges.scale, ranges.ratio)
        or central_view(height, width).box,
        mirrored=draw[0] < ranges.flip,
        degrees=ranges.rotate * (2 * draw[1] - 1),
        brightness=1 + change * (2 * draw[2] - 1),
        contrast=1 + change * (2 * draw[3] - 1),
        saturation=1 + change * (2 * draw[4] - 1),
        erased=_random_box(random, size, size, (0.02, 0.33), (0.3, 3.3))
        if draw[5] < ranges.erase
        else None,
    )


def render(image: Pixels, view: View, size: int, out: Pixels) -> None:
    """Write the geometry of a view into `out` (size, size, 3); colours are left to the device."""
    top, left, height, width = view.box
    square = planes(image[top : top + height, left : left + width])
    if (height, width) != (size, size):
        square = resize(square, height=size, width=size)
    if view.degrees:
        square = _rotated(square, view.degrees)
    if view.mirrored:
        square = torch.flip(square, (3,))
    torch.from_numpy(out).permute(2, 0, 1).copy_(square[0])
    if view.erased is not None:
        top, left, height, width = view.erased
        out[top : top + height, left : left + width] = FILL


def colour_matrix(view: View, rendered: Pixels) -> npt.NDArray[np.float32]:
    """(3, 4) affine map of RGB in 0..1: brightness, then contrast about the mean grey, then
    saturation.

    The three are applied at once on the device, without clipping in between. The mean grey is
    that of every fourth pixel of every fourth row.
    """
    sample = torch.from_numpy(rendered[::4, ::4])
    mean = sample.sum((0, 1)).numpy() / (255 * sample.shape[0] * sample.shape[1])
    grey = float(mean @ LUMA) * view.brightness
    saturate = np.outer((1 - view.saturation) * np.ones(3), LUMA) + view.saturation * np.eye(3)
    matrix = np.empty((3, 4), np.float32)
    matrix[:, :3] = saturate * (view.brightness * view.contrast)
    # Saturation leaves greys as they are, so the offset that contrast adds comes through it.
    matrix[:, 3] = (1 - view.contrast) * grey
    return matrix


def _random_box(
    random: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box | None:
    """A box of random area and aspect inside the image; None when ten tries give none that fits."""
    if scale == (1.0, 1.0):
        return None
    for _ in range(10):
        area = height * width * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(random.integers(height - box_height + 1))
            left = int(random.integers(width - box_width + 1))
            return Box(top, left, box_height, box_width)
    return None


def _rotated(square: torch.Tensor, degrees: float) -> torch.Tensor:
    """The planes (1, 3, S, S) turned counter-clockwise; corners hold their reflection."""
    angle, size = math.radians(degrees), square.shape[-1]
    cos, sin = math.cos(angle), math.sin(angle)
    centres = torch.linspace(1 / size - 1, 1 - 1 / size, size)
    # Where each pixel comes from; as affine_grid, at less than half of its time.
    grid = torch.empty(1, size, size, 2)
    torch.add((cos * centres)[None], (-sin * centres)[:, None], out=grid[0, :, :, 0])
    torch.add((sin * centres)[None], (cos * centres)[:, None], out=grid[0, :, :, 1])
    turned = torch.nn.functional.grid_sample(
        square.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return turned.round_().to(torch.uint8)
