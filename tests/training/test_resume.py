"""A run stopped at any step and resumed ends as if it had never stopped, bit for bit."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from sightline.losses.center import CenterLoss
from sightline.training.callbacks import Callback
from sightline.training.schedules import StepSchedule, cosine
from sightline.training.settings import TrainerConfig
from sightline.training.trainer import BaseTrainer

EPOCHS = 3


class Toy(BaseTrainer):
    """Draws from every global generator: dropout, NumPy and Python."""

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        inputs, targets = batch
        inputs = inputs + float(np.random.random()) + random.random()  # noqa: NPY002
        outputs = self.model(inputs)
        parts = {"first": outputs[:3].detach().mean(), "second": outputs.detach().abs().mean()}
        return {"loss": nn.functional.mse_loss(outputs, targets), "parts": parts}

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return {"loss": nn.functional.mse_loss(self.model(batch[0]), batch[1])}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        return {"optimizer": optimizer, "scheduler": StepSchedule([optimizer], cosine(20))}


class AdamCycle(Toy):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        cycle = OneCycleLR(optimizer, max_lr=0.01, total_steps=40)
        return {"optimizer": optimizer, "scheduler": cycle, "interval": "step"}


class Plateau(Toy):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        return {"optimizer": optimizer, "scheduler": ReduceLROnPlateau(optimizer, patience=0)}


class Centred(Toy):
    """A loss that learns, with an optimizer of its own, as the centres of re-identification."""

    loss_fn: CenterLoss

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        outputs = super().training_step(batch, batch_idx)
        labels = torch.arange(len(batch[0])) % 3
        return {**outputs, "loss": outputs["loss"] + 0.01 * self.loss_fn(batch[1], labels)}

    def on_before_optimizer_step(self, step: int) -> None:
        self.loss_fn.rescale_gradient(0.01)

    def configure_optimizers(self) -> Any:
        centres = torch.optim.SGD(self.loss_fn.parameters(), lr=0.5, momentum=0.5)
        return [super().configure_optimizers(), centres]


def dataset(rows: int = 18) -> TensorDataset:
    drawn = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(rows, 4, generator=drawn), torch.randn(rows, 1, generator=drawn)
    )


class Numbered:
    """A loader whose batches are a function of the epoch and the batch number."""

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Any]:
        return self.batches(1)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for number in range(start, len(self)):
            drawn = torch.Generator().manual_seed(100 * epoch + number)
            yield torch.randn(4, 4, generator=drawn), torch.randn(4, 1, generator=drawn)


def shuffled() -> Any:
    return DataLoader(dataset(), batch_size=4, shuffle=True)


def own_generator() -> Any:
    return DataLoader(
        dataset(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(5)
    )


def own_sampler_generator() -> Any:
    drawn = torch.Generator().manual_seed(5)
    sampler = WeightedRandomSampler([1.0] * 18, 18, generator=drawn)
    return DataLoader(dataset(), batch_size=4, sampler=sampler)


def lazy_sampler() -> Any:
    """A sampler that draws from its generator while the epoch goes on."""
    sampler = torch.utils.data.RandomSampler(
        dataset(70), replacement=True, generator=torch.Generator().manual_seed(5)
    )
    return DataLoader(dataset(70), batch_size=14, sampler=sampler)


LOADERS = {
    one.__name__: one for one in (shuffled, own_generator, own_sampler_generator, lazy_sampler)
} | {"numbered": Numbered}


class Snapshots(Callback):
    """Keeps a copy of every latest_model.pth, as a killed process would leave it."""

    def __init__(self) -> None:
        self.copies: list[Path] = []

    def on_checkpoint(self, path: Path, metrics: Any) -> None:
        if path.name == "latest_model.pth":
            kept = Path(f"snapshot_{len(self.copies)}.pth")
            shutil.copyfile(path, kept)
            self.copies.append(kept)


def made(kind: type[Toy], folder: str, callbacks: tuple[Callback, ...] = (), **config: Any) -> Toy:
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(11)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 1))
    settings = TrainerConfig(save_every_steps=1, save_interval=0, **config)
    loss = CenterLoss(3, 1) if kind is Centred else None
    return kind(model, loss, "cpu", folder, config=settings, callbacks=callbacks)


def final_state(trainer: Toy) -> dict[str, Any]:
    clock = ("time_s", "images_per_s", "mem_MiB", "gpu_mem_MiB")
    return {
        "model": trainer.model.state_dict(),
        "loss": None if trainer.loss_fn is None else trainer.loss_fn.state_dict(),
        "optimizers": [one.state_dict() for one in trainer.optimization.optimizers],
        "schedulers": [
            one.scheduler.state_dict()
            for one in trainer.optimization.plans
            if one.scheduler is not None and not one.is_function_of_step
        ],
        "average": None if trainer.average is None else trainer.average.state_dict(),
        "progress": trainer.progress.state_dict(),
        "history": [{k: v for k, v in row.items() if k not in clock} for row in trainer.history],
        "random": torch.get_rng_state(),
    }


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """Where two states differ in a single bit."""
    if isinstance(left, torch.Tensor):
        return [] if torch.equal(left, right) else [where]
    if isinstance(left, dict):
        if list(left) != list(right):
            return [f"{where} keys"]
        return [one for key in left for one in differences(left[key], right[key], f"{where}.{key}")]
    if isinstance(left, list | tuple):
        if len(left) != len(right):
            return [f"{where} length"]
        pairs = enumerate(zip(left, right, strict=True))
        return [one for n, pair in pairs for one in differences(*pair, f"{where}[{n}]")]
    return [] if left == right else [f"{where}: {left} != {right}"]


CASES: list[tuple[type[Toy], str, dict[str, Any]]] = [
    (Toy, "shuffled", {}),
    (Toy, "own_generator", {"ema_decay": 0.9}),
    (Toy, "own_sampler_generator", {}),
    (Toy, "lazy_sampler", {}),
    (Toy, "numbered", {"accumulate_steps": 2}),
    (AdamCycle, "shuffled", {"accumulate_steps": 2, "ema_decay": 0.9, "grad_clip_norm": 0.1}),
    (Plateau, "own_generator", {"early_stopping_patience": 9}),
    (Centred, "shuffled", {"accumulate_steps": 2, "ema_decay": 0.9}),
]


@pytest.mark.parametrize(
    ("kind", "loader", "config"), CASES, ids=[f"{k.__name__}-{n}" for k, n, _ in CASES]
)
def test_resume_from_every_step_ends_in_the_same_bits(
    kind: type[Toy], loader: str, config: dict[str, Any]
) -> None:
    make: Callable[[], Any] = LOADERS[loader]
    validation = DataLoader(dataset(), batch_size=8)
    snapshots = Snapshots()
    undisturbed = made(kind, "undisturbed", (snapshots,), **config)
    undisturbed.fit(make(), validation, EPOCHS)
    expected = copy.deepcopy(final_state(undisturbed))
    # Each step, and once more after each epoch's validation.
    assert len(snapshots.copies) == undisturbed.progress.step + EPOCHS

    for snapshot in snapshots.copies:
        resumed = made(kind, "resumed", **config)
        torch.manual_seed(999)
        resumed.load_checkpoint(snapshot)
        resumed.fit(make(), validation, EPOCHS)
        assert differences(expected, final_state(resumed)) == [], snapshot


def test_resume_again_and_again_in_one_folder() -> None:
    """Stopped after every single step, the run still ends in the same bits."""
    undisturbed = made(Toy, "undisturbed", ema_decay=0.9)
    undisturbed.fit(shuffled(), shuffled(), EPOCHS)

    class KillError(Exception):
        pass

    class Kill(Callback):
        def on_step(self, info: Any) -> None:
            # The step before was saved; this one is lost, as with a kill.
            if info.step >= limit:
                raise KillError

    limit, trainer = 2, made(Toy, "broken", (Kill(),), ema_decay=0.9)
    while True:
        try:
            trainer.fit(shuffled(), shuffled(), EPOCHS)
            break
        except KillError:
            limit += 1
            trainer = made(Toy, "broken", (Kill(),), ema_decay=0.9)
            trainer.load_checkpoint("broken/latest_model.pth")
    assert limit == undisturbed.progress.step + 1
    assert differences(final_state(undisturbed), final_state(trainer)) == []


def test_validation_leaves_no_trace_in_training() -> None:
    results = []
    for validation in (None, DataLoader(dataset(), batch_size=3, shuffle=True)):
        trainer = made(Toy, "ckpt")
        trainer.fit(shuffled(), validation, 2)
        results.append(trainer.model.state_dict())
    assert differences(*results) == []


def test_weights_alone_restore_weights_alone() -> None:
    trainer = made(Toy, "ckpt", ema_decay=0.5)
    trainer.fit(shuffled(), shuffled(), 1)
    other = made(Toy, "other", ema_decay=0.5)
    other.load_checkpoint("ckpt/best_model.pth")
    assert other.progress.step == 0
    assert trainer.average is not None
    assert other.average is not None
    expected = trainer.average.state_dict()
    assert differences(dict(expected), dict(other.model.state_dict())) == []
    assert differences(dict(expected), dict(other.average.state_dict())) == []


def test_longer_training_goes_on_from_a_finished_run() -> None:
    first = made(Toy, "ckpt")
    first.fit(own_generator(), None, 2)
    longer = made(Toy, "ckpt")
    longer.load_checkpoint("ckpt/latest_model.pth")
    longer.fit(own_generator(), None, EPOCHS)
    straight = made(Toy, "straight")
    straight.fit(own_generator(), None, EPOCHS)
    assert differences(final_state(straight), final_state(longer)) == []
