from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.errors import ConfigError
from sightline.models.backbones import create_backbone
from sightline.models.feature_maps import create_feature_maps
from sightline.models.ibn import IBN_BASES, InstanceBatchNorm, SqueezeExcitation, create_module
from sightline.models.settings import BackboneConfig, ModelConfig

DEPTHS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3)}


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


class Published:
    """A network in evaluation as its authors describe it, from tensors with their names."""

    def __init__(self, name: str, tensors: dict[str, Tensor]) -> None:
        self.tensors, self.used = tensors, set[str]()
        self.depths = next(depths for key, depths in DEPTHS.items() if f"{key}_ibn" in name)
        self.is_deep = "18" not in name and "34" not in name
        self.groups = 32 if "next" in name else 1

    def take(self, name: str) -> Tensor:
        self.used.add(name)
        return self.tensors[name]

    def conv(self, name: str, values: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.take(f"{name}.weight")
        padding = weight.shape[-1] // 2
        return F.conv2d(values, weight, stride=stride, padding=padding, groups=groups)

    def batch_norm(self, name: str, values: Tensor) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (
            self.take(f"{name}.{part}")[None, :, None, None] for part in parts
        )
        return (values - mean) / (variance + 1e-5).sqrt() * weight + bias

    def ibn(self, name: str, values: Tensor) -> Tensor:
        half = values.shape[1] // 2
        alone, rest = values[:, :half], values[:, half:]
        centred = alone - alone.mean((2, 3), keepdim=True)
        spread = (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        weight, bias = (
            self.take(f"{name}.IN.{part}")[None, :, None, None] for part in ("weight", "bias")
        )
        return torch.cat(
            [centred / spread * weight + bias, self.batch_norm(f"{name}.BN", rest)], dim=1
        )

    def block(self, name: str, values: Tensor, *, stage: int, stride: int) -> Tensor:
        first = self.ibn if stage < 4 else self.batch_norm
        steps = (1, stride, 1) if self.is_deep else (stride, 1)
        found, last = values, len(steps)
        for n, step in enumerate(steps, start=1):
            groups = self.groups if n == 2 else 1
            found = self.conv(f"{name}.conv{n}", found, step, groups)
            found = (first if n == 1 else self.batch_norm)(f"{name}.bn{n}", found)
            found = found if n == last else found.relu()
        if f"{name}.se.fc.0.weight" in self.tensors:
            hidden = (found.mean((2, 3)) @ self.take(f"{name}.se.fc.0.weight").T).relu()
            found = (
                found * (hidden @ self.take(f"{name}.se.fc.2.weight").T).sigmoid()[..., None, None]
            )
        if f"{name}.downsample.0.weight" in self.tensors:
            values = self.conv(f"{name}.downsample.0", values, stride)
            values = self.batch_norm(f"{name}.downsample.1", values)
        return (found + values).relu()

    def __call__(self, values: Tensor) -> Tensor:
        values = self.batch_norm("bn1", self.conv("conv1", values, 2)).relu()
        values = F.max_pool2d(values, 3, stride=2, padding=1)
        for stage, depth in enumerate(self.depths, start=1):
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                values = self.block(f"layer{stage}.{index}", values, stage=stage, stride=stride)
        return values.mean((2, 3))


def shaken(name: str, seed: int = 0) -> Any:
    """A network none of whose tensors is at its start, statistics included."""
    module = create_module(name, num_classes=0).eval()
    random = torch.Generator().manual_seed(seed)
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
        elif "fc" in key:
            tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.2)
    return module


@pytest.mark.parametrize(
    "name",
    [
        "resnet18_ibn_a",
        "resnet50_ibn_a",
        "resnext101_ibn_a",
        "se_resnet101_ibn_a",
        pytest.param("resnet34_ibn_a", marks=pytest.mark.slow),
        pytest.param("resnet101_ibn_a", marks=pytest.mark.slow),
    ],
)
def test_each_network_is_the_published_one_by_the_published_names(name: str) -> None:
    """Pan et al. 2018: IBN-a in the first three stages, and no tensor that is not used."""
    module = shaken(name).double()
    reference = Published(name, module.state_dict())
    looked_at = images(side=48).double()
    with torch.no_grad():
        expected, got = reference(looked_at), module(looked_at)
    assert torch.allclose(got, expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max()))
    counters = {key for key in module.state_dict() if key.endswith("num_batches_tracked")}
    assert reference.used | counters == set(module.state_dict())
    assert "layer3.0.bn1.IN.weight" in reference.used
    assert "layer4.0.bn1.IN.weight" not in reference.used


def test_squeeze_and_excitation_has_a_sixteenth_of_the_channels_inside() -> None:
    shapes = {k: tuple(t.shape) for k, t in SqueezeExcitation(256).state_dict().items()}
    assert shapes == {"fc.0.weight": (16, 256), "fc.2.weight": (256, 16)}


def test_half_of_the_channels_is_normalised_within_each_picture() -> None:
    maps = torch.rand(3, 6, 4, 5, generator=torch.Generator().manual_seed(1)) * 7 + 2
    norm = InstanceBatchNorm(6)
    with torch.no_grad():
        made = norm.train()(maps)
    for channel in range(6):
        for picture in range(3):
            group = maps[picture, channel] if channel < 3 else maps[:, channel]
            mean, spread = statistics.fmean(group.flatten().tolist()), group.std(correction=0)
            expected = (maps[picture, channel] - mean) / spread
            assert torch.allclose(made[picture, channel], expected, atol=1e-3)
    with torch.no_grad():
        rest = norm.eval()(maps)
    assert torch.allclose(rest[:, :3], made[:, :3], atol=1e-6)  # the same without a batch
    assert not torch.allclose(rest[:, 3:], made[:, 3:], atol=1e-2)


def test_an_odd_channel_goes_to_the_batch() -> None:
    norm = InstanceBatchNorm(5)
    assert (norm.IN.num_features, norm.BN.num_features) == (2, 3)
    assert norm(torch.rand(2, 5, 3, 3)).shape == (2, 5, 3, 3)


def test_a_file_of_the_authors_form_loads_and_every_tensor_is_accounted_for(tmp_path: Path) -> None:
    source = shaken("resnet18_ibn_a", seed=3)
    tensors = dict(source.state_dict())
    published = tensors | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    file = tmp_path / "resnet18_ibn_a-2f571257.pth"
    torch.save({f"module.{key}": tensor for key, tensor in published.items()}, file)

    backbone = create_backbone(ModelConfig(name="resnet18_ibn_a", weights=file), img_size=64)

    assert backbone.weights is not None
    assert set(backbone.weights.loaded) == set(tensors)
    assert set(backbone.weights.dropped) == {"fc.weight", "fc.bias"}
    assert backbone.embedding_dim == 512
    with torch.no_grad():
        assert torch.equal(backbone.module.eval()(images()), source(images()))


def test_plain_weights_do_not_pass_for_those_of_ibn(tmp_path: Path) -> None:
    plain: Any = timm.create_model("resnet18", num_classes=0)
    torch.save(plain.state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(Exception, match=r"lacks \d+ tensors(.|\n)*layer1\.0\.bn1\.IN\.weight"):
        create_backbone(ModelConfig(name="resnet18_ibn_a", weights=tmp_path / "resnet18.pth"))


@pytest.mark.parametrize("name", IBN_BASES)
def test_pretrained_is_refused_with_the_file_to_look_for(name: str) -> None:
    with pytest.raises(ConfigError, match="timm publishes no weights") as caught:
        create_backbone(ModelConfig(name=name))
    assert f"{name}-*.pth" in str(caught.value.expected)
    assert "model.weights=FILE" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "wrong", ["resnet50_ibna", "resnet50-ibn-a", "resnet50_ibn_a.v1", "resnet50_ibn_b"]
)
def test_a_slip_in_the_name_gets_the_name(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"no model called(.|\n)*resnet50_ibn_a"):
        create_backbone(ModelConfig(name=wrong, pretrained=False))


def test_settings_of_other_backbones_work_too() -> None:
    config = ModelConfig(name="resnet18_ibn_a", pretrained=False, pooling="gem", drop_path_rate=0.1)
    backbone = create_backbone(config, img_size=64)
    assert backbone.input_mean == pytest.approx((0.485, 0.456, 0.406))
    backbone.module.train()(images()).square().sum().backward()
    grads = [parameter.grad for parameter in backbone.module.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)


def test_maps_of_layers_can_be_had_too() -> None:
    config = BackboneConfig(name="resnet18_ibn_a", pretrained=False)
    maps = create_feature_maps(config, ["layer1", "layer2"], img_size=64)
    raw = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert [tuple(one.shape) for one in maps(raw)] == [(1, 64, 16, 16), (1, 128, 8, 8)]
