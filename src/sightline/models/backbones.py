"""Backbones from timm, made and checked before the first batch.

B C H W D are batch, channels, height, width and embedding size.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from sightline.config.image_size import ImageSize, Size, size_of
from sightline.errors import ConfigError
from sightline.models.ibn import IBN_BASES, create_module, require_file
from sightline.models.pooling import install_gem
from sightline.models.pretrained import pretrained_file
from sightline.models.settings import BackboneConfig, ModelConfig, Pooling
from sightline.models.weights import WeightsReport, load_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What timm, and the layers below it, raise for an option or input a model cannot take.
REFUSALS = (AssertionError, RuntimeError, ValueError, TypeError, NotImplementedError, IndexError)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network from images to vectors, and what its users must know about it."""

    module: nn.Module
    """Maps normalised images (B, C, H, W) to embeddings (B, D)."""
    embedding_dim: int
    """D, after pooling."""
    input_mean: tuple[float, ...]
    """Mean of each channel the weights were trained with, in 0..1."""
    input_std: tuple[float, ...]
    """Standard deviation of each channel, in 0..1."""
    weights: WeightsReport | None
    """What was loaded; None after a random start."""


def create_backbone(
    config: ModelConfig, *, in_chans: int = 3, img_size: ImageSize | None = None
) -> Backbone:
    """A timm backbone without its classifier, with the weights the config asks for.

    Raises ConfigError for an unknown name, and for a pooling, stochastic depth or image size the
    model cannot do. With `img_size`, one empty image is sent through (without computing where
    possible), so that a size that does not fit is found here and not in the first batch.
    """
    require_known(config.name)
    source = weights_source(config)
    size = None if img_size is None else size_of(img_size)
    module = _create(config, in_chans=in_chans, size=size)
    published: Any = getattr(module, "pretrained_cfg", None) or {}
    native = Size(*published.get("input_size", (3, 224, 224))[1:])
    embedding_dim = _embedding_dim(module, in_chans=in_chans, size=size or native)
    if embedding_dim is None:
        raise _wrong_size(config, in_chans=in_chans, size=size or native, native=native)
    report = load_weights(module, source, partial=config.weights_partial) if source else None
    return Backbone(
        module,
        embedding_dim=embedding_dim,
        input_mean=tuple(published.get("mean") or IMAGENET_MEAN),
        input_std=tuple(published.get("std") or IMAGENET_STD),
        weights=report,
    )


def weights_source(config: BackboneConfig) -> Path | None:
    """The local file to start from, fetched where it must be; None for a random start."""
    if config.weights is None and config.pretrained:
        require_file(config.name)
        return pretrained_file(config.name)
    return config.weights


def require_known(name: str) -> None:
    """Raise ConfigError unless there is a model of the name.

    timm has it, and the tag after a dot if there is one, or it is one of IBN_BASES.
    """
    import timm

    architecture, _, tag = name.partition(".")
    known = timm.is_model(architecture)
    tagged = timm.list_models(f"{architecture}.*", pretrained=True) if known else []
    if name in IBN_BASES or (known and (not tag or name in tagged)):
        return
    names = tagged if known else [*timm.list_models(), *IBN_BASES]
    near = difflib.get_close_matches(name, names, n=4, cutoff=0.5) or names[:4]
    raise ConfigError(
        f"There is no model called {name!r}" + (" with that tag." if known and tag else "."),
        expected=f"a timm name, such as {', '.join(near)}" if near else f"{architecture}, no tag",
        where="model.name",
        remedy="timm.list_models('*part*') in Python lists them all",
    )


def _create(config: ModelConfig, *, in_chans: int, size: Size | None) -> nn.Module:
    module, error = _try_create(config, config.pooling, in_chans=in_chans, size=size)
    if module is not None:
        return module
    if "drop_path_rate" in str(error):
        raise ConfigError(
            f"The model {config.name!r} has no residual branches to skip.",
            got=config.drop_path_rate,
            where="model.drop_path_rate",
            remedy="set model.drop_path_rate=0",
        ) from error
    working = [
        pooling
        for pooling in get_args(Pooling)
        if _try_create(config, pooling, in_chans=in_chans, size=size)[0] is not None
    ]
    if working and config.pooling not in working:
        best = "avg" if "avg" in working else working[0]
        raise ConfigError(
            f"The model {config.name!r} cannot pool with {config.pooling!r}.",
            expected=" or ".join(working),
            got=config.pooling,
            where="model.pooling",
            remedy=f"set model.pooling={best}" + (" (recommended)" if best == "avg" else ""),
        ) from error
    raise ConfigError(
        f"The model {config.name!r} cannot be made with these settings.",
        got=str(error).splitlines()[0] if str(error) else type(error).__name__,
        where=f"model.name, train.img_size={size.setting}" if size else "model.name",
        remedy="choose another model.name, or the image size the model was made for",
    ) from error


def _try_create(
    config: ModelConfig, pooling: str, *, in_chans: int, size: Size | None
) -> tuple[nn.Module | None, Exception | None]:
    """The model with a pooling and no weights, or None and the reason it cannot be."""
    import timm

    options: dict[str, Any] = {
        "num_classes": 0,
        "in_chans": in_chans,
        "global_pool": "avg" if pooling == "gem" else pooling,
        "drop_path_rate": config.drop_path_rate,
    }
    published: Any = timm.get_pretrained_cfg(config.name)
    if size is not None and published is not None and published.fixed_input_size:
        options["img_size"] = size.height if size.is_square else tuple(size)
    try:
        try:
            module = create_module(config.name, **options)
        except TypeError as error:
            if config.drop_path_rate or "drop_path_rate" not in str(error):
                raise
            del options["drop_path_rate"]
            module = create_module(config.name, **options)
    except REFUSALS as error:
        return None, error
    if pooling == "gem" and not install_gem(module):
        return None, ValueError("no pooling layer to replace")
    return module, None


def _embedding_dim(module: nn.Module, *, in_chans: int, size: Size) -> int | None:
    """D of the embeddings for one image, or None when the model cannot take that size."""
    if cuts_edges(module, size):
        return None
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            return _output_width(module, torch.empty(1, in_chans, *size, device="meta"))
    except REFUSALS:
        # Some models hold tensors beside their buffers, which shapes alone cannot go through.
        try:
            with torch.no_grad():
                return _output_width(module, torch.zeros(1, in_chans, *size))
        except REFUSALS:
            return None
    finally:
        module.train(was_training)


def cuts_edges(module: nn.Module, img_size: ImageSize) -> bool:
    """Whether patches do not fill the image, so that the model would never see its edges."""
    patches: Any = getattr(module, "patch_embed", None)
    patch = getattr(patches, "patch_size", None)
    if patch is None or getattr(patches, "dynamic_img_pad", False):
        return False
    parts = zip(size_of(img_size), size_of(patch), strict=True)
    return any(side % part for side, part in parts)


def _output_width(module: nn.Module, images: torch.Tensor) -> int:
    if images.device.type == "meta":
        tensors = [*module.named_parameters(), *module.named_buffers()]
        shapes = {name: tensor.to("meta") for name, tensor in tensors}
        output = torch.func.functional_call(module, shapes, (images,))
    else:
        output = module(images)
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise TypeError("the output is no vector")
    return int(output.shape[1])


def _wrong_size(config: ModelConfig, *, in_chans: int, size: Size, native: Size) -> ConfigError:
    """The error for an image size, naming the nearest sizes that do work."""
    works = []
    for other in _near_sizes(size, native):
        module, _ = _try_create(config, config.pooling, in_chans=in_chans, size=other)
        if module is not None and _embedding_dim(module, in_chans=in_chans, size=other):
            works.append(other.setting)
    return ConfigError(
        f"The model {config.name!r} cannot take images of {size} pixels.",
        expected=f"for example {', '.join(works)}" if works else None,
        got=size.setting,
        where="train.img_size",
        remedy=f"set train.img_size={works[0]}" if works else "set another model.name",
    )


def _near_sizes(size: Size, native: Size) -> list[Size]:
    """The model's own size and multiples of usual patches around a size, the nearest first."""
    near = {native}
    for multiple in (14, 16, 32):
        below = [side // multiple * multiple for side in size]
        above = [-(-side // multiple) * multiple for side in size]
        near |= {Size(*below), Size(*above)}
    possible = [other for other in near if other.shorter > 0]
    return sorted(
        possible, key=lambda other: (abs(other[0] - size[0]) + abs(other[1] - size[1]), other)
    )
