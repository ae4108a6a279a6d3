from __future__ import annotations

import math
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.losses.feature_matching import FeatureMatchingLoss
from sightline.models.settings import BackboneConfig
from sightline.models.stfpm import Combine, Stfpm, create_stfpm

pytestmark = pytest.mark.phase_03

CONFIG = BackboneConfig(name="resnet18", pretrained=False)


def model(combine: Combine = "multiply", seed: int = 0) -> Stfpm:
    torch.manual_seed(seed)
    return create_stfpm(CONFIG, img_size=32, combine=combine).eval()


def images(count: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def slow_layer(teacher: Tensor, student: Tensor) -> Tensor:
    """Half the squared distance of unit vectors (h, w), one position at a time."""
    found = torch.zeros(teacher.shape[1:])
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            t, s = teacher[:, y, x].tolist(), student[:, y, x].tolist()
            long, other = math.sqrt(sum(v * v for v in t)), math.sqrt(sum(v * v for v in s))
            pairs = zip(t, s, strict=True)
            found[y, x] = 0.5 * sum((a / long - b / other) ** 2 for a, b in pairs)
    return found


@pytest.mark.parametrize("combine", ["multiply", "add"])
def test_the_map_is_the_papers_and_the_score_its_maximum(combine: Combine) -> None:
    stfpm, batch = model(combine), images()
    teacher, student = stfpm.features(batch)
    with torch.no_grad():
        output = stfpm(batch)
    assert output.map.shape == (2, 32, 32)
    for number in range(2):
        expected = torch.full((32, 32), 1.0 if combine == "multiply" else 0.0)
        for t, s in zip(teacher, student, strict=True):
            coarse = slow_layer(t[number], s[number])[None, None]
            fine = F.interpolate(coarse, size=(32, 32), mode="bilinear")[0, 0]
            expected = expected * fine if combine == "multiply" else expected + fine
        assert torch.allclose(output.map[number], expected, rtol=1e-4, atol=1e-6)
        assert output.score[number] == output.map[number].max()


def test_a_student_equal_to_its_teacher_sees_no_anomaly() -> None:
    stfpm = model()
    stfpm.student.load_state_dict(stfpm.teacher.state_dict())
    with torch.no_grad():
        assert stfpm(images()).map.abs().max() < 1e-6


def test_only_the_student_learns_and_the_loss_falls() -> None:
    stfpm, batch, loss_of = model(), images(4), FeatureMatchingLoss()
    before = {name: tensor.clone() for name, tensor in stfpm.teacher.state_dict().items()}
    stfpm.train()
    assert not stfpm.teacher.training
    assert stfpm.student.training
    learnt = [parameter for parameter in stfpm.parameters() if parameter.requires_grad]
    assert len(learnt) == len(list(stfpm.student.parameters()))
    optimizer = torch.optim.SGD(learnt, lr=0.4, momentum=0.9)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = loss_of(*stfpm.features(batch))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(before[name], t) for name, t in stfpm.teacher.state_dict().items())


def test_kept_teacher_maps_give_the_same_loss() -> None:
    stfpm, batch = model(), images()
    kept = stfpm.teacher_features(batch)
    assert not any(one.requires_grad for one in kept)
    loss = FeatureMatchingLoss()
    fresh = loss(*stfpm.features(batch))
    assert torch.equal(loss(*stfpm.features(batch, teacher=kept)), fresh)
    other = loss(*stfpm.features(batch, teacher=[one.flip(0) for one in kept]))
    assert not torch.equal(other, fresh)
    halves = loss(*stfpm.features(batch, teacher=[one.half() for one in kept]))
    assert halves.item() == pytest.approx(fresh.item(), rel=1e-2)


def test_black_and_constant_images_have_finite_scores() -> None:
    constant = torch.stack([torch.full((3, 32, 32), v, dtype=torch.uint8) for v in (0, 128, 255)])
    with torch.no_grad():
        output = model()(constant)
    assert torch.isfinite(output.score).all()
    assert torch.isfinite(output.map).all()


def test_distances_are_float32_under_autocast() -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = model()(images())
    assert output.map.dtype == output.score.dtype == torch.float32


def test_the_teacher_has_the_weights_and_the_student_has_not(tmp_path: Path) -> None:
    whole = timm.create_model("resnet18", pretrained=False).state_dict()
    torch.save(whole, tmp_path / "w.pth")
    config = CONFIG.model_copy(update={"weights": tmp_path / "w.pth"})
    stfpm = create_stfpm(config, img_size=32)
    assert stfpm.weights_report is not None
    assert stfpm.weights_report.unused
    assert torch.equal(stfpm.teacher.backbone.state_dict()["conv1.weight"], whole["conv1.weight"])
    student = stfpm.student.backbone.state_dict()["conv1.weight"]
    assert not torch.equal(student, whole["conv1.weight"])


def test_a_state_dict_restores_every_score() -> None:
    one, other, batch = model(seed=0), model(seed=1), images()
    with torch.no_grad():
        assert not torch.equal(one(batch).score, other(batch).score)
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(batch).map, other(batch).map)


def test_teacher_and_student_cannot_change_places() -> None:
    stfpm = model()
    with pytest.raises(ValueError, match="frozen"):
        Stfpm(stfpm.student, stfpm.teacher)
