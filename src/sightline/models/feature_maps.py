"""Feature maps of several layers of a backbone, from byte images.

B C H W are batch, channels, height and width; h and w the size of a layer's map.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.models.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    REFUSALS,
    cuts_edges,
    require_known,
    weights_source,
)
from sightline.models.ibn import create_module
from sightline.models.normalize import Normalize
from sightline.models.settings import BackboneConfig
from sightline.models.weights import WeightsReport, load_weights


class FeatureMaps(nn.Module):
    """Normalisation and a backbone cut behind the deepest layer that is asked for.

    Frozen unless `trainable`: then no parameter learns, and the part stays in evaluation mode
    whatever the rest of a model does, so that its BatchNorm statistics never move.
    """

    def __init__(
        self,
        backbone: nn.Module,
        layers: Sequence[str],
        *,
        normalize: Normalize,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.backbone = backbone
        self.layers = tuple(layers)
        names = layer_names(backbone)
        self._indices = [names.index(layer) for layer in self.layers]
        self.trainable = trainable
        self.weights_report: WeightsReport | None = None
        """What was loaded; None after a random start."""
        if not trainable:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> FeatureMaps:
        """Set the mode of a trainable part; a frozen one stays in evaluation mode."""
        super().train(mode and self.trainable)
        return self

    def forward(self, images: Tensor, colour: Tensor | None = None) -> list[Tensor]:
        """A map (B, C, h, w) float32 for each layer, in the order of `layers`.

        `images` are uint8 (B, 3, H, W); `colour` as in Normalize.
        """
        backbone: Any = self.backbone
        maps = backbone.forward_intermediates(
            self.normalize(images, colour),
            indices=sorted(self._indices),
            output_fmt="NCHW",
            stop_early=True,
            intermediates_only=True,
        )
        by_index = dict(zip(sorted(self._indices), maps, strict=True))
        return [by_index[index].float() for index in self._indices]


def create_feature_maps(
    config: BackboneConfig, layers: Sequence[str], *, img_size: int, trainable: bool = False
) -> FeatureMaps:
    """The named layers of a timm model, with the weights the config asks for.

    Layers behind the deepest one are cut off; a weights file may hold their tensors or not
    (`weights_report.unused` names those it held). `pretrained=False` without a file reads nothing.
    Raises ConfigError for an unknown model or layer, or an image size the model cannot take, and
    CheckpointError for weights that do not fit.
    """
    require_known(config.name)
    source = weights_source(config)
    backbone = _create(config.name, img_size=img_size)
    _require_layers(config.name, layers, valid=layer_names(backbone))
    unneeded = _cut_behind(backbone, config.name, layers)
    published: Any = getattr(backbone, "pretrained_cfg", None) or {}
    normalize = Normalize(
        tuple(published.get("mean") or IMAGENET_MEAN), tuple(published.get("std") or IMAGENET_STD)
    )
    maps = FeatureMaps(backbone, layers, normalize=normalize, trainable=trainable)
    _require_maps(maps, config.name, img_size)
    if source is not None:
        partial = config.weights_partial
        maps.weights_report = load_weights(backbone, source, partial=partial, unneeded=unneeded)
    return maps


def layer_names(backbone: nn.Module) -> list[str]:
    """Names of the layers a timm model gives maps of, first to last; empty when it has none."""
    described: Any = getattr(backbone, "feature_info", None) or ()
    if not hasattr(backbone, "forward_intermediates"):
        return []
    return [str(entry["module"]) for entry in described]


def _create(name: str, *, img_size: int) -> nn.Module:
    import timm

    published: Any = timm.get_pretrained_cfg(name)
    fixed = published is not None and published.fixed_input_size
    options: dict[str, Any] = {"img_size": img_size} if fixed else {}
    try:
        module = create_module(name, num_classes=0, **options)
    except REFUSALS as error:
        raise ConfigError(
            f"The model {name!r} cannot be made for this image size.",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            where=f"model.name, train.img_size={img_size}",
            remedy="choose another model.name, or the image size the model was made for",
        ) from error
    return module


def _require_layers(name: str, layers: Sequence[str], *, valid: Sequence[str]) -> None:
    """Raise ConfigError unless each layer is one of the model's, and none comes twice."""
    if not valid:
        raise ConfigError(
            f"The model {name!r} gives no feature maps.",
            expected="a model with layers, such as resnet18 or wide_resnet50_2",
            where="model.name",
        )
    unknown = [layer for layer in layers if layer not in valid]
    if unknown:
        near = difflib.get_close_matches(unknown[0], valid, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"The model {name!r} has no layer called {unknown[0]!r}.",
            expected=", ".join(valid),
            got=", ".join(layers),
            where="model.layers",
            remedy=f"did you mean {near!r}?",
        )
    if not layers or len(set(layers)) < len(layers):
        raise ConfigError(
            "Layers must be named once each.",
            expected=f"one or more of {', '.join(valid)}",
            got=", ".join(layers) or "none",
            where="model.layers",
        )


def _cut_behind(backbone: nn.Module, name: str, layers: Sequence[str]) -> frozenset[str]:
    """Remove what lies behind the deepest layer, and return the names of the tensors removed."""
    timm_model: Any = backbone
    before = frozenset(backbone.state_dict())
    names = layer_names(backbone)
    try:
        timm_model.prune_intermediate_layers(
            [names.index(layer) for layer in layers], prune_norm=True, prune_head=True
        )
    except (*REFUSALS, AttributeError) as error:
        raise ConfigError(
            f"The model {name!r} cannot be cut behind {layers[-1]!r}.",
            expected="a model whose deep layers can be left out, such as resnet18",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            where="model.name",
        ) from error
    return before - frozenset(backbone.state_dict())


def _require_maps(maps: FeatureMaps, name: str, img_size: int) -> None:
    """Raise ConfigError unless an empty image of this size gives a map of each layer."""
    try:
        if cuts_edges(maps.backbone, img_size):
            raise ValueError("its patches do not fill the image")
        shapes = _shapes(maps, img_size)
        described: Any = maps.backbone.feature_info
        indices = maps._indices
        for (channels, *size), index in zip(shapes, indices, strict=True):
            if len(size) != 2 or min(size) < 1 or channels != described[index]["num_chs"]:
                raise ValueError(f"layer {described[index]['module']} gave {[channels, *size]}")
    except REFUSALS as error:
        raise ConfigError(
            f"The model {name!r} gives no maps of images of {img_size} x {img_size} pixels.",
            got=str(error).splitlines()[0][:160] if str(error) else type(error).__name__,
            where=f"train.img_size={img_size}",
            remedy="choose a multiple of 32, or another model.name",
        ) from error


@torch.no_grad()
def _shapes(maps: FeatureMaps, img_size: int) -> list[list[int]]:
    """Shape (C, h, w) of each map of one empty image, computed only where shapes do not do."""
    was_training = maps.training
    maps.eval()
    try:
        tensors = [*maps.named_parameters(), *maps.named_buffers()]
        shapes = {name: tensor.to("meta") for name, tensor in tensors}
        empty = torch.empty(1, 3, img_size, img_size, dtype=torch.uint8, device="meta")
        output = torch.func.functional_call(maps, shapes, (empty,))
    except REFUSALS:
        # Some models hold tensors beside their buffers, which shapes alone cannot go through.
        output = maps(torch.zeros(1, 3, img_size, img_size, dtype=torch.uint8))
    finally:
        maps.train(was_training)
    return [list(one.shape[1:]) for one in output]
