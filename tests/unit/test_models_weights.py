from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sightline.errors import CheckpointError, ConfigError
from sightline.models.classifier import create_classifier
from sightline.models.settings import ModelConfig
from sightline.models.weights import load_weights


class Exploit:
    """An object that would act when unpickled by an unsafe loader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def resnet(**options: Any) -> nn.Module:
    model: nn.Module = timm.create_model("test_resnet", pretrained=False, **options)
    return model


def backbone() -> nn.Module:
    return resnet(num_classes=0)


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def assert_same_weights(left: nn.Module, right: dict[str, Tensor]) -> None:
    for name, tensor in left.state_dict().items():
        assert torch.equal(tensor, right[name]), name


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_a_file_in_any_usual_wrapping_gives_the_same_weights(
    tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    source = backbone().state_dict()
    state: object = {prefix + name: tensor for name, tensor in source.items()}
    content = state if wrapper is None else {wrapper: state, "epoch": 3}
    target = backbone()

    report = load_weights(target, saved(content, tmp_path / "w.pth"))

    assert_same_weights(target, source)
    assert set(report.loaded) == set(source)
    assert report.summary().endswith("missing=0 unexpected=0 classifier_dropped=0")


def test_safetensors_give_the_same_weights(tmp_path: Path) -> None:
    source = backbone().state_dict()
    save_file(source, tmp_path / "w.safetensors")
    target = backbone()
    load_weights(target, tmp_path / "w.safetensors")
    assert_same_weights(target, source)


def test_the_classifier_of_the_file_is_dropped_and_reported(tmp_path: Path) -> None:
    full = resnet(num_classes=7).state_dict()
    target = backbone()
    report = load_weights(target, saved(full, tmp_path / "w.pth"))
    assert set(report.dropped) == {"fc.weight", "fc.bias"}
    assert "classifier_dropped=2" in report.summary()
    assert_same_weights(target, full)


def test_a_whole_classifier_of_ours_gives_its_backbone(tmp_path: Path) -> None:
    source = create_classifier(ModelConfig(name="test_resnet", pretrained=False), 3)
    target = backbone()
    report = load_weights(target, saved({"model": source.state_dict()}, tmp_path / "w.pth"))
    assert_same_weights(target, source.backbone.state_dict())
    assert {"head.weight", "head.bias"} <= set(report.dropped)


def test_running_counters_may_be_absent(tmp_path: Path) -> None:
    state = {n: t for n, t in backbone().state_dict().items() if "num_batches" not in n}
    report = load_weights(backbone(), saved(state, tmp_path / "w.pth"))
    assert report.missing == ()
    assert set(report.loaded) == set(state)


def without_last_stage(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("layer4")}


def test_missing_tensors_need_consent(tmp_path: Path) -> None:
    source = backbone().state_dict()
    file = saved(without_last_stage(source), tmp_path / "w.pth")
    target = backbone()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"lacks \d+ tensors") as caught:
        load_weights(target, file)
    assert "layer4.0.conv1.weight" in str(caught.value)
    assert "model.weights_partial=true" in str(caught.value)
    assert_same_weights(target, before)

    report = load_weights(target, file, partial=True)
    assert "layer4.0.conv1.weight" in report.missing
    assert all(name.startswith("layer4") for name in report.missing)
    assert_same_weights(target, source | {n: before[n] for n in before if n.startswith("layer4")})


def test_tensors_left_over_need_consent(tmp_path: Path) -> None:
    state = backbone().state_dict() | {"layer5.weight": torch.ones(2)}
    file = saved(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"layer5\.weight"):
        load_weights(backbone(), file)
    assert load_weights(backbone(), file, partial=True).unexpected == ("layer5.weight",)


@pytest.mark.parametrize("partial", [False, True])
def test_another_shape_is_refused_even_when_partial(tmp_path: Path, partial: bool) -> None:
    state = backbone().state_dict() | {"bn1.weight": torch.ones(3)}
    with pytest.raises(CheckpointError, match=r"bn1\.weight: file \(3,\) backbone \(32,\)"):
        load_weights(backbone(), saved(state, tmp_path / "w.pth"), partial=partial)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_weights_of_something_else_are_refused(tmp_path: Path, name: str) -> None:
    other: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    file = saved({"encoder.w": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"No tensor .* fits") as caught:
        load_weights(other, file, partial=True)
    assert "encoder.w" in str(caught.value)
    assert "model.name" in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = backbone().state_dict()
    state["bn1.bias"][0] = torch.nan
    with pytest.raises(CheckpointError, match=r"NaN(.|\n)*bn1\.bias"):
        load_weights(backbone(), saved(state, tmp_path / "w.pth"))


def test_a_pickled_object_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    file = saved({"state_dict": backbone().state_dict(), "x": Exploit(trap)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="Python objects") as caught:
        load_weights(backbone(), file)
    assert not trap.exists()
    assert "posix.mkdir" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 5


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0, 10, 5_000, -100])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, kept: int) -> None:
    file = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save(backbone().state_dict(), file)
    else:
        save_file(backbone().state_dict(), file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="truncated") as caught:
        load_weights(backbone(), file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.pth", "."])
def test_no_file_is_a_config_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"not there(.|\n)*model\.weights"):
        load_weights(backbone(), tmp_path / name)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"model": {}}])
def test_a_file_without_tensors_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(CheckpointError, match="no state dict"):
        load_weights(backbone(), saved(content, tmp_path / "w.pth"))


def test_positions_of_another_image_size_are_converted(tmp_path: Path) -> None:
    """The family's own conversion resamples the position grid; everything else is copied."""
    source: Any = timm.create_model("test_vit", pretrained=False, num_classes=5)
    target: Any = timm.create_model("test_vit", pretrained=False, num_classes=0, img_size=96)
    assert source.pos_embed.shape != target.pos_embed.shape
    report = load_weights(target, saved(source.state_dict(), tmp_path / "w.pth"))
    assert set(report.dropped) == {"head.weight", "head.bias"}
    assert torch.equal(target.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)
    assert torch.equal(target.pos_embed[:, 0], source.pos_embed[:, 0])  # the class token's own


def test_average_pooling_of_a_class_token_model_is_explained(tmp_path: Path) -> None:
    source = timm.create_model("test_vit", pretrained=False, num_classes=0, global_pool="token")
    target = timm.create_model("test_vit", pretrained=False, num_classes=0, global_pool="avg")
    with pytest.raises(CheckpointError, match=r"model\.pooling=token"):
        load_weights(target, saved(source.state_dict(), tmp_path / "w.pth"))
