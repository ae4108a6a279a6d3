"""Generalised-mean pooling, put where timm has its own global pooling layer.

B C H W are batch, channels, height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GeMPooling(nn.Module):
    """Power mean of each channel over all positions, with a learnt exponent.

    (mean x^p)^(1/p), equation 3 of Radenović et al., "Fine-tuning CNN image retrieval with no human
    annotation", 2018. p = 1 is average pooling, a large p approaches max pooling; starts at 3.
    Values below 1e-6 count as 1e-6. Computed in float32 whatever autocast says.
    """

    def __init__(self, *, dims: tuple[int, int] = (2, 3), flatten: bool = True) -> None:
        super().__init__()
        self.dims, self.flatten = dims, flatten
        self.exponent = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features: (B, C, H, W) becomes (B, C), or (B, C, 1, 1) without flatten."""
        with torch.autocast(features.device.type, enabled=False):
            powers = features.float().clamp(min=1e-6).pow(self.exponent)
            return powers.mean(self.dims, keepdim=not self.flatten).pow(1.0 / self.exponent)


def install_gem(backbone: nn.Module) -> bool:
    """Whether the one pooling layer of a timm backbone could be replaced by GeMPooling."""
    from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d

    layers = [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, SelectAdaptivePool2d)
    ]
    if len(layers) != 1:
        return False
    name, layer = layers[0]
    inner = layer.pool
    # timm's "fast" layers hold the reduced dimensions and flatten themselves.
    dims = tuple(getattr(inner, "dim", (2, 3)))
    flatten = bool(getattr(inner, "flatten", False)) or isinstance(layer.flatten, nn.Flatten)
    parent, _, child = name.rpartition(".")
    setattr(
        backbone.get_submodule(parent),
        child,
        GeMPooling(dims=(dims[0], dims[1]), flatten=flatten),
    )
    return True
