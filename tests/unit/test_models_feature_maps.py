from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from sightline.errors import CheckpointError, ConfigError
from sightline.models.feature_maps import create_feature_maps
from sightline.models.settings import BackboneConfig, ModelConfig

LAYERS = ("layer1", "layer2", "layer3")


def config(name: str = "resnet18", **options: object) -> BackboneConfig:
    return BackboneConfig.model_validate({"name": name, "pretrained": False, **options})


def images(count: int = 2, size: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", LAYERS),
        pytest.param("resnet50", ("layer2", "layer3"), marks=pytest.mark.slow),
        pytest.param("wide_resnet50_2", ("layer1", "layer3"), marks=pytest.mark.slow),
        ("mobilenetv2_100", ("blocks.1", "blocks.4")),
    ],
)
def test_maps_are_those_of_timms_own_feature_extractor(name: str, layers: tuple[str, ...]) -> None:
    maps = create_feature_maps(config(name), layers, img_size=64)
    described = timm.create_model(name, pretrained=False, num_classes=0).feature_info
    indices = [[entry["module"] for entry in described].index(layer) for layer in layers]
    oracle = timm.create_model(name, pretrained=False, features_only=True, out_indices=indices)
    own = maps.backbone.state_dict()
    oracle.load_state_dict(own, strict=False)  # some of its kind keep layers nobody asked for
    assert set(own) <= set(oracle.state_dict())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    batch = images()
    normalised = (batch / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        for found, expected in zip(maps(batch), oracle.eval()(normalised), strict=True):
            assert found.dtype == torch.float32
            assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_maps_come_in_the_order_asked_for() -> None:
    torch.manual_seed(0)
    maps = create_feature_maps(config(), LAYERS, img_size=64)
    turned = create_feature_maps(config(), LAYERS[::-1], img_size=64)
    turned.load_state_dict(maps.state_dict())
    for one, other in zip(maps(images()), reversed(turned(images())), strict=True):
        assert torch.equal(one, other)
    assert [one.shape[1] for one in maps(images())] == [64, 128, 256]


def test_a_vision_transformer_gives_maps_too() -> None:
    maps = create_feature_maps(config("test_vit"), ("blocks.2", "blocks.4"), img_size=160)
    assert [tuple(one.shape) for one in maps(images(1, 160))] == [(1, 64, 10, 10)] * 2


def test_frozen_maps_never_change_and_trainable_ones_do() -> None:
    frozen = create_feature_maps(config(), LAYERS, img_size=64)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    frozen.train()
    assert not any(module.training for module in frozen.modules())
    frozen(images())
    assert all(torch.equal(before[name], now) for name, now in frozen.state_dict().items())
    trainable = create_feature_maps(config(), LAYERS, img_size=64, trainable=True)
    assert all(parameter.requires_grad for parameter in trainable.parameters())
    trainable.train()
    statistics = trainable.backbone.get_buffer("bn1.running_mean").clone()
    trainable(images())
    assert not torch.equal(statistics, trainable.backbone.get_buffer("bn1.running_mean"))


def test_a_whole_models_file_loads_and_its_other_tensors_are_named(tmp_path: Path) -> None:
    whole = timm.create_model("resnet18", pretrained=False)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    options = {"weights": tmp_path / "whole.pth"}
    maps = create_feature_maps(config(**options), LAYERS, img_size=64)
    report = maps.weights_report
    assert report is not None
    names = set(whole.state_dict())
    assert set(report.unused) == {name for name in names if name.startswith("layer4.")}
    assert set(report.dropped) == {"fc.weight", "fc.bias"}
    assert set(report.loaded) == names - set(report.unused) - set(report.dropped)
    assert f"unused={len(report.unused)}" in report.summary()
    for name in report.loaded:
        assert torch.equal(maps.backbone.state_dict()[name], whole.state_dict()[name])


def test_a_file_of_the_used_layers_alone_loads_strictly(tmp_path: Path) -> None:
    whole = timm.create_model("resnet18", pretrained=False).state_dict()
    part = {n: t for n, t in whole.items() if not n.startswith(("layer4.", "fc."))}
    torch.save(part, tmp_path / "part.pth")
    chosen = config(weights=tmp_path / "part.pth")
    maps = create_feature_maps(chosen, LAYERS, img_size=64)
    assert maps.weights_report is not None
    assert set(maps.weights_report.loaded) == set(part)
    assert "unused" not in maps.weights_report.summary()
    with pytest.raises(CheckpointError, match=r"lacks \d+ tensors"):
        create_feature_maps(chosen, ("layer4",), img_size=64)


@pytest.mark.parametrize("other", ["mobilenetv2_100", "resnet50"])
def test_weights_of_another_model_are_refused(tmp_path: Path, other: str) -> None:
    torch.save(timm.create_model(other, pretrained=False).state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"model\.name"):
        create_feature_maps(config(weights=tmp_path / "w.pth"), LAYERS, img_size=64)


def test_a_strange_tensor_is_refused_unless_partial(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", pretrained=False, num_classes=0).state_dict()
    torch.save({**state, "stranger.weight": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"stranger\.weight"):
        create_feature_maps(config(weights=tmp_path / "w.pth"), LAYERS, img_size=64)
    accepted = config(weights=tmp_path / "w.pth", weights_partial=True)
    report = create_feature_maps(accepted, LAYERS, img_size=64).weights_report
    assert report is not None
    assert report.unexpected == ("stranger.weight",)


def test_an_unknown_layer_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'layer9'(.|\n)*layer1, layer2, layer3, layer4"):
        create_feature_maps(config(), ("layer1", "layer9"), img_size=64)
    for layers in ((), ("layer1", "layer1")):
        with pytest.raises(ConfigError, match="once each"):
            create_feature_maps(config(), layers, img_size=64)


def test_an_image_size_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"img_size=150"):
        create_feature_maps(config("test_vit"), ("blocks.2",), img_size=150)
    with pytest.raises(ConfigError, match="no model called"):
        create_feature_maps(config("resnet81"), LAYERS, img_size=64)


def test_a_classifiers_settings_are_a_backbones_and_more() -> None:
    names = list(BackboneConfig.model_fields)
    assert names == ["name", "pretrained", "weights", "weights_partial"]
    assert list(ModelConfig.model_fields)[: len(names)] == names
