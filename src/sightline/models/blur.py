"""Gaussian blur of maps.

B H W are batch, height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GaussianBlur(nn.Module):
    """Blur with a Gaussian of `sigma` pixels, cut off at four sigma, edges mirrored.

    The kernel is exp(-x² / (2 sigma²)) at whole pixels with sum 1, along rows and then columns: a
    Gaussian of two dimensions is the product of two of one. A constant map stays as it is.
    """

    weights: Tensor

    def __init__(self, sigma: float = 4.0) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"sigma is a width in pixels above 0; got {sigma}")
        self.radius = int(4.0 * sigma + 0.5)
        offsets = torch.arange(-self.radius, self.radius + 1, dtype=torch.float64)
        weights = torch.exp(-(offsets**2) / (2 * sigma**2))
        self.register_buffer("weights", (weights / weights.sum()).float(), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Blurred maps (B, H, W) float32; the kernel is mirrored anew in maps smaller than it."""
        with torch.autocast(maps.device.type, enabled=False):
            rows = _blur_last(maps.float(), self.weights, self.radius)
            return _blur_last(rows.transpose(1, 2), self.weights, self.radius).transpose(1, 2)


def _blur_last(maps: Tensor, weights: Tensor, radius: int) -> Tensor:
    """The maps blurred along their last dimension, by one matrix product."""
    return maps @ _blur_matrix(maps.shape[-1], weights, radius)


def _blur_matrix(length: int, weights: Tensor, radius: int) -> Tensor:
    """Matrix (length, length) whose column j holds the share of each pixel in blurred pixel j."""
    target = torch.arange(length, device=weights.device)[:, None]
    reach = torch.arange(-radius, radius + 1, device=weights.device)
    # Mirrored at the centres of the outermost pixels: a triangle wave of period 2 (length - 1).
    period = max(2 * (length - 1), 1)
    folded = (target + reach) % period
    source = torch.where(folded < length, folded, period - folded)
    matrix = weights.new_zeros(length, length)
    return matrix.scatter_add_(1, source, weights.expand(length, -1)).T
