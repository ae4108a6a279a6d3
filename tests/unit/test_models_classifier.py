from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.models.classifier import Classifier, create_classifier
from sightline.models.freezing import freeze, freeze_matching, unfreeze
from sightline.models.normalize import Normalize
from sightline.models.settings import ModelConfig
from sightline.training.modes import set_training_mode

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def images(count: int = 2, size: int = 6, *, channels_last: bool = False, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, size, size)
    drawn = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return drawn.contiguous(memory_format=torch.channels_last) if channels_last else drawn


def slow_normalize(batch: Tensor, colour: Tensor | None) -> Tensor:
    result = torch.empty(batch.shape, dtype=torch.float64)
    for b in range(len(batch)):
        for y in range(batch.shape[2]):
            for x in range(batch.shape[3]):
                rgb = [batch[b, c, y, x].item() / 255 for c in range(3)]
                if colour is not None:
                    rows = colour[b].tolist()
                    rgb = [sum(r[i] * rgb[i] for i in range(3)) + r[3] for r in rows]
                    rgb = [min(max(value, 0.0), 1.0) for value in rgb]
                for c in range(3):
                    result[b, c, y, x] = (rgb[c] - MEAN[c]) / STD[c]
    return result


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("coloured", [False, True])
def test_normalize_agrees_with_plain_arithmetic(channels_last: bool, coloured: bool) -> None:
    batch = images(channels_last=channels_last)
    generator = torch.Generator().manual_seed(1)
    colour = torch.rand(2, 3, 4, generator=generator) * 2 - 0.7 if coloured else None
    result = Normalize(MEAN, STD)(batch, colour)
    assert result.dtype is torch.float32
    assert torch.allclose(result.double(), slow_normalize(batch, colour), atol=1e-5)
    format_in = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=format_in)
    assert torch.equal(batch, images(channels_last=channels_last))  # the input is left alone


def test_the_identity_colour_changes_nothing() -> None:
    normalize, batch = Normalize(MEAN, STD), images()
    identity = torch.eye(3, 4).expand(2, 3, 4)
    assert torch.allclose(normalize(batch, identity), normalize(batch), atol=1e-6)


def test_colours_stay_in_range() -> None:
    bright = torch.eye(3, 4).expand(2, 3, 4) * 9.0
    result = Normalize(MEAN, STD)(images(), bright)
    top = [(1 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
    assert result.amax((0, 2, 3)).tolist() == pytest.approx(top, abs=1e-5)


@given(seed=st.integers(0, 2**31), gain=st.floats(0.1, 3.0))
@settings(max_examples=20, deadline=None)
def test_each_image_gets_its_own_colour(seed: int, gain: float) -> None:
    batch = images(3, seed=seed)
    colour = torch.eye(3, 4).repeat(3, 1, 1)
    colour[1] *= gain
    normalize = Normalize(MEAN, STD)
    together, plain = normalize(batch, colour), normalize(batch)
    assert torch.allclose(together[[0, 2]], plain[[0, 2]], atol=1e-5)
    assert torch.allclose(together[1:2], normalize(batch[1:2], colour[1:2]), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_only_bytes_are_normalised(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match="uint8"):
        Normalize(MEAN, STD)(images().to(dtype))


def test_normalisation_stays_exact_under_autocast() -> None:
    normalize, batch = Normalize(MEAN, STD), images()
    colour = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(2))
    expected = normalize(batch, colour)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(normalize(batch, colour), expected)


def small(classes: int = 4, **options: object) -> Classifier:
    config = ModelConfig.model_validate({"name": "test_resnet", "pretrained": False, **options})
    return create_classifier(config, classes, img_size=32)


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_100", "test_vit"])
def test_a_classifier_maps_bytes_to_logits(name: str) -> None:
    model = small(5, name=name).eval()
    batch = images(2, 32)
    with torch.no_grad():
        logits, embeddings = model(batch), model.embed(batch)
        assert logits.shape == (2, 5)
        assert embeddings.shape == (2, model.embedding_dim)
        assert torch.equal(logits, model.head(embeddings))
        identity = torch.eye(3, 4).expand(2, 3, 4)
        assert torch.allclose(model(batch, identity), logits, atol=1e-4)


def test_the_first_prediction_is_near_uniform() -> None:
    torch.manual_seed(0)
    model = small(10).eval()
    with torch.no_grad():
        probabilities = model(images(4, 32)).softmax(1)
    assert probabilities.max() < 0.35
    assert model.head.bias.abs().max() == 0
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_dropout_acts_in_training_on_the_head_alone() -> None:
    model = small(drop_rate=0.5)
    batch = images(4, 32)
    set_training_mode(model, freeze_norm_statistics=True)
    with torch.no_grad():
        assert not torch.equal(model(batch), model(batch))
        assert torch.equal(model.embed(batch), model.embed(batch))
        model.eval()
        assert torch.equal(model(batch), model(batch))


def test_channels_last_gives_the_same_logits() -> None:
    model = small().eval()
    batch = images(2, 32)
    with torch.no_grad():
        plain = model(batch)
        model.to(memory_format=torch.channels_last)
        assert torch.allclose(model(images(2, 32, channels_last=True)), plain, atol=1e-4)


@pytest.mark.parametrize("classes", [0, 1])
def test_one_class_is_no_classification(classes: int) -> None:
    with pytest.raises(ConfigError, match="two classes"):
        small(classes)


def test_state_of_a_classifier_is_tensors_that_round_trip() -> None:
    torch.manual_seed(1)
    source, target = small().eval(), small().eval()
    target.load_state_dict(source.state_dict())
    with torch.no_grad():
        assert torch.equal(source(images(2, 32)), target(images(2, 32)))


def moved_statistics(model: Classifier) -> set[str]:
    """Names of the buffers that a forward pass in the present modes changes."""
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    with torch.no_grad():
        model(images(4, 32))
    return {name for name, tensor in model.named_buffers() if not torch.equal(tensor, before[name])}


def test_frozen_parts_stay_in_eval_mode_whatever_train_says() -> None:
    model = small()
    frozen = freeze_matching(model, ["backbone.layer1*", "backbone.bn1"])
    set_training_mode(model)
    assert "backbone.bn1" in frozen
    assert "backbone.layer1.0.conv1" in frozen
    moved = moved_statistics(model)
    assert moved
    assert not [name for name in moved if name.startswith(("backbone.layer1", "backbone.bn1"))]
    assert model.backbone.get_submodule("layer2").training
    assert not model.backbone.get_submodule("layer1").training

    unfreeze(model)
    set_training_mode(model)
    assert "backbone.bn1.running_mean" in moved_statistics(model)


def test_dropout_inside_a_frozen_part_rests() -> None:
    part = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    model = nn.Sequential(part, nn.Dropout(0.5), nn.Linear(2, 2))
    freeze(part)
    set_training_mode(model)
    assert [module.training for module in (part, part[1], model[1], model)] == [
        False,
        False,
        True,
        True,
    ]


def test_frozen_statistics_leave_scale_and_shift_in_training() -> None:
    model = small()
    set_training_mode(model, freeze_norm_statistics=True)
    assert moved_statistics(model) == set()
    model(images(4, 32)).sum().backward()
    norm = model.backbone.get_submodule("bn1")
    assert isinstance(norm.weight, nn.Parameter)
    assert norm.weight.grad is not None
    set_training_mode(model)
    assert moved_statistics(model)


def test_a_pattern_that_matches_nothing_names_the_nearest_part() -> None:
    model = small()
    with pytest.raises(ConfigError, match=r"did you mean 'backbone\.layer1'"):
        freeze_matching(model, ["head", "backbone.layr1"])
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_freezing_by_pattern_keeps_the_weights() -> None:
    model = small()
    freeze_matching(model, ["backbone"])
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["head.weight", "head.bias"]
    loss = nn.functional.cross_entropy(model(images(4, 32)), torch.zeros(4, dtype=torch.long))
    assert math.isfinite(loss.item())
    loss.backward()
    assert all(p.grad is None for p in model.backbone.parameters())
