from __future__ import annotations

import pytest
import torch

from sightline.models.cosine_head import CosineHead
from sightline.models.embedder import Embedder, EmbedderConfig, Neck, create_embedder
from sightline.training.modes import set_training_mode


def images(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def embedder(classes: int = 3, **settings: object) -> Embedder:
    torch.manual_seed(0)
    named = {"name": "test_resnet", "pretrained": False, "embedding_dim": 16, **settings}
    return create_embedder(EmbedderConfig(**named), classes=classes, img_size=32)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_embeddings_have_length_one_and_are_float32(dtype: torch.dtype | None) -> None:
    model = embedder().eval()
    with torch.no_grad(), torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        made = model(images())
    assert made.shape == (4, 16)
    assert made.dtype is torch.float32
    assert torch.allclose(made.norm(dim=1), torch.ones(4), atol=1e-6)


def test_without_a_projection_the_features_themselves_are_the_embedding() -> None:
    model = embedder(embedding_dim=None).eval()
    with torch.no_grad():
        features = model.backbone(model.normalize(images()))
        made = model(images())
    assert model.embedding_dim == features.shape[1]
    assert torch.allclose(made, torch.nn.functional.normalize(features), atol=1e-6)
    assert isinstance(model.head, CosineHead)
    assert model.head.weight.shape == (3, features.shape[1])


def test_the_projection_begins_by_keeping_angles() -> None:
    model = embedder(embedding_dim=16)
    weight = model.projection.weight
    assert isinstance(weight, torch.Tensor)
    rows, columns = weight.shape
    product = weight @ weight.T if rows <= columns else weight.T @ weight
    assert torch.allclose(product, torch.eye(len(product)), atol=1e-5)


def test_no_classes_no_head() -> None:
    assert embedder(classes=0).head is None


def test_dropout_acts_in_training_only() -> None:
    model = embedder(drop_rate=0.5)
    model.train()
    model.neck.eval()
    assert not torch.equal(model(images()), model(images()))
    model.eval()
    assert torch.equal(model(images()), model(images()))


def test_frozen_statistics_are_those_of_the_backbone_and_not_of_the_neck() -> None:
    model = embedder()
    set_training_mode(model, freeze_norm_statistics=True)
    neck = model.neck
    assert isinstance(neck, Neck)
    assert neck.training
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(one.training for one in norms)


def test_a_frozen_backbone_rests_in_eval_mode_and_keeps_its_statistics() -> None:
    model = embedder()
    model.backbone.requires_grad_(False)
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    set_training_mode(model)
    model(images()).sum().backward()
    assert not model.backbone.training
    assert model.neck.training
    after = model.backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
