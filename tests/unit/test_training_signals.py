"""Signals are noted while a watch is entered, and only then."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
import torch
from torch import nn

from sightline.errors import Interrupted
from sightline.training.signals import SignalWatch
from sightline.training.trainer import BaseTrainer

HANDLERS = (signal.SIGTERM, signal.SIGINT)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in HANDLERS]


@pytest.mark.parametrize("number", HANDLERS)
def test_signal_is_noted_and_the_old_handlers_come_back(number: signal.Signals) -> None:
    before = handlers()
    watch = SignalWatch()
    with watch:
        signal.raise_signal(number)
        assert watch.received is number
    assert handlers() == before


def test_second_ctrl_c_ends_at_once() -> None:
    before = handlers()
    with pytest.raises(KeyboardInterrupt), SignalWatch():  # noqa: PT012 (two signals are the point)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert handlers() == before


def test_ctrl_c_after_sigterm_is_not_yet_the_second() -> None:
    with SignalWatch() as watch:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert watch.received is signal.SIGINT


def test_watch_can_be_entered_again_and_has_forgotten() -> None:
    watch = SignalWatch()
    with watch:
        signal.raise_signal(signal.SIGTERM)
    with watch:
        assert watch.received is None


def test_outside_the_main_thread_nothing_is_installed() -> None:
    before, seen = handlers(), []

    def enter() -> None:
        with SignalWatch():
            seen.extend(handlers())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == before


class Toy(BaseTrainer):
    """Sends itself a signal in a hook."""

    moment = "on_train_batch_end"

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.model(batch).mean()}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.parameters(), lr=0.1)

    def save_checkpoint(self, epoch: int, metrics: dict[str, float]) -> None:
        if self.moment == "save_checkpoint":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        super().save_checkpoint(epoch, metrics)


@pytest.mark.parametrize(
    "moment",
    ["on_fit_start", "on_train_batch_end", "on_validation_batch_end", "save_checkpoint"],
)
def test_signal_is_not_lost_at_any_moment(moment: str) -> None:
    """A signal that comes while the last epoch is saved still ends the process."""
    data = [torch.ones(2, 3)]
    trainer: Any = Toy(nn.Linear(3, 1), None, "cpu", "ckpt")
    trainer.moment = moment
    if moment != "save_checkpoint":
        setattr(trainer, moment, lambda *values: signal.raise_signal(signal.SIGTERM))
    before = handlers()
    with pytest.raises(Interrupted) as caught:
        trainer.fit(data, data, 1)
    assert caught.value.exit_code == 143
    assert handlers() == before
    resumed = Toy(nn.Linear(3, 1), None, "cpu", "ckpt")
    resumed.moment = "never"
    resumed.load_checkpoint("ckpt/latest_model.pth")
    resumed.fit(data, data, 1)
    assert resumed.progress.step == 1
    if moment == "save_checkpoint":
        assert resumed.metrics == trainer.metrics != {}


def test_training_goes_on_after_an_interrupted_fit() -> None:
    data = [torch.ones(2, 3)]
    trainer: Any = Toy(nn.Linear(3, 1), None, "cpu", "ckpt")
    trainer.on_fit_start = lambda: signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        trainer.fit(data, None, 2)
    del trainer.on_fit_start
    assert len(trainer.fit(data, None, 2)) == 2
