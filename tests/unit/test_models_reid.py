from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.models.reid_model import (
    BNNeck,
    ReidModel,
    ReidModelConfig,
    create_reid_model,
)
from sightline.training.modes import set_training_mode


def images(count: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 64, 32), dtype=torch.uint8, generator=generator)


def model(
    *, seed: int = 0, feature: Any = "after", unit: bool = True, **settings: Any
) -> ReidModel:
    torch.manual_seed(seed)
    config = ReidModelConfig(**{"name": "test_resnet", "pretrained": False, **settings})
    return create_reid_model(
        config, identities=5, feature=feature, unit_length=unit, img_size=(64, 32)
    )


def trained(**settings: Any) -> ReidModel:
    """A model whose neck has statistics and weights of its own."""
    made = model(**settings)
    random = torch.Generator().manual_seed(9)
    if isinstance(made.neck, BNNeck):
        for tensor in (made.neck.running_mean, made.neck.running_var, made.neck.weight.data):
            assert tensor is not None
            tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
    return made.eval()


def test_the_defaults_are_those_of_the_strong_baseline() -> None:
    """REID-7: NAME resnet50, LAST_STRIDE 1, PRETRAIN_CHOICE imagenet, NECK bnneck."""
    config = ReidModelConfig()
    assert (config.name, config.last_stride, config.neck) == ("resnet50", 1, "bnneck")
    assert config.pretrained


def test_features_are_those_of_the_backbone_and_their_batch_norm() -> None:
    made = trained()
    neck: Any = made.neck
    with torch.no_grad():
        features = made.features(images())
        raw = made.backbone(made.normalize(images()))
    by_hand = (raw - neck.running_mean) / (neck.running_var + neck.eps).sqrt() * neck.weight
    assert features.before.shape == features.after.shape == (4, made.embedding_dim)
    assert torch.equal(features.before, raw)
    assert torch.allclose(features.after, by_hand, atol=1e-5)


def test_in_training_the_neck_normalises_over_the_batch() -> None:
    made = model().train()
    before, after = made.features(images())
    spread = before.var(dim=0, correction=0)
    expected = (before - before.mean(dim=0)) / (spread + 1e-5).sqrt()
    assert torch.allclose(after, expected, atol=1e-4)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("feature", ["after", "before"])
def test_what_answers_is_the_feature_that_was_chosen(feature: str, unit: bool) -> None:
    made = trained(feature=feature, unit=unit)
    with torch.no_grad():
        answer, features = made(images()), made.features(images())
    expected = getattr(features, feature)
    if unit:
        expected = nn.functional.normalize(expected)
        assert torch.allclose(answer.norm(dim=1), torch.ones(4), atol=1e-6)
    assert torch.allclose(answer, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_are_float32_under_autocast(dtype: torch.dtype) -> None:
    made = trained()
    with torch.no_grad(), torch.autocast("cpu", dtype):
        features, answer = made.features(images()), made(images())
    assert {features.before.dtype, features.after.dtype, answer.dtype} == {torch.float32}
    with torch.no_grad():  # the neck itself does not round
        assert torch.equal(features.after, made.neck(features.before))


def test_the_neck_keeps_its_shift_at_zero_and_learns_its_scale() -> None:
    made = model()
    set_training_mode(made)
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=1.0)
    made.logits(made.features(images()).after).square().sum().backward()
    optimizer.step()
    neck: Any = made.neck
    assert isinstance(neck, BNNeck)
    assert not neck.bias.any()
    assert neck.bias.grad is None
    assert not torch.equal(neck.weight, torch.ones_like(neck.weight))


def test_frozen_statistics_are_those_of_the_backbone_and_not_of_the_neck() -> None:
    made = model()
    set_training_mode(made, freeze_norm_statistics=True)
    assert made.neck.training
    norms = [m for m in made.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(one.training for one in norms)


def test_the_classifier_starts_small_and_has_a_bias_only_without_a_neck() -> None:
    torch.manual_seed(0)
    config = ReidModelConfig(name="test_resnet", pretrained=False)
    with_neck: Any = create_reid_model(config, identities=500, img_size=64).classifier
    bare: Any = model(neck="none").classifier
    assert with_neck.bias is None
    assert with_neck.weight.shape == (500, 96)
    assert with_neck.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert bare.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert bare.bias is not None
    assert not bare.bias.any()


def test_without_a_neck_both_features_are_the_same() -> None:
    made = model(neck="none").eval()
    with torch.no_grad():
        before, after = made.features(images())
        assert torch.equal(before, after)
        assert torch.equal(made.logits(after), made.classifier(before))
    assert not any("neck" in key for key in made.state_dict())


def test_dropout_is_before_the_classifier_only() -> None:
    """So that the distances of a triplet loss are those of whole features."""
    made = model(drop_rate=0.5).train()
    after = torch.ones(64, made.embedding_dim)
    assert not torch.equal(made.logits(after), made.logits(after))
    assert torch.equal(made.features(images()).before, made.features(images()).before)
    made.eval()
    assert torch.equal(made.logits(after), made.logits(after))


@pytest.mark.parametrize("stride", [1, 2, None])
def test_the_last_stride_changes_the_map_and_no_tensor(stride: int | None) -> None:
    made = model(last_stride=stride)
    backbone: Any = made.backbone
    with torch.no_grad():
        shape = backbone.eval().forward_features(made.normalize(images())).shape
    assert shape[2:] == ((4, 2) if stride == 1 else (2, 1))
    assert list(made.state_dict()) == list(model(last_stride=None).state_dict())


@pytest.mark.parametrize("name", ["test_resnet", "resnet18_ibn_a"])
def test_a_model_made_again_with_a_saved_state_answers_alike(tmp_path: Path, name: str) -> None:
    first = trained(name=name)
    torch.save(first.state_dict(), tmp_path / "state.pth")
    again = model(name=name, seed=5).eval()
    again.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    with torch.no_grad():
        assert torch.equal(again(images()), first(images()))


def test_a_weights_file_loads_whatever_the_stride(tmp_path: Path) -> None:
    source = model(seed=3, last_stride=2)
    torch.save(source.backbone.state_dict(), tmp_path / "weights.pth")
    made = model(weights=tmp_path / "weights.pth")
    assert made.weights_report is not None
    assert made.weights_report.missing == ()
    state = made.backbone.state_dict()
    assert all(torch.equal(state[key], t) for key, t in source.backbone.state_dict().items())


def test_colour_maps_reach_the_pictures() -> None:
    made = trained()
    grey = torch.full((4, 3, 4), 1 / 3)
    grey[:, :, 3] = 0
    with torch.no_grad():
        plain, recoloured = made(images()), made(images(), grey)
        by_hand = made(images().float().mean(1, keepdim=True).round().byte().expand(-1, 3, -1, -1))
    assert not torch.allclose(plain, recoloured, atol=1e-3)
    assert torch.allclose(recoloured, by_hand, atol=0.02)


def test_a_model_without_a_last_stride_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"test_vit(.|\n)*model\.last_stride=null"):
        model(name="test_vit")
    assert model(name="test_vit", last_stride=None).embedding_dim == 64


@pytest.mark.parametrize("identities", [0, 1])
def test_fewer_than_two_identities_are_refused(identities: int) -> None:
    with pytest.raises(ConfigError, match="two identities"):
        create_reid_model(
            ReidModelConfig(name="test_resnet", pretrained=False), identities=identities
        )


def test_learning_gives_what_the_losses_need() -> None:
    made = trained()
    with torch.no_grad():
        features, logits = made(images(), learning=True)
        by_hand = made.features(images())
    assert all(torch.equal(one, other) for one, other in zip(features, by_hand, strict=True))
    assert torch.equal(logits, made.logits(by_hand.after))
