"""Byte images to normalised floats, with colour changes on the way.

B C H W are batch, channels (always 3, red green blue), height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """(image / 255 - mean) / std for each channel, in float32, on the images' device.

    The statistics are buffers, so they travel with the weights into checkpoints and exports.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, images: Tensor, colour: Tensor | None = None) -> Tensor:
        """Normalised images (B, 3, H, W) float32, in the memory format of the input.

        `images` are uint8 in 0..255; TypeError for anything else, so that nothing is scaled twice.
        `colour` (B, 3, 4) is one affine map for each image, rgb' = A rgb + b with rgb in 0..1:
        A is colour[:, :, :3] and b is colour[:, :, 3]. Values it takes out of 0..1 are clamped.
        """
        if images.dtype is not torch.uint8:
            raise TypeError(f"expected uint8 images in 0..255, got {images.dtype}")
        values = images.float() if colour is None else _recolour(images, colour)
        scale = 1.0 / self.std
        _scale_and_shift(values, scale / 255.0, self.mean * scale)
        return values.contiguous(memory_format=torch.channels_last) if _mixed(images) else values


def _mixed(images: Tensor) -> bool:
    """Whether the three values of a pixel lie side by side."""
    return images.is_contiguous(memory_format=torch.channels_last)


def _recolour(images: Tensor, colour: Tensor) -> Tensor:
    """Planes (B, 3, H, W) of the images in 0..255 after each one's own affine map of its colours.

    On planes a map is one small matrix product over long rows; over pixels of three values it
    takes several times as long.
    """
    with torch.autocast(images.device.type, enabled=False):
        planes = images.contiguous().float().flatten(2)
        colour = colour.float()
        mapped = torch.baddbmm(colour[:, :, 3:] * 255.0, colour[:, :, :3], planes)
    return mapped.clamp_(0.0, 255.0).view(images.shape)


def _scale_and_shift(values: Tensor, scale: Tensor, shift: Tensor) -> None:
    """Multiply by `scale` and subtract `shift`, each (3,), in place."""
    if _mixed(values):
        # Whole image rows as the inner dimension: an inner one of length 3 cannot be vectorised.
        rows = values.permute(0, 2, 3, 1).flatten(2)
        width = values.shape[3]
        rows.mul_(scale.repeat(width)).sub_(shift.repeat(width))
    else:
        values.mul_(scale[:, None, None]).sub_(shift[:, None, None])
