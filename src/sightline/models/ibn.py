"""ResNets with IBN-a: half of a block's first normalisation is of each picture alone.

B C h w are batch, channels, height and width of a map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import ConfigError

IBN_BASES = {
    "resnet18_ibn_a": "resnet18",
    "resnet34_ibn_a": "resnet34",
    "resnet50_ibn_a": "resnet50",
    "resnet101_ibn_a": "resnet101",
    "resnext101_ibn_a": "resnext101_32x4d",
    "se_resnet101_ibn_a": "resnet101",
}
"""The networks with IBN-a whose authors publish weights, and the timm network each is made from."""


class InstanceBatchNorm(nn.Module):
    """InstanceNorm of the first half of the channels, BatchNorm of the rest; both learn.

    IBN-a of Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via
    IBN-Net", section 3.2, 2018. Its parts are called as in the weights the authors publish.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.split = (channels // 2, channels - channels // 2)
        self.IN = nn.InstanceNorm2d(self.split[0], affine=True)
        self.BN = nn.BatchNorm2d(self.split[1])

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps (B, C, h, w); ValueError in maps of one position."""
        single, whole = maps.split(self.split, dim=1)
        return torch.cat([self.IN(single), self.BN(whole)], dim=1)


class SqueezeExcitation(nn.Module):
    """Channels scaled by what a network of two layers makes of their means, without biases.

    Hu et al., "Squeeze-and-Excitation Networks", equations 2 to 4, 2018; called as in the weights
    published with IBN-a.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Scaled maps (B, C, h, w)."""
        scales: Tensor = self.fc(maps.mean((2, 3)))
        return maps * scales[:, :, None, None]


def create_module(name: str, **options: Any) -> nn.Module:
    """The network of a name, timm's or one of IBN_BASES, with a random start.

    `options` are those of timm.create_model, and so are the errors.
    """
    import timm

    module: nn.Module = timm.create_model(IBN_BASES.get(name, name), pretrained=False, **options)
    if name in IBN_BASES:
        _install(module, squeezing=name.startswith("se_"))
    return module


def require_file(name: str) -> None:
    """Raise ConfigError when a network's weights, being those of IBN-a, can only be a file."""
    if name in IBN_BASES:
        raise ConfigError(
            f"timm publishes no weights for {name!r}.",
            expected=f"a local file, such as {name}-*.pth of IBN-Net's authors (release v1.0)",
            where="model.pretrained=true",
            remedy="set model.weights=FILE, or model.pretrained=false for a random start",
        )


def _install(module: nn.Module, *, squeezing: bool) -> None:
    """Put IBN-a into the first three stages, and squeeze-and-excitation into all four if asked."""
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for block in module.get_submodule(stage).children():
            parts: Any = block
            if stage != "layer4":
                parts.bn1 = InstanceBatchNorm(parts.bn1.num_features)
            if squeezing:
                parts.se = SqueezeExcitation(parts.bn3.num_features)
