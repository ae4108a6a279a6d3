from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from sightline.errors import ConfigError
from sightline.models.backbones import create_backbone, cuts_edges
from sightline.models.pooling import GeMPooling
from sightline.models.settings import ModelConfig


def config(name: str, **options: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": name, "pretrained": False, **options})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of published weights, and a host where nothing listens."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax", "catavgmax", "gem"])
@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "mobilenetv2_100"])
def test_every_pooling_gives_vectors_of_the_promised_size(name: str, pooling: str) -> None:
    """CLS-33, CLS-49: global pooling is mapped, also where it doubles the width."""
    backbone = create_backbone(config(name, pooling=pooling), img_size=64)
    module = backbone.module.eval()
    with torch.no_grad():
        embeddings = module(torch.rand(2, 3, 64, 64))
    assert embeddings.shape == (2, backbone.embedding_dim)
    assert torch.isfinite(embeddings).all()


def test_poolings_differ_as_their_names_say() -> None:
    features = torch.rand(2, 4, 5, 5)
    gem = GeMPooling()
    with torch.no_grad():
        gem.exponent.fill_(1.0)
        assert torch.allclose(gem(features), features.mean((2, 3)), atol=1e-6)
        gem.exponent.fill_(80.0)
        assert torch.allclose(gem(features), features.amax((2, 3)), atol=0.06)
        slow = torch.tensor([(features[0, 0].flatten() ** 3).mean() ** (1 / 3)])
        gem.exponent.fill_(3.0)
        assert torch.allclose(gem(features)[0, 0], slow)
    assert GeMPooling(flatten=False)(features).shape == (2, 4, 1, 1)


@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_gem_replaces_the_pooling_of_any_layout_and_learns(name: str) -> None:
    backbone = create_backbone(config(name, pooling="gem"), img_size=64)
    images = torch.rand(1, 3, 64, 64)
    exponents = [m.exponent for m in backbone.module.modules() if isinstance(m, GeMPooling)]
    assert len(exponents) == 1
    backbone.module.eval()(images).square().sum().backward()
    assert exponents[0].grad is not None
    assert torch.isfinite(exponents[0].grad).all()


@pytest.mark.parametrize(
    ("name", "pooling", "works", "best"),
    [
        ("test_resnet", "token", "avg or max or avgmax or catavgmax or gem", "avg (recommended)"),
        ("test_vit", "catavgmax", "avg or max or avgmax or token", "avg (recommended)"),
        ("test_vit", "gem", "avg or max or avgmax or token", "avg (recommended)"),
        ("deit_tiny_distilled_patch16_224", "avg", "token", "token"),
    ],
)
def test_a_pooling_the_model_cannot_do_is_explained(
    name: str, pooling: str, works: str, best: str
) -> None:
    """CLS-56: never changed in silence; what works is listed, avg recommended."""
    with pytest.raises(ConfigError, match="cannot pool") as caught:
        create_backbone(config(name, pooling=pooling))
    assert caught.value.expected == works
    assert caught.value.got == pooling
    assert caught.value.remedy == f"set model.pooling={best}"


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet81", "resnet18"), ("mobilenetv2-100", "mobilenetv2_100"), ("", "timm name")],
)
def test_an_unknown_name_gets_near_ones(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match="no model called") as caught:
        create_backbone(config(name))
    assert near in str(caught.value)


def test_an_unknown_tag_gets_the_tags_there_are() -> None:
    with pytest.raises(ConfigError, match=r"with that tag(.|\n)*resnet18\.a1_in1k"):
        create_backbone(config("resnet18.a1_in2k"))
    assert create_backbone(config("test_resnet.r160_in1k")).embedding_dim == 96


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_models_with_a_fixed_grid_are_made_for_the_image_size(name: str, size: int) -> None:
    backbone = create_backbone(config(name), img_size=size)
    with torch.no_grad():
        embeddings = backbone.module.eval()(torch.zeros(1, 3, size, size))
    assert embeddings.shape == (1, backbone.embedding_dim)


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_an_image_size_that_does_not_fit_names_sizes_that_do(name: str) -> None:
    """Also where timm would only leave out the edges that fill no patch."""
    with pytest.raises(ConfigError, match="100 x 100") as caught:
        create_backbone(config(name), img_size=100)
    assert caught.value.where == "train.img_size"
    sizes = [int(size) for size in str(caught.value.expected).split("example ")[1].split(", ")]
    assert 96 in sizes
    assert 112 in sizes
    for size in sizes:
        assert create_backbone(config(name), img_size=size).embedding_dim in (64, 192)


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "swin_tiny_patch4_window7_224"])
def test_models_are_made_for_pictures_that_are_no_squares(name: str) -> None:
    backbone = create_backbone(config(name), img_size=(224, 112))
    with torch.no_grad():
        embeddings = backbone.module.eval()(torch.zeros(1, 3, 224, 112))
    assert embeddings.shape == (1, backbone.embedding_dim)


def test_a_height_and_width_that_do_not_fit_name_others_that_do() -> None:
    with pytest.raises(ConfigError, match="224 x 100 pixels") as caught:
        create_backbone(config("test_vit"), img_size=(224, 100))
    assert caught.value.got == "[224,100]"
    assert caught.value.expected == "for example [224,96], [224,112], [224,128], 160"
    assert caught.value.remedy == "set train.img_size=[224,96]"
    for size in ((224, 96), (224, 112), (224, 128)):
        assert create_backbone(config("test_vit"), img_size=size).embedding_dim == 64


def test_patches_may_be_no_squares() -> None:
    module = create_backbone(config("test_vit"), img_size=64).module
    module.patch_embed.patch_size = (16, 8)
    assert not cuts_edges(module, (32, 24))
    assert cuts_edges(module, (24, 32))


def test_stochastic_depth_reaches_the_model_or_is_refused() -> None:
    deep = create_backbone(config("test_resnet", drop_path_rate=0.5)).module
    rates: list[Any] = [m.drop_prob for m in deep.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.5)
    plain = create_backbone(config("swin_tiny_patch4_window7_224")).module
    assert not [m for m in plain.modules() if getattr(m, "drop_prob", 0.0)]
    with pytest.raises(ConfigError, match=r"no residual branches(.|\n)*drop_path_rate=0"):
        create_backbone(config("densenet121", drop_path_rate=0.1))


def test_input_statistics_are_those_of_the_weights() -> None:
    resnet = create_backbone(config("resnet18"))
    assert resnet.input_mean == pytest.approx((0.485, 0.456, 0.406))
    assert resnet.input_std == pytest.approx((0.229, 0.224, 0.225))
    assert create_backbone(config("vit_tiny_patch16_224")).input_mean == (0.5, 0.5, 0.5)


def test_creation_leaves_train_mode_and_statistics_alone() -> None:
    module = create_backbone(config("test_resnet"), img_size=64).module
    assert all(part.training for part in module.modules())
    counters = [t for n, t in module.state_dict().items() if n.endswith("num_batches_tracked")]
    assert counters
    assert all(int(counter) == 0 for counter in counters)


@pytest.mark.parametrize("offline", [False, True])
def test_pretrained_without_a_network_fails_at_once(
    hub: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    start = time.perf_counter()
    with pytest.raises(ConfigError, match="cannot be fetched") as caught:
        create_backbone(ModelConfig(name="test_resnet"))
    assert time.perf_counter() - start < 10
    assert "model.weights=FILE" in str(caught.value)
    assert "model.pretrained=false" in str(caught.value)
    assert ("HF_HUB_OFFLINE" in str(caught.value)) is offline


def test_pretrained_weights_in_the_cache_need_no_network(hub: Path) -> None:
    source: nn.Module = timm.create_model("test_resnet", pretrained=False)
    folder = hub / "models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(source.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")

    backbone = create_backbone(ModelConfig(name="test_resnet"))

    assert backbone.weights is not None
    assert set(backbone.weights.dropped) == {"fc.weight", "fc.bias"}
    for name, tensor in backbone.module.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]), name


def is_published(name: str) -> bool:
    published = timm.get_pretrained_cfg(name)
    return published is not None and bool(published.hf_hub_id)


def test_a_model_without_published_weights_says_so(hub: Path) -> None:
    names = set(timm.list_models()) - set(timm.list_models(pretrained=True))
    bare = min(name for name in names if not is_published(name))
    with pytest.raises(ConfigError, match=r"no published weights(.|\n)*model\.pretrained=false"):
        create_backbone(ModelConfig(name=bare))


def test_a_local_file_wins_over_pretrained(hub: Path, tmp_path: Path) -> None:
    source: nn.Module = timm.create_model("test_resnet", pretrained=False, num_classes=0)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    backbone = create_backbone(
        ModelConfig(name="test_resnet", weights=tmp_path / "w.pth", pooling="gem")
    )
    assert backbone.weights is not None
    assert backbone.weights.missing == ()  # the exponent of gem is no weight of the file
    for name, tensor in source.state_dict().items():
        assert torch.equal(backbone.module.state_dict()[name], tensor), name


def test_partial_weights_without_a_source_are_refused() -> None:
    with pytest.raises(ValueError, match="weights_partial is used only"):
        ModelConfig(name="test_resnet", pretrained=False, weights_partial=True)
