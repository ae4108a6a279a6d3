"""Which part of an image a model sees, and how it is changed: drawn first, then rendered.

A view is a function of (seed, epoch, sample id) alone, so neither the number of workers nor the
order of the batches changes what a sample looks like. Lengths are pixels, colours 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sightline.config.image_size import ImageSize, Size, size_of
from sightline.data.decode import Pixels, planes, resize
from sightline.data.effects import FILL, Effect, apply, draw_effects, rotated
from sightline.data.presets import Augmentation

Fit = Literal["crop", "pad", "stretch"]
"""How a picture is brought to the output's shape: the largest central part of that shape, the whole
of it with filled margins, or the whole of it squeezed."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. ITU-R BT.601 weights of grey."""


class Box(NamedTuple):
    """A rectangle: its top left corner and its size."""

    top: int
    left: int
    height: int
    width: int


class View(NamedTuple):
    """Everything random about one sample in one epoch."""

    box: Box
    """In pixels of the image; what lies outside is filled."""
    mirrored: bool = False
    degrees: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    erased: Box | None = None
    """In pixels of the output."""
    upended: bool = False
    turns: int = 0
    """Quarter turns counter-clockwise."""
    effects: tuple[Effect, ...] = ()


def central_view(height: int, width: int, fit: Fit = "crop", size: ImageSize = (1, 1)) -> View:
    """What evaluation sees: the largest central part of the output's shape, square by default.

    For pad it is the smallest box of that shape around the whole picture; for stretch the picture,
    which gets the shape when it is rendered.
    """
    if fit == "stretch":
        return View(Box(0, 0, height, width))
    shape = size_of(size)
    # Which side of the picture is too short for the output's shape, or for pad too long.
    if (height * shape.width <= width * shape.height) == (fit == "crop"):
        rows, columns = height, max(1, round(height * shape.width / shape.height))
    else:
        rows, columns = max(1, round(width * shape.height / shape.width)), width
    return View(Box((height - rows) // 2, (width - columns) // 2, rows, columns))


def random_view(
    random: np.random.Generator,
    height: int,
    width: int,
    *,
    size: ImageSize,
    ranges: Augmentation,
    fit: Fit = "crop",
) -> View:
    """A random crop (Szegedy et al. 2015) with the changes the ranges allow, for an output's size.

    With pad the crop is one of the filled picture, with stretch one of the squeezed picture. Where
    no box of the ranges fits, it is what evaluation sees, and nothing is erased.
    """
    change, shape = ranges.color, size_of(size)
    draw = random.random(8).tolist()
    view = View(
        box=_random_crop(random, height, width, ranges, fit, shape)
        or central_view(height, width, fit, shape).box,
        mirrored=draw[0] < ranges.flip,
        degrees=ranges.rotate * (2 * draw[1] - 1) if draw[6] < ranges.share else 0.0,
        brightness=1 + change * (2 * draw[2] - 1),
        contrast=1 + change * (2 * draw[3] - 1),
        saturation=1 + change * (2 * draw[4] - 1),
        erased=_random_box(random, *shape, ranges.erase_area, (0.3, 3.3))
        if draw[5] < ranges.erase * ranges.share
        else None,
    )
    # What was added later is drawn after all others, whose numbers so stay what they were.
    if not ranges.is_plain:
        upended, turned, turns = random.random(3).tolist()
        view = view._replace(
            upended=upended < ranges.vflip * ranges.share,
            turns=1 + int(3 * turns) if turned < ranges.quarter_turns * ranges.share else 0,
            effects=draw_effects(random, ranges, shape.shorter),
        )
    if ranges.shift:
        view = view._replace(box=_shifted(random, view.box, (height, width), ranges.shift, shape))
    return view


def render(image: Pixels, view: View, size: ImageSize, out: Pixels) -> None:
    """Write a view into `out` (H, W, 3) of that size, all but the colours, left to the device.

    In this order: crop, rotation, mirror images, quarter turns, effects, erasing. A turn by 90 or
    270 degrees needs a square.
    """
    picture = _cut(image, view.box, size_of(size))
    if view.degrees:
        picture = rotated(picture, view.degrees)
    mirrored = [axis for axis, wanted in ((2, view.upended), (3, view.mirrored)) if wanted]
    if mirrored:
        picture = torch.flip(picture, mirrored)
    if view.turns:
        picture = torch.rot90(picture, view.turns, (2, 3))
    torch.from_numpy(out).permute(2, 0, 1).copy_(picture[0])
    if view.effects:
        out[:] = apply(out, view.effects)
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


def _cut(image: Pixels, box: Box, size: Size) -> torch.Tensor:
    """The planes (1, 3, H, W) of a box, filled where it reaches over the image's edges."""
    (top, bottom), (left, right) = (
        (max(low, 0), min(low + span, length))
        for low, span, length in zip(box[:2], box[2:], image.shape[:2], strict=True)
    )
    part = planes(image[top:bottom, left:right])
    if (bottom - top, right - left) == (box.height, box.width):
        whole = (box.height, box.width) == size
        return part if whole else resize(part, height=size.height, width=size.width)
    rows = scaled_span(top - box.top, bottom - box.top, size.height / box.height)
    columns = scaled_span(left - box.left, right - box.left, size.width / box.width)
    filled = planes(np.tile(FILL, (*size, 1)))
    filled[:, :, rows, columns] = resize(
        part, height=rows.stop - rows.start, width=columns.stop - columns.start
    )
    return filled


def scaled_span(low: int, high: int, scale: float) -> slice:
    """Where a span of pixels lies after scaling, in whole pixels, at least one."""
    start = min(round(low * scale), math.ceil(high * scale) - 1)
    return slice(start, max(round(high * scale), start + 1))


def _random_crop(
    random: np.random.Generator,
    height: int,
    width: int,
    ranges: Augmentation,
    fit: Fit,
    shape: Size,
) -> Box | None:
    """A random box of the image, or for pad of the box around it, moved to the image's places.

    It keeps as much of the image's area as the ranges say, so never the margins alone.
    """
    if fit == "stretch":
        narrow, wide = (ratio * width / height for ratio in ranges.ratio)
        return _random_box(random, height, width, ranges.scale, (narrow, wide))
    narrow, wide = (ratio * (shape.width / shape.height) for ratio in ranges.ratio)
    if fit == "crop":
        return _random_box(random, height, width, ranges.scale, (narrow, wide))
    top, left, rows, columns = central_view(height, width, fit, shape).box

    def keeps_enough(box: Box) -> bool:
        down = min(box.top + box.height + top, height) - max(box.top + top, 0)
        across = min(box.left + box.width + left, width) - max(box.left + left, 0)
        return max(down, 0) * max(across, 0) >= ranges.scale[0] * height * width

    box = _random_box(random, rows, columns, ranges.scale, (narrow, wide), accepts=keeps_enough)
    return None if box is None else box._replace(top=box.top + top, left=box.left + left)


def _shifted(
    random: np.random.Generator, box: Box, image: tuple[int, int], shift: float, size: Size
) -> Box:
    """The box moved by up to this share of the output's shorter side, down and right alike.

    It never loses more than half of the rows and columns that it has of the image.
    """
    places = []
    for start, span, length, side in zip(box[:2], box[2:], image, size, strict=True):
        seen = min(start + span, length) - max(start, 0)
        reach = min(shift * size.shorter * span / side, seen / 2)
        places.append(start + round(reach * random.uniform(-1, 1)))
    return box._replace(top=places[0], left=places[1])


def _random_box(
    random: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    accepts: Callable[[Box], bool] = lambda box: True,
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
            box = Box(top, left, box_height, box_width)
            if accepts(box):
                return box
    return None
