"""Operations on the pixels of a rendered picture: drawn as names and numbers, applied later.

Pixels are (H, W, 3) uint8 and never changed in place; lengths are pixels unless they are shares
of the shorter side S.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from sightline.data.decode import Pixels, planes
from sightline.data.local_contrast import equalized_locally
from sightline.data.presets import Augmentation

FILL = np.array([124, 116, 104], np.uint8)
"""ImageNet's mean colour; what stands where there is no picture."""


class Effect(NamedTuple):
    """One operation of EFFECTS with its numbers."""

    name: str
    values: tuple[float, ...] = ()


def apply(pixels: Pixels, effects: Iterable[Effect]) -> Pixels:
    """The pixels after the effects, one after the other."""
    for effect in effects:
        pixels = np.ascontiguousarray(EFFECTS[effect.name](pixels, *effect.values))
    return pixels


CAMERA: dict[str, Callable[[float, float, float, int], tuple[float, ...]]] = {
    "shadow": lambda a, b, c, size: (2 * math.pi * a, 0.7 * b - 0.35, 0.15 + 0.3 * c),
    "downscale": lambda a, b, c, size: (0.6 + 0.3 * a,),
    "blur": lambda a, b, c, size: (blur_radius(0.3 + 0.6 * a, size),),
    "noise": lambda a, b, c, size: (3 + 9 * a, math.floor(b * 2**32)),
    "jpeg": lambda a, b, c, size: (60 + 35 * a,),
}
"""What a camera does, in its order, with an effect's numbers from three in 0..1 and the shorter
side."""


def draw_effects(
    random: np.random.Generator, ranges: Augmentation, size: int
) -> tuple[Effect, ...]:
    """Random effects in the order in which a camera meets them: light, lens, sensor, file.

    As many numbers are drawn whatever the ranges are, so that changing one leaves the others.
    """
    share = ranges.share
    draws = random.random((len(CAMERA), 4)).tolist()
    found = [
        Effect(name, numbers(a, b, c, size))
        for (name, numbers), (chance, a, b, c) in zip(CAMERA.items(), draws, strict=True)
        if chance < getattr(ranges, name) * share
    ]
    chosen = random.random((ranges.randaugment, 3)).tolist()
    operations = [
        _operation(which, side, ranges.randaugment_magnitude)
        for which, side, chance in chosen
        if chance < share
    ]
    return (*(one for one in operations if one is not None), *found)


def blur_radius(radius: float, size: int) -> float:
    """The radius for this shorter side from that for 224; it grows with larger sides."""
    return radius * max(size / 224, 1.0)


def rotated(picture: torch.Tensor, degrees: float) -> torch.Tensor:
    """The planes (1, 3, H, W) turned counter-clockwise; corners hold their reflection."""
    angle, (height, width) = math.radians(degrees), picture.shape[-2:]
    cos, sin = math.cos(angle), math.sin(angle)
    down = torch.linspace(1 / height - 1, 1 - 1 / height, height)
    across = torch.linspace(1 / width - 1, 1 - 1 / width, width)
    # Where each pixel comes from, in halves of each side; as affine_grid, at less than half of its
    # time.
    grid = torch.empty(1, height, width, 2)
    tall = height / width
    torch.add((cos * across)[None], (-sin * tall * down)[:, None], out=grid[0, :, :, 0])
    torch.add((sin / tall * across)[None], (cos * down)[:, None], out=grid[0, :, :, 1])
    turned = torch.nn.functional.grid_sample(
        picture.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return turned.round_().to(torch.uint8)


OPERATIONS: dict[str, Callable[[float], tuple[float, ...]]] = {
    "identity": lambda amount: (),
    "autocontrast": lambda amount: (),
    "equalize": lambda amount: (),
    "rotate": lambda amount: (30.0 * amount,),
    "solarize": lambda amount: (256.0 * (1 - abs(amount)),),
    "posterize": lambda amount: (8.0 - round(4 * abs(amount)),),
    "color": lambda amount: (1 + 0.9 * amount,),
    "contrast": lambda amount: (1 + 0.9 * amount,),
    "brightness": lambda amount: (1 + 0.9 * amount,),
    "sharpness": lambda amount: (1 + 0.9 * amount,),
    "shear_x": lambda amount: (0.3 * amount,),
    "shear_y": lambda amount: (0.3 * amount,),
    "translate_x": lambda amount: (0.45 * amount,),
    "translate_y": lambda amount: (0.45 * amount,),
}
"""RandAugment's operations and their numbers for a signed magnitude of -1..1."""


def _operation(which: float, side: float, magnitude: float) -> Effect | None:
    """One of OPERATIONS, each alike, to either side; None for the one that changes nothing."""
    name = list(OPERATIONS)[int(which * len(OPERATIONS))]
    values = OPERATIONS[name](magnitude if side < 0.5 else -magnitude)
    return None if name == "identity" else Effect(name, values)


def _by_pillow(change: Callable[..., Image.Image]) -> Callable[..., Pixels]:
    """An effect from a function of a Pillow image and numbers."""
    return lambda pixels, *values: np.array(change(Image.fromarray(pixels), *values))


def _affine(image: Image.Image, *rows: float) -> Image.Image:
    """The picture where output (x, y) from the centre comes from rows · (x, y, side).

    The side is the width for x and the height for y; what comes from outside is filled.
    """
    a, b, c, d, e, f = rows
    width, height = image.size
    # Pillow counts from the corner.
    right = width / 2 * (1 - a - b * (height / width)) + c * width
    down = height / 2 * (1 - d * (width / height) - e) + f * height
    moved = (a, b, right, d, e, down)
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        moved,
        Image.Resampling.BILINEAR,
        fillcolor=tuple(FILL.tolist()),
    )


def _jpeg(image: Image.Image, quality: float) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(quality))
    return Image.open(file)


def _downscale(image: Image.Image, share: float) -> Image.Image:
    """Through this share of each side, and back."""
    width, height = (max(1, round(length * share)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR).resize(
        image.size, Image.Resampling.BILINEAR
    )


def _noise(pixels: Pixels, deviation: float, seed: float) -> Pixels:
    """Normal noise of this standard deviation, in steps of 1 of 255."""
    random = np.random.Generator(np.random.SFC64(int(seed)))
    changed = random.standard_normal(pixels.shape, np.float32)
    changed *= deviation
    changed += pixels
    return np.clip(np.rint(changed, out=changed), 0, 255).astype(np.uint8)


def _shadow(pixels: Pixels, angle: float, offset: float, darkness: float) -> Pixels:
    """One side of a fold line is darker, most at the line.

    The line's normal has this angle; its offset from the centre is a share of the shorter side.
    """
    size = min(pixels.shape[:2])
    down, across = (
        ((np.arange(length, dtype=np.float32) + 0.5) / length - 0.5) * (length / size)
        for length in pixels.shape[:2]
    )
    distance = math.cos(angle) * across + math.sin(angle) * down[:, None] - np.float32(offset)
    # Over the width of a pixel and a half, so that the edge has no steps.
    edge = np.clip(distance * np.float32(size / 1.5) + 0.5, 0, 1)
    dark = darkness * edge * (0.3 + 0.7 * np.exp(-np.maximum(distance, 0) / 0.1))
    shaded: Pixels = np.rint(pixels * (1 - dark)[:, :, None]).astype(np.uint8)
    return shaded


def _rotate(pixels: Pixels, degrees: float) -> Pixels:
    return rotated(planes(pixels), degrees)[0].permute(1, 2, 0).contiguous().numpy()


def _gamma(pixels: Pixels, power: float) -> Pixels:
    table = np.rint(255 * (np.arange(256) / 255) ** power).astype(np.uint8)
    return table[pixels]


EFFECTS: dict[str, Callable[..., Pixels]] = {
    "turn": lambda pixels, turns: np.rot90(pixels, int(turns)),
    "mirror": lambda pixels: pixels[:, ::-1],
    "upend": lambda pixels: pixels[::-1],
    "transpose": lambda pixels: pixels.transpose(1, 0, 2),
    "rotate": _rotate,
    "shear_x": _by_pillow(lambda image, by: _affine(image, 1, by, 0, 0, 1, 0)),
    "shear_y": _by_pillow(lambda image, by: _affine(image, 1, 0, 0, by, 1, 0)),
    "translate_x": _by_pillow(lambda image, by: _affine(image, 1, 0, by, 0, 1, 0)),
    "translate_y": _by_pillow(lambda image, by: _affine(image, 1, 0, 0, 0, 1, by)),
    "autocontrast": _by_pillow(ImageOps.autocontrast),
    "equalize": _by_pillow(ImageOps.equalize),
    "solarize": _by_pillow(lambda image, least: ImageOps.solarize(image, int(least))),
    "posterize": _by_pillow(lambda image, bits: ImageOps.posterize(image, int(bits))),
    "color": _by_pillow(lambda image, by: ImageEnhance.Color(image).enhance(by)),
    "contrast": _by_pillow(lambda image, by: ImageEnhance.Contrast(image).enhance(by)),
    "brightness": _by_pillow(lambda image, by: ImageEnhance.Brightness(image).enhance(by)),
    "sharpness": _by_pillow(lambda image, by: ImageEnhance.Sharpness(image).enhance(by)),
    "gamma": _gamma,
    "clahe": equalized_locally,
    "shadow": _shadow,
    "downscale": _by_pillow(_downscale),
    "blur": _by_pillow(lambda image, by: image.filter(ImageFilter.GaussianBlur(by))),
    "noise": _noise,
    "jpeg": _by_pillow(_jpeg),
}
"""What an effect's name does to pixels with its numbers."""
