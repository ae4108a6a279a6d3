"""The trainer as ANO-4 to ANO-11 and ANO-15 describe it: parts, hooks and their order, stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sightline.errors import TrainingError
from sightline.training.callbacks import Callback
from sightline.training.hooks import TRAINER_HOOKS, StepInfo, Stop
from sightline.training.settings import TrainerConfig
from sightline.training.trainer import BaseTrainer

Batches = list[tuple[torch.Tensor, torch.Tensor]]


class DummyTrainer(BaseTrainer):
    """ANO-17: a linear model from 10 numbers to 1."""

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        inputs, targets = batch
        return {"loss": self.loss_fn(self.model(inputs), targets)}

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.parameters(), lr=0.05)


class RecordingTrainer(DummyTrainer):
    """Writes down every hook, in order; a test may put an action under a hook's name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls: list[str] = []
        self.actions: dict[str, Callable[[], None]] = {}

    def _note(self, name: str, *values: Any) -> None:
        self.calls.append(" ".join([name, *map(str, values)]))
        if name in self.actions:
            self.actions[name]()

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        self.calls.append(f"training_step {batch_idx}")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        self.calls.append(f"validation_step {batch_idx}")
        return super().training_step(batch, batch_idx)

    def save_checkpoint(self, epoch: int, metrics: dict[str, float]) -> None:
        self.calls.append(f"save_checkpoint {epoch}")
        super().save_checkpoint(epoch, metrics)

    def on_fit_start(self) -> None:
        self._note("on_fit_start")

    def on_fit_end(self) -> None:
        self._note("on_fit_end")

    def on_train_epoch_start(self, epoch: int) -> None:
        self._note("on_train_epoch_start", epoch)

    def on_train_epoch_end(self, epoch: int, train_loss: float) -> None:
        self._note("on_train_epoch_end", epoch)

    def on_train_batch_start(self, batch: Any, idx: int) -> None:
        self._note("on_train_batch_start", idx)

    def on_train_batch_end(self, batch: Any, idx: int, outputs: Any, loss: Any) -> None:
        assert outputs["loss"].item() == loss.item()
        assert not loss.requires_grad
        self._note("on_train_batch_end", idx)

    def on_before_optimizer_step(self, step: int) -> None:
        self._note("on_before_optimizer_step", step)

    def on_validation_epoch_start(self, epoch: int) -> None:
        self._note("on_validation_epoch_start", epoch)

    def on_validation_epoch_end(self, epoch: int, val_metrics: dict[str, float]) -> None:
        self._note("on_validation_epoch_end", epoch)

    def on_validation_batch_start(self, batch: Any, idx: int) -> None:
        self._note("on_validation_batch_start", idx)

    def on_validation_batch_end(self, batch: Any, idx: int, outputs: Any) -> None:
        self._note("on_validation_batch_end", idx)

    def on_exception(self, error: BaseException) -> None:
        self._note("on_exception", type(error).__name__)


def batches(count: int = 3, size: int = 4, seed: int = 0) -> Batches:
    random = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 10, generator=random),
            torch.randn(size, 1, generator=random),
        )
        for _ in range(count)
    ]


def made(
    kind: type[DummyTrainer] = DummyTrainer, *, callbacks: tuple[Callback, ...] = (), **config: Any
) -> Any:
    torch.manual_seed(0)
    settings = TrainerConfig(**config)
    return kind(nn.Linear(10, 1), nn.MSELoss(), "cpu", "ckpt", config=settings, callbacks=callbacks)


def test_creation() -> None:
    trainer = made()
    assert trainer.device.type == "cpu"
    assert trainer.checkpoint_dir == Path("ckpt")
    assert not Path("ckpt").exists()
    assert BaseTrainer(nn.Linear(1, 1)).loss_fn is None


def test_train_epoch_alone_creates_the_optimizer_and_learns() -> None:
    trainer = made()
    losses = [trainer.train_epoch(batches()) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert trainer.progress.epoch == 5
    assert trainer.progress.step == 15


def test_train_epoch_returns_the_mean_over_samples() -> None:
    trainer = made()
    ragged = [*batches(1, 4), *batches(1, 1, seed=1)]
    with torch.no_grad():
        first = nn.functional.mse_loss(trainer.model(ragged[0][0]), ragged[0][1]).item()
    seen = []
    trainer.on_train_batch_end = lambda batch, idx, outputs, loss: seen.append(loss.item())
    assert trainer.train_epoch(ragged) == pytest.approx((4 * seen[0] + seen[1]) / 5)
    assert seen[0] == first


def test_validate_epoch_alone_needs_no_optimizer_and_changes_nothing() -> None:
    trainer = made()
    trainer.configure_optimizers = None
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    random = torch.get_rng_state()
    metrics = trainer.validate_epoch(
        torch.utils.data.DataLoader(batches(), batch_size=None, shuffle=True)
    )
    assert torch.equal(random, torch.get_rng_state())
    assert metrics["loss"] > 0
    assert all(torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())


def test_default_metric_weighs_samples_not_batches() -> None:
    trainer = made()
    ragged = [*batches(1, 9), *batches(1, 1, seed=1)]
    inputs, targets = (torch.cat(parts) for parts in zip(*ragged, strict=True))
    with torch.no_grad():
        whole = nn.functional.mse_loss(trainer.model(inputs), targets).item()
    assert trainer.validate_epoch(ragged)["loss"] == pytest.approx(whole, rel=1e-6)


def test_fit_returns_one_row_for_each_epoch() -> None:
    history = made().fit(batches(), batches(seed=1), 3)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["step"] for row in history] == [3, 6, 9]
    assert {"train_loss", "valid_loss", "lr", "time_s", "images_per_s", "mem_MiB"} <= set(
        history[0]
    )
    assert history[2]["train_loss"] < history[0]["train_loss"]
    assert history[0]["split"] == "val"


class TrainerOfParts(DummyTrainer):
    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        outputs = super().training_step(batch, batch_idx)
        return {**outputs, "parts": {"size": torch.tensor(float(len(batch[0]))), "one": 1.0}}


def test_parts_of_the_loss_are_means_over_the_epochs_samples() -> None:
    trainer = TrainerOfParts(nn.Linear(10, 1), nn.functional.mse_loss, "cpu")
    first, second = trainer.fit([*batches(1, 4), *batches(1, 1, seed=1)], None, 2)
    assert first["train_size"] == second["train_size"] == pytest.approx((4 * 4 + 1) / 5)
    assert first["train_one"] == 1.0
    assert list(first).index("train_one") > list(first).index("train_loss")


@pytest.mark.parametrize("parts", [{"loss": 1.0}, [1.0]])
def test_parts_in_another_form_are_refused(parts: Any) -> None:
    trainer = made()
    trainer.training_step = lambda batch, idx: {
        "loss": trainer.model(batch[0]).sum(),
        "parts": parts,
    }
    with pytest.raises(TrainingError, match="parts of the loss"):
        trainer.fit(batches(), None, 1)


def test_fit_without_validation_keeps_the_last_epoch_as_best() -> None:
    trainer = made()
    history = trainer.fit(batches(), None, 2)
    assert history[0]["split"] is None
    assert history[0]["valid_loss"] is None
    assert trainer.progress.best_epoch == 2


def test_checkpoint_save_and_load() -> None:
    trainer = made()
    trainer.about = {"note": "hello"}
    trainer.fit(batches(), batches(seed=1), 2)
    other = made()
    with torch.no_grad():
        other.model.weight.zero_()
    info = other.load_checkpoint("ckpt/latest_model.pth")
    assert info["about"] == {"note": "hello"}
    assert (info["epoch"], info["step"]) == (2, 6)
    assert info["metrics"] == trainer.metrics
    assert torch.equal(other.model.weight, trainer.model.weight)
    assert other.history == trainer.history


def test_checkpoints_written() -> None:
    made(save_interval=2).fit(batches(), batches(seed=1), 3)
    names = sorted(path.name for path in Path("ckpt").iterdir())
    assert names == ["best_model.pth", "epoch_002.pth", "epoch_003.pth", "latest_model.pth"]


def test_best_model_is_the_best_epoch_and_not_the_last() -> None:
    class Scripted(DummyTrainer):
        scores = iter([0.3, 0.9, float("nan"), 0.5])

        def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
            return {"image_auroc": next(self.scores)}

    trainer = made(Scripted, monitor="image_auroc", save_interval=1)
    trainer.fit(batches(), batches(), 4)
    best = made()
    assert best.load_checkpoint("ckpt/best_model.pth")["epoch"] == 2
    second = made()
    second.load_checkpoint("ckpt/epoch_002.pth")
    assert torch.equal(best.model.weight, second.model.weight)
    assert not torch.equal(best.model.weight, trainer.model.weight)
    assert trainer.progress.best_value == 0.9


@pytest.mark.parametrize(("mode", "best"), [("min", 1), ("max", 2)])
def test_mode_decides_what_is_better(mode: str, best: int) -> None:
    class Scripted(DummyTrainer):
        scores = iter([1.0, 2.0])

        def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
            return {"error": next(self.scores)}

    trainer = made(Scripted, monitor="error", mode=mode)
    trainer.fit(batches(), batches(), 2)
    assert trainer.progress.best_epoch == best


EPOCH = [
    "on_train_epoch_start 1",
    "on_train_batch_start 0",
    "training_step 0",
    "on_before_optimizer_step 1",
    "on_train_batch_end 0",
    "on_train_batch_start 1",
    "training_step 1",
    "on_before_optimizer_step 2",
    "on_train_batch_end 1",
    "on_train_epoch_end 1",
    "on_validation_epoch_start 1",
    "on_validation_batch_start 0",
    "validation_step 0",
    "on_validation_batch_end 0",
    "on_validation_epoch_end 1",
    "save_checkpoint 1",
]


def test_hooks_are_called_in_the_exact_order() -> None:
    """ANO-10."""
    trainer = made(RecordingTrainer)
    trainer.fit(batches(2), batches(1), 1)
    assert trainer.calls == ["on_fit_start", *EPOCH, "on_fit_end"]


def test_hook_order_with_accumulation() -> None:
    trainer = made(RecordingTrainer, accumulate_steps=2)
    trainer.train_epoch(batches(3))
    assert trainer.calls == [
        "on_train_epoch_start 1",
        "on_train_batch_start 0",
        "training_step 0",
        "on_train_batch_end 0",
        "on_train_batch_start 1",
        "training_step 1",
        "on_before_optimizer_step 1",
        "on_train_batch_end 1",
        "on_train_batch_start 2",
        "training_step 2",
        "on_before_optimizer_step 2",
        "on_train_batch_end 2",
        "on_train_epoch_end 1",
    ]


def test_hook_put_on_one_trainer_is_called() -> None:
    trainer = made()
    epochs: list[int] = []
    trainer.on_train_epoch_start = epochs.append
    trainer.fit(batches(), None, 2)
    assert epochs == [1, 2]


STOPPING_HOOKS = [name for name in TRAINER_HOOKS if name not in ("on_exception", "on_fit_end")]


def raise_stop() -> None:
    raise StopIteration("enough")


@pytest.mark.parametrize("hook", STOPPING_HOOKS)
def test_stop_iteration_in_any_hook_ends_cleanly(hook: str) -> None:
    trainer = made(RecordingTrainer, save_interval=10)
    trainer.actions[hook] = raise_stop
    history = trainer.fit(batches(), batches(1), 5)
    assert trainer.stop_reason == "enough"
    assert trainer.calls[-1] == "on_fit_end"
    epochs = 0 if hook in ("on_fit_start", "on_train_epoch_start") else 1
    assert len(history) == epochs
    assert Path("ckpt/latest_model.pth").exists()
    assert Path("ckpt/epoch_001.pth").exists() == (epochs == 1)
    assert made().load_checkpoint("ckpt/latest_model.pth")["epoch"] == epochs


def test_stop_iteration_in_the_last_hook_is_no_error() -> None:
    trainer = made(RecordingTrainer)
    trainer.actions["on_fit_end"] = raise_stop
    assert len(trainer.fit(batches(), None, 1)) == 1


def test_stop_before_a_later_epoch_keeps_the_one_before_as_the_last() -> None:
    trainer = made(RecordingTrainer, save_interval=10)
    trainer.actions["on_train_epoch_start"] = lambda: (
        trainer.stop("two are enough") if trainer.progress.epoch == 2 else None
    )
    trainer.fit(batches(), batches(1), 5)
    assert trainer.progress.epoch == 2
    info = made().load_checkpoint("ckpt/epoch_002.pth")
    assert info["metrics"] == trainer.metrics != {}


def test_stop_ends_after_the_step_under_way_and_fit_can_go_on() -> None:
    trainer = made(RecordingTrainer)
    trainer.actions["on_before_optimizer_step"] = lambda: trainer.stop("first")
    trainer.fit(batches(3), None, 4)
    assert trainer.progress.step == 1
    assert trainer.stop_reason == "first"
    trainer.actions.clear()
    trainer.fit(batches(3), None, 4)
    assert trainer.stop_reason is None
    assert trainer.progress.epoch == 4
    assert trainer.progress.step == 10


def test_train_epoch_alone_goes_on_after_a_stop() -> None:
    trainer = made(RecordingTrainer)
    trainer.actions["on_train_batch_end"] = lambda: trainer.stop("one")
    trainer.train_epoch(batches(3))
    trainer.train_epoch(batches(3))
    assert trainer.progress.step == 2


def test_error_reaches_the_hook_and_the_observers_and_is_raised() -> None:
    seen: list[BaseException] = []

    class Watch(Callback):
        def on_exception(self, error: BaseException) -> None:
            seen.append(error)

    trainer = made(RecordingTrainer, callbacks=(Watch(),))

    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    trainer.actions["on_train_batch_start"] = fail
    trainer.actions["on_exception"] = raise_stop
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        trainer.fit(batches(), None, 1)
    assert trainer.calls[-1] == "on_exception ZeroDivisionError"
    assert len(seen) == 1


def test_misspelt_hooks_are_refused_with_the_near_name() -> None:
    with pytest.raises(TypeError, match=r"on_train_epoch_strat.*mean on_train_epoch_start\?"):
        type("Bad", (BaseTrainer,), {"on_train_epoch_strat": lambda self, epoch: None})
    with pytest.raises(TypeError, match=r"mean on_epoch_end\?"):
        type("Bad", (Callback,), {"on_epoch_ends": lambda self, row: None})
    mixin = type("Mixin", (), {"on_valdation_epoch_end": lambda self, epoch, metrics: None})
    with pytest.raises(TypeError, match=r"mean on_validation_epoch_end\?"):
        type("Bad", (mixin, BaseTrainer), {})


def test_value_whose_name_begins_like_a_hook_is_allowed() -> None:
    assert type("Fine", (BaseTrainer,), {"on_gpu": True}).on_gpu  # type: ignore[attr-defined]


def test_object_that_is_no_callback_is_refused() -> None:
    with pytest.raises(TypeError, match="Callback"):
        made(callbacks=(print,))


def test_step_methods_may_leave_the_index_out() -> None:
    class Short(BaseTrainer):
        def training_step(self, batch: Any) -> dict[str, Any]:  # type: ignore[override]
            return {"loss": self.model(batch[0]).mean()}

        def validation_step(self, *values: Any) -> dict[str, Any]:
            assert len(values) == 2
            return {"loss": torch.tensor(1.0)}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=0.1)

    trainer = Short(nn.Linear(10, 1), None, "cpu", "ckpt")
    assert trainer.fit(batches(), batches(), 1)[0]["valid_loss"] == 1.0


def test_observers_learn_of_every_step_and_may_stop() -> None:
    infos: list[StepInfo] = []
    events: list[str] = []

    class Watch(Callback):
        def on_fit_start(self, epochs: int | None) -> None:
            events.append(f"start {epochs}")

        def on_step(self, info: StepInfo) -> Stop | None:
            infos.append(info)
            return Stop("seen enough") if info.step == 4 else None

        def on_epoch_end(self, row: Any) -> None:
            events.append(f"epoch {row['epoch']}")
            with pytest.raises(TypeError):
                row["epoch"] = 7

        def on_checkpoint(self, path: Path, metrics: Any) -> None:
            events.append(path.name)
            assert path.exists()

        def on_fit_end(self, reason: str | None) -> None:
            events.append(f"end {reason}")

    trainer = made(callbacks=(Watch(),))
    trainer.fit(batches(3), batches(1), 9)
    assert [(one.epoch, one.step, one.batch, one.samples) for one in infos] == [
        (1, 1, 1, 4),
        (1, 2, 2, 8),
        (1, 3, 3, 12),
        (2, 4, 1, 4),
    ]
    assert infos[0].batches == 3
    assert infos[0].epochs == 9
    assert infos[0].lr == 0.05
    assert events[0] == "start 9"
    assert events[-1] == "end seen enough"
    assert "epoch_002.pth" in events


@pytest.mark.parametrize("event", ["on_fit_start", "on_epoch_end", "on_checkpoint"])
def test_observer_may_stop_at_any_event(event: str) -> None:
    watch = type("Watch", (Callback,), {event: lambda self, *values: Stop("enough")})()
    trainer = made(callbacks=(watch,))
    trainer.fit(batches(), batches(1), 5)
    assert trainer.progress.epoch == (0 if event == "on_fit_start" else 1)
    assert Path("ckpt/epoch_001.pth").exists() == (event != "on_fit_start")
    assert Path("ckpt/latest_model.pth").exists()


def test_finalize_trains_models_without_gradients() -> None:
    """Zero epochs plus finalize: no loss, no optimizer."""

    class Bank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(10))

    class BankTrainer(BaseTrainer):
        def finalize(self, loader: Any) -> None:
            assert not torch.is_grad_enabled()
            self.model.mean.copy_(torch.cat([inputs for inputs, _ in loader]).mean(dim=0))

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": (batch[0] - self.model.mean).square().mean()}

    trainer = BankTrainer(Bank(), None, "cpu", "ckpt")
    history = trainer.fit(batches(), batches(), 0)
    assert len(history) == 1
    assert history[0]["train_loss"] is None
    assert history[0]["valid_loss"] > 0
    again = BankTrainer(Bank(), None, "cpu", "elsewhere")
    assert again.load_checkpoint("ckpt/best_model.pth")["epoch"] == 0
    assert torch.equal(again.model.mean, torch.cat([x for x, _ in batches()]).mean(dim=0))


def test_finalized_model_replaces_an_earlier_best() -> None:
    class Both(DummyTrainer):
        def finalize(self, loader: Any) -> None:
            self.model.bias.fill_(100.0)

    trainer = made(Both)
    history = trainer.fit(batches(), batches(), 2)
    assert [row["epoch"] for row in history] == [1, 2, 2]
    best = made()
    best.load_checkpoint("ckpt/best_model.pth")
    assert best.model.bias.item() == 100.0


def test_callbacks_change_no_weight() -> None:
    class Everything(Callback):
        def on_step(self, info: StepInfo) -> None:
            str(info)

        def on_epoch_end(self, row: Any) -> None:
            dict(row)

    class Dropping(DummyTrainer):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            inputs = nn.functional.dropout(batch[0])
            return {"loss": self.loss_fn(self.model(inputs), batch[1])}

    weights = []
    for callbacks in ((), (Everything(),)):
        trainer = made(Dropping, callbacks=callbacks)
        trainer.fit(batches(), batches(1), 3)
        weights.append(trainer.model.weight.detach().clone())
    assert torch.equal(*weights)


def test_stream_without_length_is_a_loader() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(batches())

    lengths = []

    class Watch(Callback):
        def on_step(self, info: StepInfo) -> None:
            lengths.append(info.batches)

    trainer = made(callbacks=(Watch(),))
    trainer.fit(torch.utils.data.DataLoader(Stream(), batch_size=None), None, 1)
    assert lengths == [None] * 3
