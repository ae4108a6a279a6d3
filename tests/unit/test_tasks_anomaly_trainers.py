"""The student's training: resumed exactly, teacher untouched, and the threshold's half unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from sightline.config import load_config
from sightline.data.dataset import Dataset
from sightline.data.manifest import Manifest
from sightline.data.synthetic_defects import COPY
from sightline.metrics.auroc import compute_auroc
from sightline.tasks import TASKS
from sightline.tasks.anomaly import AnomalyTask
from sightline.tasks.anomaly_config import AnomalyConfig
from sightline.tasks.anomaly_trainers import (
    AnomalyTrainer,
    StfpmTrainer,
    may_choose,
    sets_threshold,
)

SIDE = 32
SMALL = ("model.name=resnet10t", "model.pretrained=false", f"train.img_size={SIDE}")
STUDENT = (*SMALL, "train.lr=1.0", "train.epochs=3", "train.device=cpu")
CONFIGS = {name: task.config for name, task in TASKS.items()}


class Batch(NamedTuple):
    images: Tensor
    labels: Tensor
    ids: list[str]
    colour: Tensor | None = None


class Pictures:
    """Batches of 4 of 10 fixed pictures, in another order in each epoch."""

    def __init__(self, seed: int, *, coloured: bool = False) -> None:
        self.coloured = coloured
        generator = torch.Generator().manual_seed(seed)
        size = (10, 3, SIDE, SIDE)
        self.images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        self.epoch = 0

    def __len__(self) -> int:
        return 3

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(10, generator=torch.Generator().manual_seed(self.epoch))
        for part in order.split(4):
            labels = torch.zeros(len(part), dtype=torch.int64)
            # As Normalize takes it: a matrix and an offset for each picture.
            colour = torch.eye(3, 4).repeat(len(part), 1, 1) if self.coloured else None
            yield Batch(self.images[part], labels, [f"picture {int(one)}" for one in part], colour)


def config_of(recipe: str, *settings: str) -> AnomalyConfig:
    loaded = load_config(recipe, list(settings), tasks=CONFIGS)
    assert isinstance(loaded, AnomalyConfig)
    return loaded


def trainer_of(folder: Path, config: AnomalyConfig) -> AnomalyTrainer:
    torch.manual_seed(0)
    task = AnomalyTask()
    model = task.create_model(config, ["good"], trained=False)
    names = [f"good/{number}.png" for number in range(10)]
    normal = Manifest.build(Path(), id=names, path=names, label=["good"] * 10, split=["fit"] * 10)
    return task.create_trainer(
        config,
        model,
        dataset=Dataset(normal),
        steps_per_epoch=3,
        checkpoint_dir=folder,
        callbacks=[],
    )


def fitted(folder: Path, epochs: int, *settings: str, resume: bool = False) -> AnomalyTrainer:
    trainer = trainer_of(folder, config_of("anomaly/stfpm", *STUDENT, *settings))
    pictures = Pictures(0)
    if resume:
        trainer.load_checkpoint(folder / "latest_model.pth")
    trainer.on_train_epoch_start = pictures.set_epoch  # type: ignore[method-assign]
    trainer.fit(pictures, Pictures(1), num_epochs=epochs)
    return trainer


@pytest.mark.parametrize(
    "settings",
    [("train.ema_decay=0.9",), ("train.accumulate_steps=2", "train.precision=bf16")],
    ids=lambda settings: settings[0],
)
def test_a_resumed_training_ends_at_the_very_same_weights(
    tmp_path: Path, settings: tuple[str, ...]
) -> None:
    started = trainer_of(tmp_path, config_of("anomaly/stfpm", *STUDENT, *settings))
    teacher = {name: one.clone() for name, one in started.model.teacher.state_dict().items()}
    whole = fitted(tmp_path / "whole", 3, *settings)
    fitted(tmp_path / "parts", 1, *settings)
    resumed = fitted(tmp_path / "parts", 3, *settings, resume=True)
    again = resumed.model.state_dict()
    assert all(torch.equal(one, again[name]) for name, one in whole.model.state_dict().items())
    averaged = [] if whole.average is None else [whole.average.module]
    for model in (whole.model, *averaged):
        states: dict[str, Tensor] = model.teacher.state_dict()  # type: ignore[union-attr]
        assert all(torch.equal(one, teacher[name]) for name, one in states.items())


@pytest.mark.parametrize(("kept", "looks"), [(2048, 10), (0, 6)])
def test_the_teacher_looks_no_more_often_than_it_must(
    tmp_path: Path, kept: int, looks: int
) -> None:
    """Once at each of 10 kept pictures, or at each of 3 batches of 2 epochs."""
    settings = (*STUDENT, f"train.teacher_cache_mib={kept}")
    trainer = trainer_of(tmp_path, config_of("anomaly/stfpm", *settings))
    seen: list[int] = []
    plain = trainer.model.teacher_features

    def counted(images: Tensor, colour: Tensor | None = None) -> Any:
        # The picture of zeros that tells the size of the features is no picture to learn from.
        seen.append(len(images)) if images.any() else None
        sizes.append(len(images))
        return plain(images, colour)

    sizes: list[int] = []
    trainer.model.teacher_features = counted  # type: ignore[method-assign]
    for _ in range(2):
        trainer.train_epoch(Pictures(0))
    assert len(seen) == looks
    assert len(sizes) <= looks + 1, "the size of the features is measured once"


@pytest.mark.parametrize(
    ("setting", "coloured"), [("data.augment.preset=basic", False), ("data.augment={}", True)]
)
def test_features_of_pictures_that_change_are_not_kept(
    tmp_path: Path, setting: str, coloured: bool
) -> None:
    trainer = trainer_of(tmp_path, config_of("anomaly/stfpm", *STUDENT, setting))
    looks = []
    plain = trainer.model.teacher_features

    def counted(images: Tensor, colour: Tensor | None = None) -> Any:
        looks.append(len(images)) if images.any() else None
        return plain(images, colour)

    trainer.model.teacher_features = counted  # type: ignore[method-assign]
    for _ in range(2):
        trainer.train_epoch(Pictures(0, coloured=coloured))
    assert looks == [4, 4, 2] * 2, "whole batches, anew in each epoch"


def outputs_of(scores: list[float]) -> list[dict[str, Any]]:
    """Eight normal pictures with these scores, and a defect with the score 5."""
    return [
        {
            "ids": [*"abcdefgh", "defect"],
            "targets": torch.tensor([0] * 8 + [1]),
            "scores": torch.tensor([*scores, 5.0]),
            "losses": torch.zeros(9),
        }
    ]


def test_pictures_that_set_the_threshold_choose_no_epoch(tmp_path: Path) -> None:
    config = config_of("anomaly/stfpm", *STUDENT, "train.monitor=image_auroc")
    trainer = trainer_of(tmp_path, config)
    sets = sets_threshold(list("abcdefgh"), config.project.seed).tolist()
    metrics = []
    for theirs in (0.0, 9.0):
        scores = [theirs if one else float(n) for n, one in enumerate(sets)]
        metrics.append(trainer.compute_metrics(outputs_of(scores)))
    assert metrics[0] == metrics[1], "whatever scores the threshold's half has"
    choosing = [float(n) for n, one in enumerate(sets) if not one]
    expected = compute_auroc([*choosing, 5.0], [0] * len(choosing) + [1])
    assert metrics[0]["image_auroc"] == expected


def test_of_a_memory_every_validation_picture_is_judged(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, config_of("anomaly/digits", *SMALL, "train.device=cpu"))
    scores = [0.0, 9, 9, 9, 0, 9, 0, 0]
    outputs = [{key: one for key, one in outputs_of(scores)[0].items() if key != "losses"}]
    assert trainer.compute_metrics(outputs) == {"image_auroc": 0.5}
    assert not isinstance(trainer, StfpmTrainer)


def test_made_defects_of_pictures_that_set_the_threshold_choose_no_epoch() -> None:
    names = [f"{number}.png" for number in range(9)]
    ids = [*names, *(f"{COPY}{name}" for name in names), "test/crack/1.png"]
    normal = np.array([True] * 9 + [False] * 10)
    used = may_choose(ids, normal, seed=3)
    sets = sets_threshold(names, 3)
    assert used[:9].tolist() == (~sets).tolist()
    assert used[9:18].tolist() == used[:9].tolist(), "a copy goes with its picture"
    assert used[18], "a defect of the data's own does choose"
