"""From a configuration to image_auroc: config, data, loader, dummy model, fit, evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sightline import BaseTrainer, evaluate
from sightline.config import load_config
from sightline.data.dataset import prepare_dataset
from sightline.data.loading import Batch, ImageLoader
from sightline.experiment import images_of
from sightline.experiment.composition import loader_for
from sightline.tasks.anomaly_config import AnomalyConfig
from sightline.trained import TASK_CONFIGS
from sightline.training.settings import trainer_config

pytestmark = pytest.mark.phase_02

SIDE = 32
SETTINGS = (
    *("train.epochs=2", "train.device=cpu", f"train.img_size={SIDE}", "train.batch_size=8"),
    *("data.root=parts", "data.val_fraction=0.3", "data.workers=0", "data.cache=off"),
)


class Patches(nn.Module):
    """Draws each of 16 patches from the mean of all; the worst patch is the score."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 16)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        cells = nn.functional.adaptive_avg_pool2d(images.float() / 255, 4).mean(dim=1).flatten(1)
        drawn = self.layer(cells.mean(dim=1, keepdim=True))
        return {"score": (cells - drawn).abs().amax(dim=1)}


class PatchTrainer(BaseTrainer):
    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"loss": self.model(batch.images)["score"].mean()}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.model.parameters(), lr=0.05)


def write_parts(root: Path) -> None:
    """Grey pictures with noise; the defect is a white square."""
    random = np.random.default_rng(0)
    for folder, count in (("train/good", 24), ("test/good", 6), ("test/bent", 6)):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(100, 140, (SIDE, SIDE, 3), dtype=np.uint8)
            if folder == "test/bent":
                row, column = random.integers(0, SIDE - 12, 2)
                pixels[row : row + 12, column : column + 12] = 255
            Image.fromarray(pixels).save(root / folder / f"{number:03d}.png")


def test_from_a_configuration_to_image_auroc() -> None:
    write_parts(Path("parts"))
    config = load_config("anomaly/stfpm", SETTINGS, tasks=TASK_CONFIGS)
    assert isinstance(config, AnomalyConfig)
    dataset = prepare_dataset(config.data, seed=config.project.seed)
    sizes = [len(dataset.part(split)) for split in ("fit", "val", "test")]
    assert sum(sizes[:2]) == 24
    assert 5 <= sizes[1] <= 9
    assert sizes[2] == 12

    def loader(split: str) -> ImageLoader:
        images, _ = images_of(dataset.part(split), config)
        return loader_for(images, config, device=torch.device("cpu"), training=split == "fit")

    def judged(split: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        # A manifest's codes are in the order of its names, here bent before good.
        normal = dataset.class_names.index("good")
        for batch in loader(split):
            yield batch.images, batch.labels != normal

    torch.manual_seed(0)
    settings = trainer_config(config.train, config.output)
    trainer = PatchTrainer(Patches(), None, "cpu", "checkpoints", config=settings)
    history = trainer.fit(loader("fit"), loader("val"), num_epochs=config.train.epochs)
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[1]["valid_loss"] < history[0]["valid_loss"]
    assert Path("checkpoints/best_model.pth").is_file()

    found = evaluate(trainer.model, judged("test"), "cpu", calibration=judged("val"), budget=0.2)
    assert "image_auroc" in found
    assert found["image_auroc"] > 0.9
    assert found.labels.tolist() == [1] * 6 + [0] * 6
    assert found.predictions["alarms"][:6].sum() >= 5
