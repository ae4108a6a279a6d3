from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from sightline.errors import ConfigError
from sightline.models.classifier import create_classifier
from sightline.models.freezing import freeze
from sightline.models.settings import ModelConfig
from sightline.training.optim import create_optimizer, parameter_groups


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(self.first(rows)))
        return logits


def classifier(name: str = "test_vit") -> Any:
    return create_classifier(ModelConfig(name=name, pretrained=False), 3)


def rate_of(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """(lr, weight decay) of every parameter by name."""
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    return {name: found[id(p)] for name, p in model.named_parameters() if id(p) in found}


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int = 3) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.randn(8, 3, generator=generator)).square().mean().backward()
        optimizer.step()


def test_norms_and_biases_are_not_decayed() -> None:
    model = Tiny()
    rates = rate_of(model, parameter_groups(model, lr=0.1, weight_decay=0.5))
    assert rates == {
        "first.weight": (0.1, 0.5),
        "first.bias": (0.1, 0.0),
        "norm.weight": (0.1, 0.0),
        "norm.bias": (0.1, 0.0),
        "head.weight": (0.1, 0.5),
        "head.bias": (0.1, 0.0),
    }


def test_what_the_backbone_excepts_is_not_decayed() -> None:
    model = classifier()
    rates = rate_of(model, parameter_groups(model, lr=1.0, weight_decay=0.5))
    assert rates["backbone.pos_embed"] == (1.0, 0.0)  # three dimensions, but named by the model
    assert rates["backbone.cls_token"] == (1.0, 0.0)
    assert rates["backbone.blocks.0.attn.qkv.weight"] == (1.0, 0.5)


@pytest.mark.parametrize("layer_decay", [None, 0.5, 1.0])
def test_every_trained_parameter_is_in_one_group(layer_decay: float | None) -> None:
    model = classifier("test_resnet")
    freeze(model.backbone.conv1)
    groups = parameter_groups(model, lr=1.0, weight_decay=0.1, layer_decay=layer_decay)
    placed = [id(p) for group in groups for p in group["params"]]
    assert len(placed) == len(set(placed))
    assert set(placed) == {id(p) for p in model.parameters() if p.requires_grad}
    names = [group["name"] for group in groups]
    assert len(names) == len(set(names))


def test_layer_decay_falls_from_the_head_to_the_input() -> None:
    """Head at the full rate, then one factor for each block, and one more for the patches."""
    model = classifier()
    blocks = len(model.backbone.blocks)
    rates = rate_of(model, parameter_groups(model, lr=2.0, weight_decay=0.1, layer_decay=0.5))
    assert rates["head.weight"][0] == 2.0
    assert rates["backbone.fc_norm.weight"][0] == 2.0  # after pooling: part of the head
    for index in range(blocks):
        expected = 2.0 * 0.5 ** (blocks - index)
        assert rates[f"backbone.blocks.{index}.mlp.fc1.weight"][0] == pytest.approx(expected)
        assert rates[f"backbone.blocks.{index}.mlp.fc1.bias"][0] == pytest.approx(expected)
    assert rates["backbone.patch_embed.proj.weight"][0] == pytest.approx(2.0 * 0.5 ** (blocks + 1))


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_100", "convnext_atto"])
def test_layer_decay_is_monotone_in_any_family(name: str) -> None:
    groups = parameter_groups(classifier(name), lr=1.0, weight_decay=0.1, layer_decay=0.8)
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates)
    assert rates[-1] == 1.0
    assert len(set(rates)) > 3


def test_a_layer_decay_of_one_changes_no_update() -> None:
    def train(layer_decay: float | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = classifier("test_resnet").eval()
        optimizer = create_optimizer(
            model, name="sgd", lr=0.1, weight_decay=0.01, layer_decay=layer_decay
        )
        model(torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)).sum().backward()
        optimizer.step()
        return [p.detach() for p in model.parameters()]

    for one, other in zip(train(1.0), train(None), strict=True):
        assert torch.equal(one, other)


def test_group_order_does_not_depend_on_anything_but_the_model() -> None:
    def described() -> list[tuple[str, list[torch.Size]]]:
        groups = parameter_groups(classifier(), lr=1.0, weight_decay=0.1, layer_decay=0.9)
        return [(g["name"], [p.shape for p in g["params"]]) for g in groups]

    assert described() == described()


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", lambda ps: torch.optim.Adam(ps, lr=0.05, weight_decay=0.0)),
        ("adamw", lambda ps: torch.optim.AdamW(ps, lr=0.05, weight_decay=0.0)),
        ("sgd", lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.8)),
        ("nesterov", lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.8, nesterov=True)),
    ],
)
def test_updates_equal_those_of_torch(name: str, reference: Any) -> None:
    torch.manual_seed(0)
    ours, theirs = Tiny(), Tiny()
    theirs.load_state_dict(ours.state_dict())
    steps(ours, create_optimizer(ours, name=name, lr=0.05, weight_decay=0.0, momentum=0.8))
    steps(theirs, reference(theirs.parameters()))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "AdamW", "sgd", "nesterov", "lamb", "lion", "nadamw"])
def test_any_optimizer_makes_a_step(name: str) -> None:
    """CLS-50: train.optimizer; names beyond our own come from timm."""
    model = Tiny()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = create_optimizer(model, name=name, lr=0.01, weight_decay=0.1)
    steps(model, optimizer)
    assert all(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    for group in optimizer.param_groups:
        assert group["initial_lr"] == group["lr"] == 0.01
        assert group["weight_decay"] == (0.1 if group["name"].endswith("decayed") else 0.0)


def test_a_resumed_optimizer_goes_on_with_the_same_bits() -> None:
    torch.manual_seed(0)
    model = Tiny()
    optimizer = create_optimizer(model, name="adamw", lr=0.01, weight_decay=0.1)
    steps(model, optimizer)
    other = Tiny()
    other.load_state_dict(model.state_dict())
    resumed = create_optimizer(other, name="adamw", lr=0.01, weight_decay=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer)
    steps(other, resumed)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(("name", "near"), [("adamww", "adamw"), ("sdg", "sgd"), ("q0q", "adamw")])
def test_an_unknown_optimizer_gets_a_near_name(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"no optimizer called '{name}'") as caught:
        create_optimizer(Tiny(), name=name, lr=0.1, weight_decay=0.0)
    assert near in str(caught.value.remedy)


def test_layers_of_a_model_without_order_cannot_differ() -> None:
    with pytest.raises(ConfigError, match=r"no known order(.|\n)*train\.layer_decay=null"):
        create_optimizer(Tiny(), name="sgd", lr=0.1, weight_decay=0.0, layer_decay=0.9)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    model = Tiny()
    freeze(model)
    with pytest.raises(ConfigError, match="nothing to train"):
        create_optimizer(model, name="adamw", lr=0.1, weight_decay=0.0)


def test_a_backbone_factor_slows_the_backbone_alone() -> None:
    model = create_classifier(ModelConfig(name="test_resnet", pretrained=False), 3)
    groups = parameter_groups(model, lr=0.1, weight_decay=0.01, backbone_factor=0.25)
    of = {id(one): name for name, one in model.named_parameters()}
    for group in groups:
        in_backbone = {of[id(one)].startswith("backbone.") for one in group["params"]}
        assert len(in_backbone) == 1
        assert group["lr"] == pytest.approx(0.025 if in_backbone == {True} else 0.1)
    assert sum(len(group["params"]) for group in groups) == len(of)


def test_biases_learn_at_their_own_factor_and_are_never_decayed() -> None:
    model = create_classifier(ModelConfig(name="test_resnet", pretrained=False), 3)
    groups = parameter_groups(
        model, lr=0.1, weight_decay=0.01, backbone_factor=0.25, bias_factor=2.0
    )
    rates = rate_of(model, groups)
    assert set(rates) == {name for name, _ in model.named_parameters()}
    for name, (lr, decay) in rates.items():
        layer = 0.025 if name.startswith("backbone.") else 0.1
        assert lr == pytest.approx(layer * (2 if name.endswith("bias") else 1)), name
        assert not (name.endswith("bias") and decay), name
