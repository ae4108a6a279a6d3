"""Defects made from normal pictures, for a validation that has none of its own.

CutPaste's patches and scars (Li et al., CVPR 2021, section 2.2) and a blend by Perlin noise
(DRAEM: Zavrtanik et al., ICCV 2021, section 3.2; with the picture's own texture instead of another
data set's). Pixels are (S, S, 3) uint8, masks (S, S) bool; lengths for a side of 256 grow with S.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sightline.data.decode import Pixels
from sightline.data.defect_labels import is_normal
from sightline.data.manifest import SPLITS, TEXT, Category, Manifest
from sightline.data.masks import Mask
from sightline.random_numbers import generator

SYNTHETIC = "synthetic"
"""The label of pictures with a made defect."""
COPY = f"<{SYNTHETIC}>/"
"""What their ids begin with, and no file's name does."""
Kind = Literal["patch", "scar", "noise"]
KINDS: tuple[Kind, ...] = ("patch", "scar", "noise")

_VISIBLE = 8
"""A change of a channel by less than this, of 255, is taken for none."""
_JITTER = 0.1
"""CutPaste's greatest change of brightness, contrast and colour."""


@dataclass(frozen=True, slots=True)
class SyntheticDefects:
    """A view that puts a defect on the copies that with_synthetic_defects added, and on no other.

    A function of the pixels, the seed and the id alone.
    """

    seed: int = 0

    def __call__(self, pixels: Pixels, sample: str) -> Pixels:
        """The square (S, S, 3), changed where the id is that of a copy."""
        if not sample.startswith(COPY):
            return pixels
        return synthetic_defect(pixels, seed=self.seed, sample=sample)[0]


def with_synthetic_defects(manifest: Manifest) -> tuple[Manifest, npt.NDArray[np.int64]]:
    """The rows, then every normal one of val again as `<synthetic>/ID` with the label SYNTHETIC.

    Also the row (N,) that each is a copy of, its own where it is none. The copies have no mask and
    no pixels of their own, so a loader must show them through SyntheticDefects.
    """
    copies = np.flatnonzero(is_normal(manifest) & (manifest.split == SPLITS.index("val")))
    rows = np.concatenate([np.arange(len(manifest)), copies])
    doubled, start = manifest.select(rows), len(manifest)
    ids, masks = doubled.id.copy(), doubled.mask.copy()
    ids[start:] = np.strings.add(np.array(COPY, dtype=TEXT), ids[start:])
    masks[start:] = ""
    names = [doubled.label.text(row) for row in range(start)] + [SYNTHETIC] * len(copies)
    return replace(doubled, id=ids, mask=masks, label=Category.encode(names)), rows


def without_synthetic_defects(manifest: Manifest) -> Manifest:
    """The rows but for the copies that with_synthetic_defects adds.

    A file of splits has them too, and no pixels of theirs: what reads it makes them anew, or must
    not take them for pictures.
    """
    kept = [row for row, one in enumerate(manifest.id) if not str(one).startswith(COPY)]
    return manifest if len(kept) == len(manifest) else manifest.select(np.array(kept, np.int64))


def synthetic_defect(
    pixels: Pixels, *, seed: int, sample: str, kind: Kind | None = None
) -> tuple[Pixels, Mask]:
    """The picture with one defect, and the pixels that it changed; never none.

    Without a kind one of KINDS, each alike. A patch or scar that hardly shows, because the picture
    is as good as uniform, becomes noise. Depends on the pixels, the seed and the sample's id alone.
    """
    random = generator(seed, 0, f"synthetic defect/{sample}")
    drawn = KINDS[int(random.integers(len(KINDS)))]
    kind = kind or drawn
    if kind != "noise":
        changed, region = (_patch if kind == "patch" else _scar)(pixels, random)
        difference = np.abs(changed.astype(np.int16) - pixels).max(axis=-1)
        if (difference >= _VISIBLE).sum() * 4 >= max(region.sum(), 1):
            return changed, difference > 0
    changed = _noise(pixels, random)
    return changed, np.asarray((changed != pixels).any(axis=-1))


def perlin_noise(random: np.random.Generator, size: int, cells: tuple[int, int]) -> _Floats:
    """Gradient noise (size, size) with so many cells down and across, about -1..1.

    Perlin, An image synthesizer, SIGGRAPH 1985, with the fade of Improving noise, 2002; scaled by
    the square root of 2 as DRAEM does.
    """
    down, across = cells
    angle = 2 * math.pi * random.random((down + 1, across + 1))
    rows, columns = (np.arange(size) * count / size for count in cells)
    row, column = rows.astype(np.int64), columns.astype(np.int64)
    y, x = (rows - row)[:, None], (columns - column)[None, :]

    def towards(below: int, beside: int) -> _Floats:
        corner = angle[np.ix_(row + below, column + beside)]
        result: _Floats = np.sin(corner) * (y - below) + np.cos(corner) * (x - beside)
        return result

    fade_y, fade_x = (t * t * t * (t * (t * 6 - 15) + 10) for t in (y, x))
    above = towards(0, 0) * (1 - fade_x) + towards(0, 1) * fade_x
    under = towards(1, 0) * (1 - fade_x) + towards(1, 1) * fade_x
    noise: _Floats = math.sqrt(2) * (above * (1 - fade_y) + under * fade_y)
    return noise


_Floats = npt.NDArray[np.float64]


def _patch(pixels: Pixels, random: np.random.Generator) -> tuple[Pixels, Mask]:
    """A rectangle of 2 to 15 % of the picture, jittered in colour and pasted somewhere else."""
    size = len(pixels)
    area = size * size * random.uniform(0.02, 0.15)
    aspect = random.uniform(0.3, 1) if random.random() < 0.5 else random.uniform(1, 3.3)
    height = min(max(round(math.sqrt(area / aspect)), 2), size)
    width = min(max(round(math.sqrt(area * aspect)), 2), size)
    piece = _jittered(_cut_somewhere(pixels, height, width, random), random)
    return _pasted(pixels, piece, np.ones((height, width), np.bool_), random)


def _scar(pixels: Pixels, random: np.random.Generator) -> tuple[Pixels, Mask]:
    """A thin rectangle, turned by up to 45 degrees: 2 to 16 by 10 to 25 for a side of 256."""
    from PIL import Image

    unit = len(pixels) / 256
    height = max(round(unit * random.uniform(10, 25)), 3)
    width = max(round(unit * random.uniform(2, 16)), 1)
    degrees = random.uniform(-45, 45)
    piece = _jittered(_cut_somewhere(pixels, height, width, random), random)
    turned = np.asarray(Image.fromarray(piece).rotate(degrees, expand=True))
    full = Image.fromarray(np.full((height, width), 255, np.uint8))
    region = np.asarray(full.rotate(degrees, expand=True)) > 0
    limit = len(pixels)
    return _pasted(pixels, turned[:limit, :limit], region[:limit, :limit], random)


def _noise(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """The picture blended with its own texture, in other colours, where Perlin noise is high."""
    size = len(pixels)
    most = max(min(5, int(math.log2(size)) - 1), 0)
    cells = 2 ** random.integers(0, most, 2, endpoint=True)
    noise = perlin_noise(random, size, (int(cells[0]), int(cells[1])))
    low, high = float(noise.min()), float(noise.max())
    # DRAEM's threshold, lowered where noise of few cells stays below it.
    region = noise > min(0.5, low + 0.8 * (high - low))
    shift = random.integers(size // 4, 3 * size // 4, 2, endpoint=True).tolist()
    # A level turned by 64 to 192 of 256 is another one, so no defect is invisible.
    turn = _per_channel(pixels, random.integers(64, 192, 3, endpoint=True))
    texture = np.roll(pixels, shift, (0, 1)).astype(np.int64)
    alike = np.abs(texture - pixels).max(axis=-1, keepdims=True) < 4 * _VISIBLE
    texture = np.where(alike, (pixels + turn) % 256, texture)
    share = random.uniform(0.5, 1.0)
    blended = np.rint(pixels + share * (texture - pixels)).astype(np.uint8)
    return np.asarray(np.where(region[..., None], blended, pixels))


def _cut_somewhere(pixels: Pixels, height: int, width: int, random: np.random.Generator) -> Pixels:
    top = int(random.integers(len(pixels) - height + 1))
    left = int(random.integers(len(pixels) - width + 1))
    return pixels[top : top + height, left : left + width]


def _jittered(piece: Pixels, random: np.random.Generator) -> Pixels:
    """Other brightness, contrast and balance of the channels, each by at most _JITTER."""
    factor, contrast = random.uniform(1 - _JITTER, 1 + _JITTER, 2)
    balance = _per_channel(piece, random.uniform(1 - _JITTER, 1 + _JITTER, 3))
    mean = piece.mean(axis=(0, 1))
    changed = (mean + contrast * (piece - mean)) * factor * balance
    return np.asarray(np.clip(np.rint(changed), 0, 255), np.uint8)


def _per_channel(pixels: Pixels, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The three values, or the first for all channels of a grey picture, which stays grey."""
    return values[:1] if (pixels == pixels[..., :1]).all() else values


def _pasted(
    pixels: Pixels, piece: Pixels, region: Mask, random: np.random.Generator
) -> tuple[Pixels, Mask]:
    """The picture with the piece's region at a random place, and that region of the picture."""
    height, width = region.shape
    top = int(random.integers(len(pixels) - height + 1))
    left = int(random.integers(len(pixels) - width + 1))
    mask = np.zeros(pixels.shape[:2], np.bool_)
    mask[top : top + height, left : left + width] = region
    changed = pixels.copy()
    changed[mask] = piece[region]
    return changed, mask
