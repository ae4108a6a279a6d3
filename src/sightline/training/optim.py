"""Optimizers: which parameters they get, in which groups, at which rate."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sightline.errors import ConfigError

_HEAD = "head of the task"
_OWN_NAMES = ("adam", "adamw", "sgd", "nesterov")


def create_optimizer(  # noqa: PLR0913 (keys of the `train` section)
    model: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float,
    layer_decay: float | None = None,
    backbone_factor: float = 1.0,
    bias_factor: float = 1.0,
    momentum: float = 0.9,
) -> Optimizer:
    """An optimizer over the parameters that are trained now; frozen ones are left out.

    `name` is adam, adamw, sgd, nesterov (torch's own) or any other name timm knows; `momentum` is
    for those that have one. Parameters of one dimension (norms, biases) and those the backbone's
    `no_weight_decay()` names are not decayed. Each group has a `name` and an `initial_lr`.

    With `layer_decay` d, a layer k steps below the head learns at lr d^k (Howard and Ruder, ULMFiT,
    section 3.2, 2018; layers as in Bao et al., BEiT, 2021): `model.backbone` must be a timm model,
    everything beside it counts as head. With a `backbone_factor` all of `model.backbone` learns at
    that times the rate, as if it were one layer. Every bias learns at `bias_factor` times the rate
    of its layer. ConfigError for an unknown name, a backbone
    without known layers, or a model with nothing to train.
    """
    groups = parameter_groups(
        model,
        lr=lr,
        weight_decay=weight_decay,
        layer_decay=layer_decay,
        backbone_factor=backbone_factor,
        bias_factor=bias_factor,
    )
    optimizer = _build(groups, name, lr=lr, weight_decay=weight_decay, momentum=momentum)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    layer_decay: float | None = None,
    backbone_factor: float = 1.0,
    bias_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Optimizer groups (params, name, lr, weight_decay), from the input to the head.

    The order depends on the model alone: by layer, the decayed group of a layer before the other,
    parameters as in `named_parameters()`.
    """
    depths, step = {}, layer_decay or backbone_factor
    if layer_decay is not None:
        depths = _depths_below_head(model)
    elif backbone_factor != 1.0:
        names = (name for name, _ in model.named_parameters())
        depths = {name: 1 for name in names if name.startswith("backbone.")}
    undecayed = _undecayed_names(model)
    found: dict[tuple[int, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim <= 1 or name in undecayed
            faster = bias_factor != 1.0 and name.endswith("bias")
            found.setdefault((-depths.get(name, 0), plain, faster), []).append(parameter)
    if not found:
        raise ConfigError(
            "The model has nothing to train: every parameter is frozen, or there is none.",
            remedy="freeze fewer parts of the model",
        )
    return [
        {
            "params": found[depth, plain, faster],
            "name": f"{f'{-depth}_below_head' if depth else 'head' if depths else 'all'}"
            f"/{'plain' if plain else 'decayed'}{'/bias' if faster else ''}",
            "lr": lr * step**-depth * (bias_factor if faster else 1.0),
            "weight_decay": 0.0 if plain else weight_decay,
        }
        for depth, plain, faster in sorted(found)
    ]


def _undecayed_names(model: nn.Module) -> set[str]:
    """Full names of the parameters that the model or its backbone wants not to be decayed."""
    names: set[str] = set()
    for prefix, module in (("", model), ("backbone.", getattr(model, "backbone", None))):
        declared = getattr(module, "no_weight_decay", None)
        if callable(declared):
            names |= {prefix + name for name in declared()}
    return names


def _depths_below_head(model: nn.Module) -> dict[str, int]:
    """How many layers below the head each backbone parameter lies; 1 for the last layer."""
    from timm.models import group_parameters

    backbone = getattr(model, "backbone", None)
    matcher = getattr(backbone, "group_matcher", None)
    if not isinstance(backbone, nn.Module) or not callable(matcher):
        raise ConfigError(
            "The layers of this model have no known order, so their rates cannot differ.",
            expected="a timm backbone with group_matcher() as model.backbone",
            got=type(backbone if backbone is not None else model).__name__,
            where="train.layer_decay",
            remedy="set train.layer_decay=null",
        )
    with_head: Any = _WithHead(backbone)
    layers: dict[str, int] = group_parameters(with_head, matcher(coarse=False), reverse=True)
    top = layers.pop(_HEAD)
    return {f"backbone.{name}": top - layer for name, layer in layers.items()}


class _WithHead:
    """A backbone's parameters and one more that no layer claims.

    timm puts what no layer claims on top, such as a norm after pooling. The one more tells which
    number that is, so those parameters learn at the rate of our head.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter | None]]:
        yield from self.backbone.named_parameters()
        yield _HEAD, None


def _build(
    groups: list[dict[str, Any]], name: str, *, lr: float, weight_decay: float, momentum: float
) -> Optimizer:
    key = name.lower()
    fused = _can_fuse(parameter for group in groups for parameter in group["params"]) or None
    if key == "adam":
        return torch.optim.Adam(groups, lr=lr, fused=fused)
    if key == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=fused)
    if key in ("sgd", "nesterov"):
        return torch.optim.SGD(
            groups, lr=lr, momentum=momentum, nesterov=key == "nesterov", fused=fused
        )
    import timm.optim

    factory: Any = timm.optim
    known: list[str] = factory.list_optimizers()
    if key not in known:
        near = difflib.get_close_matches(key, [*_OWN_NAMES, *known], n=3, cutoff=0.4)
        raise ConfigError(
            f"There is no optimizer called {name!r}.",
            expected=", ".join(_OWN_NAMES) + f", or one of timm's {len(known)}",
            where="train.optimizer",
            remedy=f"did you mean {near[0]!r}?" if near else "set train.optimizer=adamw",
        )
    optimizer: Optimizer = factory.create_optimizer_v2(
        groups, opt=key, lr=lr, weight_decay=weight_decay, momentum=momentum
    )
    return optimizer


def _can_fuse(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether torch has one kernel for the whole update: floats, all on CUDA or all on the CPU."""
    found = list(parameters)
    devices = {parameter.device.type for parameter in found}
    return devices in ({"cuda"}, {"cpu"}) and all(p.is_floating_point() for p in found)
