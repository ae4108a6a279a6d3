"""The last halving of a backbone's map, undone: a map of twice the side for the same weights.

B C H W D are batch, channels, height, width and embedding size; h and w the size of the last map.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sightline.config.image_size import ImageSize, size_of
from sightline.errors import ConfigError
from sightline.models.backbones import REFUSALS

SHORTEST_PROBE = 128
"""Least side in pixels of the empty picture: the last map of most models then has 4 cells or more,
so that two maps of different sizes can never be added by broadcasting."""


class _Passage(NamedTuple):
    """What became of an empty picture."""

    map: tuple[int, int] | None
    """(h, w) of the last map, or None when the features are no map."""
    width: int
    """D of the embedding."""
    shrinking: list[str]
    """Names of strided layers that made a map of the last size from a larger one, in order."""


def set_last_stride(backbone: nn.Module, stride: int | None, *, name: str, size: ImageSize) -> None:
    """Let the last stage of a timm model keep the size of its map, in place; only for stride 1.

    With 2 or None nothing is done. The strided convolutions of the last halving get stride 1,
    pooling and anti-aliasing there become the identity (Luo et al., "Bag of Tricks and a Strong
    Baseline for Deep Person Re-identification", section 3.5, 2019). No tensor is added, removed or
    changed, so weights load as before. `size` is the pictures' side, or (H, W).

    ConfigError, naming `name`, unless an empty picture then gives a map of twice the sides (give
    or take one) and an embedding as long as before; the backbone is then of no more use.
    """
    if stride != 1:
        return
    probe, before = _first_passage(backbone, name, size)
    if before.map is None:
        raise _refusal(name, "its features are no map, or one that channels follow")
    if not before.shrinking or min(before.map) < 2:
        raise _refusal(name, "no strided convolution or pooling makes its last map")
    problem = ""
    # As few as let the model run: an earlier layer of the same kind may shrink something else,
    # such as the keys of an attention.
    for layer in reversed(before.shrinking):
        _keep_size(backbone, layer)
        try:
            after = _passage(backbone, probe)
        except REFUSALS as error:
            problem = _reason(error)
            continue
        if _doubled(before, after):
            return
        problem = f"its map went from {before.map} to {after.map}"
    raise _refusal(name, problem)


def _first_passage(backbone: nn.Module, name: str, size: ImageSize) -> tuple[Tensor, _Passage]:
    """An empty picture that the model takes, and its passage; without arithmetic if possible."""
    height, width = size_of(size)
    factor = -(-SHORTEST_PROBE // min(height, width))
    problem: Exception | None = None
    for times in dict.fromkeys((factor, 1)):
        # Some models hold tensors beside their buffers, which shapes alone cannot go through.
        for device in ("meta", "cpu"):
            probe = torch.zeros(1, 3, height * times, width * times, device=device)
            try:
                return probe, _passage(backbone, probe)
            except REFUSALS as error:
                problem = error
    raise _refusal(name, _reason(problem))


class _Watched(nn.Module):
    """A backbone that answers its last map and its embedding."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, h, w) and embedding (B, D) of normalised images (B, 3, H, W)."""
        last = self.backbone.forward_features(images)
        return last, self.backbone.forward_head(last)


@torch.no_grad()
def _passage(backbone: nn.Module, probe: Tensor) -> _Passage:
    seen: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}
    watched = _Watched(backbone)
    hooks = [
        module.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update(
                {name: (_plane(inputs[0]), _plane(output))}
            )
        )
        for name, module in backbone.named_modules()
        if _is_strided(module)
    ]
    was_training = backbone.training
    watched.eval()
    try:
        tensors: dict[str, Tensor] = {}
        if probe.is_meta:
            owned = [*watched.named_parameters(), *watched.named_buffers()]
            tensors = {name: tensor.to("meta") for name, tensor in owned}
        last, embedding = torch.func.functional_call(watched, tensors, (probe,))
    finally:
        backbone.train(was_training)
        for hook in hooks:
            hook.remove()
    layout = str(getattr(backbone, "output_fmt", "NCHW"))
    is_map = isinstance(last, Tensor) and last.ndim == 4 and not layout.endswith("NHWC")
    size = _plane(last) if is_map else None
    shrinking = [
        name
        for name, (entered, left) in seen.items()
        if left == size and entered[0] > left[0] and entered[1] > left[1]
    ]
    return _Passage(size, int(embedding.shape[1]), shrinking)


def _plane(tensor: Tensor) -> tuple[int, int]:
    return int(tensor.shape[-2]), int(tensor.shape[-1])


def _is_strided(module: nn.Module) -> bool:
    from timm.layers.blur_pool import BlurPool2d

    kinds = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, BlurPool2d)
    stride = getattr(module, "stride", 1)
    return isinstance(module, kinds) and (stride if isinstance(stride, int) else max(stride)) > 1


def _keep_size(backbone: nn.Module, name: str) -> None:
    """Take the stride out of one layer."""
    layer = backbone.get_submodule(name)
    if isinstance(layer, nn.Conv2d):
        layer.stride = (1, 1)
        return
    parent, _, child = name.rpartition(".")
    setattr(backbone.get_submodule(parent), child, nn.Identity())


def _doubled(before: _Passage, after: _Passage) -> bool:
    """Whether both sides of the map are twice what they were, give or take one."""
    if before.map is None or after.map is None or after.width != before.width:
        return False
    return all(abs(new - 2 * old) <= 1 for new, old in zip(after.map, before.map, strict=True))


def _reason(error: Exception | None) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__


def _refusal(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"The last stage of the model {name!r} cannot keep the size of its map.",
        expected="a convolutional model, such as resnet50",
        got=reason,
        where="model.last_stride=1",
        remedy="set model.last_stride=null to take the model as it is",
    )
