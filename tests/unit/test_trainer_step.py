"""One optimizer step: parity with plain PyTorch, accumulation, clipping, averages, schedules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from sightline.errors import CheckpointError, ConfigError
from sightline.training.averaging import AveragedModel
from sightline.training.finite import FiniteCheck
from sightline.training.schedules import StepSchedule, linear
from sightline.training.settings import TrainerConfig
from sightline.training.trainer import BaseTrainer

Batches = list[tuple[torch.Tensor, torch.Tensor]]


class Regression(BaseTrainer):
    """Mean squared error with SGD and momentum."""

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        inputs, targets = batch
        return {"loss": nn.functional.mse_loss(self.model(inputs), targets)}

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))


def batches(sizes: tuple[int, ...] = (4, 4, 4)) -> Batches:
    random = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 5, generator=random), torch.randn(size, 1, generator=random))
        for size in sizes
    ]


def made(
    kind: type[BaseTrainer] = Regression,
    *,
    model: nn.Module | None = None,
    loss_fn: Any = None,
    **config: Any,
) -> Any:
    settings = TrainerConfig(**config)
    return kind(model or network(), loss_fn, "cpu", "ckpt", config=settings)


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(left, right, strict=True))


def test_parity_with_a_hand_written_loop() -> None:
    """The trainer's weights are those of plain PyTorch, bit for bit."""
    model, data = network(), batches((4, 4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(7)
    model.train()
    for _ in range(4):
        for inputs, targets in data:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()

    trainer = made()
    torch.manual_seed(7)
    trainer.fit(data, data, 4)
    assert same(weights(model), weights(trainer.model))


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (4, 4, 4, 4, 2), (4, 4, 4, 1, 1), (1, 7)])
def test_accumulation_is_the_big_batch_even_where_it_is_ragged(sizes: tuple[int, ...]) -> None:
    model, data = nn.Linear(5, 1), batches(sizes)
    start = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for first in range(0, len(data), 2):
        inputs, targets = (torch.cat(part) for part in zip(*data[first : first + 2], strict=True))
        optimizer.zero_grad()
        squares = [
            (model(row) - target).square().sum()
            for row, target in zip(inputs, targets, strict=True)
        ]
        (sum(squares) / len(squares)).backward()  # type: ignore[union-attr]
        optimizer.step()

    class Plain(Regression):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=0.1)

    trainer = made(Plain, model=start, accumulate_steps=2)
    trainer.train_epoch(data)
    assert trainer.progress.step == -(-len(sizes) // 2)
    for expected, got in zip(weights(model), weights(trainer.model), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


def test_gradients_are_clipped_before_the_step() -> None:
    """Defect 1: clipping after the optimizer step has no effect."""
    largest = 0.01
    norms: list[float] = []

    class Watched(Regression):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=1.0)

        def on_before_optimizer_step(self, step: int) -> None:
            norms.append(float(nn.utils.get_total_norm([p.grad for p in self.model.parameters()])))

    trainer = made(Watched, grad_clip_norm=largest)
    before = weights(trainer.model)
    trainer.train_epoch(batches((4,)))
    moved = [new - old for new, old in zip(weights(trainer.model), before, strict=True)]
    assert norms == [pytest.approx(largest, rel=1e-3)]
    assert float(nn.utils.get_total_norm(moved)) == pytest.approx(largest, rel=1e-3)


def test_small_gradients_are_not_clipped() -> None:
    results = []
    for most in (None, 1e6):
        torch.manual_seed(0)
        trainer = made(grad_clip_norm=most)
        trainer.train_epoch(batches())
        results.append(weights(trainer.model))
    assert same(*results)


def test_hook_before_the_step_may_change_gradients() -> None:
    class Frozen(Regression):
        def on_before_optimizer_step(self, step: int) -> None:
            for parameter in self.model.parameters():
                parameter.grad.zero_()

    trainer = made(Frozen)
    before = weights(trainer.model)
    trainer.train_epoch(batches())
    assert same(before, weights(trainer.model))


def test_frozen_parts_stay_in_eval_mode() -> None:
    """Defect 7: model.train() also flips a frozen teacher's BatchNorm."""
    teacher = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5)).requires_grad_(False)
    model = nn.Sequential(teacher, nn.Linear(5, 1))
    before = copy.deepcopy(teacher.state_dict())
    trainer = made(model=model)
    modes: list[tuple[bool, bool]] = []
    trainer.on_train_batch_start = lambda batch, idx: modes.append(
        (teacher[1].training, model[1].training)
    )
    trainer.fit(batches(), batches(), 2)
    assert set(modes) == {(False, True)}
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())


@pytest.mark.parametrize("freeze", [False, True])
def test_freeze_norm_statistics(freeze: bool) -> None:
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    norm: Any = model[1]
    before = (norm.running_mean.clone(), norm.weight.detach().clone())
    made(model=model, freeze_norm_statistics=freeze).train_epoch(batches())
    assert torch.equal(before[0], norm.running_mean) == freeze
    assert not torch.equal(before[1], norm.weight)


def test_average_follows_its_formula() -> None:
    """The decay is min(decay, (1 + step) / (10 + step)); a plain loop says the same."""
    decay = 0.3
    trainer = made(ema_decay=decay)
    average = [one.tolist() for one in weights(trainer.model)]
    flat = [torch.tensor(one, dtype=torch.float64) for one in average]

    def follow(batch: Any, idx: int, outputs: Any, loss: Any) -> None:
        step = idx + 1
        now = min(decay, (1 + step) / (10 + step))
        for number, value in enumerate(weights(trainer.model)):
            flat[number] = now * flat[number] + (1 - now) * value.double()

    trainer.on_train_batch_end = follow
    trainer.train_epoch(batches((4,) * 6))
    got = list(trainer.average.state_dict().values())
    for expected, value in zip(flat, got, strict=True):
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    assert not same(got, weights(trainer.model))


def test_average_is_what_is_evaluated_and_saved_as_best() -> None:
    seen: list[list[torch.Tensor]] = []

    class Watched(Regression):
        def on_validation_epoch_start(self, epoch: int) -> None:
            self.during_training = weights(self.model)

        def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            seen.append(weights(self.model))
            return super().validation_step(batch, batch_idx)

    trainer = made(Watched, ema_decay=0.9)
    trainer.fit(batches(), batches((4,)), 1)
    average = list(trainer.average.state_dict().values())
    assert same(seen[0], average)
    assert same(trainer.during_training, weights(trainer.model))
    assert not same(seen[0], weights(trainer.model))
    saved = torch.load("ckpt/best_model.pth", weights_only=True)["model"]
    assert same(list(saved.values()), average)
    latest = torch.load("ckpt/latest_model.pth", weights_only=True)["model"]
    assert same(list(latest.values()), weights(trainer.model))


def test_average_of_tied_weights_moves_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    model.register_buffer("count", torch.tensor(0))
    average = AveragedModel(model, 0.5)
    start = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1.0)
    model.count.add_(5)  # type: ignore[operator]
    average.update(step=100)
    with average.as_model():
        torch.testing.assert_close(model[1].weight.detach(), start + 0.5)
        assert model.count.item() == 5  # type: ignore[operator]
    torch.testing.assert_close(model[0].weight.detach(), start + 1.0)


def rates(configure: Any, epochs: int, *, validation: Batches | None = None) -> list[float]:
    """The learning rate of every step; configure gets the optimizer."""
    seen: list[float] = []

    class Scheduled(Regression):
        def configure_optimizers(self) -> Any:
            return configure(torch.optim.SGD(self.model.parameters(), lr=1.0))

        def on_before_optimizer_step(self, step: int) -> None:
            seen.append(self.optimization.learning_rate)

        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            return {"loss": 0.0 * self.model(batch[0]).sum()}

    made(Scheduled).fit(batches((2, 2)), validation, epochs)
    return seen


def test_schedule_of_ours_is_a_function_of_the_step() -> None:
    def configure(optimizer: Any) -> Any:
        return {"optimizer": optimizer, "scheduler": StepSchedule([optimizer], linear(4))}

    assert rates(configure, 2) == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])


def test_torch_schedule_moves_every_epoch() -> None:
    """ANO-19: SGD with StepLR."""
    got = rates(lambda o: {"optimizer": o, "scheduler": StepLR(o, 1, 0.5)}, 3)
    assert got == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_torch_schedule_moves_every_step_when_asked() -> None:
    def configure(optimizer: Any) -> Any:
        cycle = OneCycleLR(optimizer, max_lr=1.0, total_steps=6)
        return {"optimizer": optimizer, "scheduler": cycle, "interval": "step"}

    probe = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = OneCycleLR(probe, max_lr=1.0, total_steps=6)
    expected = []
    for _ in range(6):
        expected.append(probe.param_groups[0]["lr"])
        probe.step()
        if len(expected) < 6:
            cycle.step()
    assert rates(configure, 3) == pytest.approx(expected)


def test_plateau_schedule_gets_the_monitored_value() -> None:
    def configure(optimizer: Any) -> Any:
        plateau = ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
        return {"optimizer": optimizer, "scheduler": plateau}

    got = rates(configure, 3, validation=batches((2,)))
    assert got == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.1, 0.1])


class Two(BaseTrainer):
    """Two optimizers, each with its own schedule, and a loss that learns."""

    form = "mapping"

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return {"loss": self.loss_fn(self.model(batch[0])).square().mean()}

    def configure_optimizers(self) -> Any:
        first = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.5)
        second = torch.optim.Adam(self.loss_fn.parameters(), lr=0.01)
        schedules = [None, MultiStepLR(second, [1, 2], 0.1)]
        if self.form == "mapping":
            return {"optimizer": [first, second], "scheduler": schedules}
        return [first, {"optimizer": second, "scheduler": schedules[1]}]


@pytest.mark.parametrize("form", ["mapping", "list"])
def test_several_optimizers_and_a_loss_with_parameters(form: str) -> None:
    kind = type("Formed", (Two,), {"form": form})

    def fresh() -> Any:
        torch.manual_seed(1)
        return made(kind, model=nn.Linear(5, 3), loss_fn=nn.Linear(3, 1))

    trainer = fresh()
    before = weights(trainer.model), weights(trainer.loss_fn)
    trainer.fit(batches(), None, 1)
    assert not same(before[0], weights(trainer.model))
    assert not same(before[1], weights(trainer.loss_fn))

    resumed = fresh()
    resumed.load_checkpoint("ckpt/latest_model.pth")
    assert same(weights(resumed.loss_fn), weights(trainer.loss_fn))
    for one in (trainer, resumed):
        one.fit(batches(), None, 3)
    assert same(weights(resumed.model), weights(trainer.model))
    assert same(weights(resumed.loss_fn), weights(trainer.loss_fn))
    lrs = [one.optimization.optimizers[1].param_groups[0]["lr"] for one in (trainer, resumed)]
    assert lrs == pytest.approx([1e-4, 1e-4])


def test_loss_module_trains_and_evaluates_like_the_model() -> None:
    class Noisy(nn.Module):
        modes: list[bool] = []  # noqa: RUF012

        def forward(self, predicted: torch.Tensor) -> torch.Tensor:
            self.modes.append(self.training)
            return predicted.mean()

    class Simple(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            return {"loss": self.loss_fn(self.model(batch[0]))}

    made(Simple, loss_fn=Noisy()).fit(batches((2,)), batches((2,)), 2)
    assert Noisy.modes == [True, False, True, False]


def test_bf16_computes_in_half_precision_and_keeps_fp32_weights() -> None:
    kinds: list[torch.dtype] = []

    class Watched(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            predicted = self.model(batch[0])
            kinds.append(predicted.dtype)
            return {"loss": nn.functional.mse_loss(predicted.float(), batch[1])}

    trainer = made(Watched, precision="bf16")
    history = trainer.fit(batches(), batches(), 3)
    assert set(kinds) == {torch.bfloat16}
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert history[2]["train_loss"] < history[0]["train_loss"]


def test_auto_precision_is_fp32_on_a_cpu_and_fp16_is_refused() -> None:
    assert made().precision.name == "fp32"
    with pytest.raises(ConfigError, match=r"fp16 cannot train on a CPU") as caught:
        made(precision="fp16")
    assert "precision=auto" in str(caught.value)


def test_channels_last_changes_the_layout_and_not_the_result() -> None:
    class Images(BaseTrainer):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            return {"loss": self.model(batch).square().mean()}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=0.1)

    data = [torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))]
    results = []
    for layout in (False, True):
        torch.manual_seed(0)
        trainer = made(Images, model=nn.Conv2d(3, 4, 3), channels_last=layout)
        trainer.fit(data, None, 3)
        weight = trainer.model.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == layout
        results.append(weight.detach().contiguous())
    torch.testing.assert_close(*results)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_model_learns_the_same() -> None:
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        trainer = made(model=nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1)), compile=compiled)
        trainer.fit(batches((4, 4)), batches((4,)), 2)
        results.append(weights(trainer.model))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_sparse_gradients_are_checked_too() -> None:
    class Words(BaseTrainer):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            return {"loss": self.model(batch).square().mean()}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=1.0)

    trainer = made(Words, model=nn.Embedding(7, 2, sparse=True))
    before = trainer.model.weight.detach().clone()
    trainer.train_epoch([torch.tensor([1, 3])])
    changed = (before != trainer.model.weight).any(dim=1).nonzero().flatten()
    assert changed.tolist() == [1, 3]


def test_finite_check_sees_every_kind_of_gradient() -> None:
    check = FiniteCheck({torch.device("cpu")})
    good = [torch.ones(3), torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.bfloat16)]
    bad = torch.tensor([0.0, float("nan")])
    before = [one.clone() for one in good]
    assert check([])
    assert check(good)
    assert same(before, good)
    assert not check([*good, bad])
    assert not check([*good, torch.tensor([float("-inf")], dtype=torch.float64)])
    assert check(good)


@pytest.mark.parametrize(
    ("scores", "epochs"), [([0.5, 0.6, 0.6, 0.6, 0.9], 4), ([0.5, 0.4, 0.6, 0.1, 0.2], 5)]
)
def test_early_stopping_counts_epochs_without_improvement(scores: list[float], epochs: int) -> None:
    """ANO-11: early stopping on image_auroc."""
    trainer = early_stopping_trainer(scores)
    assert len(trainer.fit(batches((2,)), batches((2,)), 9)) == epochs
    assert trainer.stop_reason == "no improvement of image_auroc for 2 epochs"
    trainer.fit(batches((2,)), batches((2,)), 9)
    assert trainer.progress.epoch == epochs


def early_stopping_trainer(scores: list[float], **config: Any) -> Any:
    class Scripted(Regression):
        def compute_metrics(self, outputs: list[Any]) -> dict[str, float]:
            return {"image_auroc": scores[self.progress.epoch]}

    return made(Scripted, monitor="image_auroc", early_stopping_patience=2, **config)


def test_early_stopping_min_delta() -> None:
    trainer = early_stopping_trainer([0.5, 0.55, 0.59, 0.7], early_stopping_min_delta=0.1)
    assert len(trainer.fit(batches((2,)), batches((2,)), 9)) == 3
    assert trainer.progress.best_value == 0.59


def test_early_stopping_goes_on_counting_after_a_resume() -> None:
    scores = [0.5, 0.4, 0.3, 0.9]
    early_stopping_trainer(scores).fit(batches((2,)), batches((2,)), 2)
    resumed = early_stopping_trainer(scores)
    resumed.load_checkpoint("ckpt/latest_model.pth")
    resumed.fit(batches((2,)), batches((2,)), 9)
    assert resumed.progress.epoch == 3
    finished = early_stopping_trainer(scores)
    finished.load_checkpoint("ckpt/latest_model.pth")
    finished.fit(batches((2,)), batches((2,)), 9)
    assert finished.progress.epoch == 3
    assert finished.stop_reason == "no improvement of image_auroc for 2 epochs"


def test_checkpoint_of_another_model_or_optimizer_is_refused_with_names() -> None:
    made().fit(batches((2,)), None, 1)
    other = made(model=nn.Linear(4, 1))
    with pytest.raises(CheckpointError, match=r"belongs to another model") as caught:
        other.load_checkpoint("ckpt/latest_model.pth")
    assert "weight" in str(caught.value)
    assert "latest_model.pth" in str(caught.value)

    class Several(Regression):
        def configure_optimizers(self) -> Any:
            halves = list(self.model.parameters())
            return [torch.optim.SGD(halves[:2], lr=0.1), torch.optim.SGD(halves[2:], lr=0.1)]

    several = made(Several)
    before = weights(several.model)
    with pytest.raises(CheckpointError, match=r"another number of optimizers"):
        several.load_checkpoint("ckpt/latest_model.pth")
    assert same(before, weights(several.model))

    class Grouped(Regression):
        def configure_optimizers(self) -> Any:
            groups = [{"params": [one]} for one in self.model.parameters()]
            return torch.optim.SGD(groups, lr=0.1)

    with pytest.raises(CheckpointError, match=r"optimizer in the checkpoint does not fit"):
        made(Grouped).load_checkpoint("ckpt/latest_model.pth")
