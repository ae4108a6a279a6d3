"""The trainer with a linear model: creation, epochs, fit, checkpoints, hooks, best model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sightline import BaseTrainer, TrainerConfig
from sightline.training.hooks import TRAINER_HOOKS

pytestmark = pytest.mark.phase_02

Batches = list[tuple[torch.Tensor, torch.Tensor]]
BATCHES = 3


class DummyTrainer(BaseTrainer):
    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        inputs, targets = batch
        return {"loss": self.loss_fn(self.model(inputs), targets)}

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        inputs, targets = batch
        return {"loss": self.loss_fn(self.model(inputs), targets)}

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.04, momentum=0.5)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        return {"optimizer": optimizer, "scheduler": scheduler}


class ScriptedTrainer(DummyTrainer):
    """Validation gives the values of a script, one for each epoch."""

    script: tuple[float, ...] = (0.6, 0.9, 0.7)

    def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
        return {"image_auroc": self.script[self.progress.epoch]}


def listened(trainer: BaseTrainer) -> list[str]:
    """The calls of every hook, of the steps and of save_checkpoint, from now on."""
    calls: list[str] = []
    for name in (*TRAINER_HOOKS, "training_step", "validation_step", "save_checkpoint"):
        inner = getattr(trainer, name)

        def noted(*values: Any, name: str = name, inner: Any = inner) -> Any:
            calls.append(name)
            return inner(*values)

        setattr(trainer, name, noted)
    return calls


@pytest.fixture
def loader() -> Batches:
    """Three batches of four samples of a linear rule."""
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(4, 10, generator=draw) for _ in range(BATCHES)]
    return [(one, one.sum(dim=1, keepdim=True)) for one in inputs]


def made(kind: type[DummyTrainer] = DummyTrainer, **config: Any) -> DummyTrainer:
    torch.manual_seed(0)
    return kind(
        nn.Linear(10, 1), nn.MSELoss(), "cpu", "checkpoints", config=TrainerConfig(**config)
    )


def test_creation() -> None:
    trainer = made()
    assert isinstance(trainer.model, nn.Linear)
    assert isinstance(trainer.loss_fn, nn.MSELoss)
    assert trainer.device == torch.device("cpu")
    assert trainer.checkpoint_dir == Path("checkpoints")
    assert (trainer.progress.epoch, trainer.progress.step, trainer.history) == (0, 0, [])
    assert not trainer.checkpoint_dir.exists()


def test_train_epoch(loader: Batches) -> None:
    trainer = made()
    before = trainer.model.weight.detach().clone()
    losses = [trainer.train_epoch(loader) for _ in range(4)]
    assert losses[-1] < losses[0]
    assert not torch.equal(trainer.model.weight, before)
    assert trainer.progress.step == 4 * BATCHES


def test_validate_epoch(loader: Batches) -> None:
    trainer = made()
    before = trainer.model.weight.detach().clone()
    metrics = trainer.validate_epoch(loader)
    with torch.no_grad():
        losses = [nn.functional.mse_loss(trainer.model(one), truth) for one, truth in loader]
    assert metrics == {"loss": pytest.approx(sum(map(float, losses)) / BATCHES)}
    assert torch.equal(trainer.model.weight, before)
    assert trainer.model.weight.grad is None


def test_fit(loader: Batches) -> None:
    trainer = made()
    history = trainer.fit(loader, loader, num_epochs=3)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1]["valid_loss"] < history[0]["valid_loss"]
    assert [row["lr"] for row in history] == pytest.approx([0.02, 0.01, 0.005])
    assert {path.name for path in trainer.checkpoint_dir.iterdir()} == {
        "latest_model.pth",
        "best_model.pth",
        "epoch_003.pth",
    }


def test_checkpoint_save_and_load(loader: Batches) -> None:
    whole = made()
    whole.fit(loader, loader, num_epochs=4)

    half = made()
    half.fit(loader, loader, num_epochs=2)
    resumed = made()
    with torch.no_grad():
        resumed.model.weight.zero_()
    saved = resumed.load_checkpoint("checkpoints/latest_model.pth")
    assert saved["epoch"] == 2
    assert saved["metrics"] == {"loss": half.history[-1]["valid_loss"]}
    assert torch.equal(resumed.model.weight, half.model.weight)
    # Momentum, schedule and progress came back too: the rest is the training that never stopped.
    resumed.fit(loader, loader, num_epochs=4)
    assert torch.equal(resumed.model.weight, whole.model.weight)
    assert torch.equal(resumed.model.bias, whole.model.bias)


def test_hooks_are_called_in_their_order(loader: Batches) -> None:
    trainer = made()
    calls = listened(trainer)
    trainer.fit(loader, loader[:2], num_epochs=2)
    training = (
        *("on_train_batch_start", "training_step"),
        *("on_before_optimizer_step", "on_train_batch_end"),
    )
    validation = ("on_validation_batch_start", "validation_step", "on_validation_batch_end")
    epoch = (
        *("on_train_epoch_start", *training * BATCHES, "on_train_epoch_end"),
        *("on_validation_epoch_start", *validation * 2, "on_validation_epoch_end"),
        "save_checkpoint",
    )
    assert calls == ["on_fit_start", *epoch * 2, "on_fit_end"]
    assert set(TRAINER_HOOKS) - set(calls) == {"on_exception"}


def test_best_model(loader: Batches) -> None:
    trainer = made(ScriptedTrainer, monitor="image_auroc")
    weights: list[torch.Tensor] = []
    trainer.on_validation_epoch_end = lambda epoch, metrics: weights.append(
        trainer.model.weight.detach().clone()
    )
    trainer.fit(loader, loader, num_epochs=3)
    assert trainer.progress.best_epoch == 2
    assert trainer.progress.best_value == 0.9
    best = made()
    saved = best.load_checkpoint("checkpoints/best_model.pth")
    assert saved["epoch"] == 2
    assert saved["metrics"] == {"image_auroc": 0.9}
    assert torch.equal(best.model.weight, weights[1])
    assert not torch.equal(best.model.weight, weights[2])
