"""Mixing the images of a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

B C H W are batch, classes, height and width. An image's partner is the one as far from the end of
the batch as it is from the beginning, so the middle one of an odd number stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.config.image_size import ImageSize, size_of


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of every image of one batch is its own; the rest is its partner's."""

    shares: Tensor
    """(H, W) float32 share of each pixel, 0..1."""
    share: float
    """Share of its own label, the mean of `shares`."""

    def targets(self, labels: Tensor, classes: int) -> Tensor:
        """Probabilities (B, C) float32 of class numbers (B,), mixed as the images are."""
        own = F.one_hot(labels, classes).float()
        return own * self.share + own.flip(0) * (1 - self.share)


@dataclass(frozen=True, slots=True)
class Mixing:
    """Which batches are mixed, and how; alphas of 0 turn a way of mixing off."""

    mixup: float = 0.0
    """Both parameters of the Beta distribution of an image's own share."""
    cutmix: float = 0.0
    """The same for the area that stays its own."""
    probability: float = 1.0
    """Share of the batches that are mixed."""

    def draw(self, random: np.random.Generator, size: ImageSize) -> Mix | None:
        """What becomes of a batch of images of a size, or None; with both ways on, each alike."""
        chance, which, row, column = random.random(4).tolist()
        if chance >= self.probability or not (self.mixup or self.cutmix):
            return None
        if self.mixup and (not self.cutmix or which < 0.5):
            share = float(random.beta(self.mixup, self.mixup))
            return Mix(torch.full(size_of(size), share), share)
        return cut_out(float(random.beta(self.cutmix, self.cutmix)), row, column, size)


def cut_out(share: float, row: float, column: float, size: ImageSize) -> Mix:
    """A hole of area 1 - `share` with its centre at these places, 0..1, filled by partners.

    It has the shape of the image, so for a square it is one. What reaches over an edge is cut off,
    and the label's share follows the area that is left (Yun et al. 2019, appendix A).
    """
    shares = torch.ones(size_of(size))
    spans = []
    for place, length in zip((row, column), size_of(size), strict=True):
        centre, side = int(place * length), int(length * (1 - share) ** 0.5)
        spans.append((max(centre - side // 2, 0), min(centre + (side + 1) // 2, length)))
    (top, bottom), (left, right) = spans
    shares[top:bottom, left:right] = 0.0
    return Mix(shares, 1 - (bottom - top) * (right - left) / shares.numel())


def mixed(images: Tensor, shares: Tensor) -> Tensor:
    """Images (B, 3, H, W) with these shares (H, W) of their own, in their memory format."""
    return torch.lerp(images.flip(0), images, shares.to(images.device))
