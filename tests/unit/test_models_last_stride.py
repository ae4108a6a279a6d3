from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.models.last_stride import set_last_stride

QUICK = ("resnet50d", "legacy_seresnet50", "tf_efficientnet_b0", "convnext_tiny")
MORE = (
    "resnet18",
    "resnet50",
    "resnetblur50",
    "res2net50_26w_4s",
    "resnest14d",
    "nf_resnet50",
    "seresnet50",
    "seresnext50_32x4d",
    "senet154",
    "legacy_senet154",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "efficientnet_b0",
    "regnety_004",
    "densenet121",
    "repvgg_a0",
    "pvt_v2_b0",
)
FAMILIES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]


def network(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return timm.create_model(name, pretrained=False, num_classes=0).eval()


def pictures(height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_map_doubles_with_the_same_tensors(name: str) -> None:
    model = network(name)
    images = pictures(128, 64)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with torch.no_grad():
        narrow, width = model.forward_features(images).shape, model(images).shape
        set_last_stride(model, 1, name=name, size=(128, 64))
        wide, embedding = model.forward_features(images), model(images)
    assert wide.shape[:2] == narrow[:2]
    assert all(abs(new - 2 * old) <= 1 for new, old in zip(wide.shape[2:], narrow[2:], strict=True))
    assert embedding.shape == width
    assert torch.isfinite(embedding).all()
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet50", ("layer4.0.conv2", "layer4.0.downsample.0")),
        ("mobilenetv2_100", ("blocks.5.0.conv_dw",)),
    ],
)
def test_it_is_the_change_one_makes_by_hand(name: str, layers: tuple[str, ...]) -> None:
    """REID-7, LAST_STRIDE 1: the strides of the first block of the last stage, and no others."""
    by_hand, made = network(name), network(name)
    for layer in layers:
        by_hand.get_submodule(layer).stride = (1, 1)
    set_last_stride(made, 1, name=name, size=(256, 128))
    strides = [
        {n: m.stride for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
        for model in (by_hand, made)
    ]
    assert strides[0] == strides[1]
    with torch.no_grad():
        assert torch.equal(made(pictures()), by_hand(pictures()))


@pytest.mark.parametrize(
    ("name", "strides", "pools"),
    [
        ("resnet50d", ("layer4.0.conv2",), ("layer4.0.downsample.0",)),
        ("resnetblur50", ("layer4.0.downsample.0",), ("layer4.0.aa",)),
    ],
)
def test_pooling_and_blurring_become_the_identity(
    name: str, strides: tuple[str, ...], pools: tuple[str, ...]
) -> None:
    by_hand, made = network(name), network(name)
    for layer in strides:
        by_hand.get_submodule(layer).stride = (1, 1)
    for layer in pools:
        assert by_hand.get_submodule(layer).stride == 2
        by_hand.set_submodule(layer, nn.Identity())
    set_last_stride(made, 1, name=name, size=64)
    assert repr(made) == repr(by_hand)
    with torch.no_grad():
        assert torch.equal(made(pictures()), by_hand(pictures()))


@pytest.mark.parametrize("stride", [2, None])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_any_other_stride_leaves_the_model_as_timm_made_it(name: str, stride: int | None) -> None:
    left, made = network(name), network(name)
    set_last_stride(made, stride, name=name, size=160)
    assert repr(made) == repr(left)


def test_a_key_reduction_of_attention_is_not_taken_for_the_last_halving() -> None:
    """PVT shrinks the keys of stage 3 to the size of stage 4, by convolutions of stride 2."""
    left, made = network("pvt_v2_b0"), network("pvt_v2_b0")
    set_last_stride(made, 1, name="pvt_v2_b0", size=64)
    strides = [
        {n: m.stride for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
        for model in (left, made)
    ]
    assert {n for n, stride in strides[0].items() if strides[1][n] != stride} == {
        "stages.3.downsample.proj"
    }


@pytest.mark.parametrize("size", [16, (40, 24), (256, 128)])
def test_the_size_of_the_pictures_does_not_matter(size: int | tuple[int, int]) -> None:
    model = network("test_resnet")
    set_last_stride(model, 1, name="test_resnet", size=size)
    assert model.layer4[0].conv1.stride == (1, 1)
    assert isinstance(model.layer4[0].downsample[0], nn.Identity)


def test_the_training_mode_and_the_statistics_are_left_alone() -> None:
    model = network("test_resnet").train()
    set_last_stride(model, 1, name="test_resnet", size=64)
    assert all(module.training for module in model.modules())
    counters = [t for n, t in model.state_dict().items() if n.endswith("num_batches_tracked")]
    assert counters
    assert not any(int(counter) for counter in counters)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_vit", "no map"),
        ("swin_tiny_patch4_window7_224", "channels follow"),
        pytest.param("inception_v3", "Sizes of tensors must match", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_cannot_is_refused_with_the_reason(name: str, reason: str) -> None:
    size = timm.get_pretrained_cfg(name).input_size[-1]  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="cannot keep the size") as caught:
        set_last_stride(network(name), 1, name=name, size=size)
    assert name in str(caught.value)
    assert reason in str(caught.value.got)
    assert caught.value.where == "model.last_stride=1"
    assert "model.last_stride=null" in str(caught.value.remedy)


def test_a_halving_by_other_means_is_refused() -> None:
    """The strided convolution that is there shrinks a map that was shrunk once more behind it."""

    class Sliced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

        def forward_features(self, images: Tensor) -> Tensor:
            return self.conv(images)[:, :, ::2, ::2]  # type: ignore[no-any-return]

        def forward(self, images: Tensor) -> Tensor:
            return self.forward_head(self.forward_features(images))

        def forward_head(self, maps: Tensor) -> Tensor:
            return maps.mean((2, 3))

    with pytest.raises(ConfigError, match="no strided convolution or pooling"):
        set_last_stride(Sliced(), 1, name="sliced", size=64)


def test_weights_of_the_unchanged_model_load_as_before(tmp_path: Path) -> None:
    source = network("test_resnet", seed=1)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    made = network("test_resnet", seed=2)
    set_last_stride(made, 1, name="test_resnet", size=64)
    made.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    set_last_stride(source, 1, name="test_resnet", size=64)
    with torch.no_grad():
        assert torch.equal(made(pictures()), source(pictures()))
