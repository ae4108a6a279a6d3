"""What the trainer refuses, and that its messages say what, where and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sightline.errors import ConfigError, NonFiniteError, TrainingError
from sightline.training import batches as batch_tools
from sightline.training.optimization import optimizer_plans
from sightline.training.progress import Progress
from sightline.training.runtime import resolve_device
from sightline.training.settings import TrainConfig, TrainerConfig
from sightline.training.trainer import BaseTrainer


@dataclass
class Rows:
    """A batch that knows its ids."""

    values: torch.Tensor
    ids: list[str]


class Toy(BaseTrainer):
    """The mean of a linear model's outputs."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.model(batch.values).square().mean()}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.parameters(), lr=0.1)


def made(kind: type[BaseTrainer] = Toy, model: nn.Module | None = None, **config: Any) -> Any:
    torch.manual_seed(0)
    settings = TrainerConfig(**config)
    return kind(model or nn.Linear(3, 1), None, "cpu", "ckpt", config=settings)


def rows(count: int = 2, value: float = 1.0) -> list[Rows]:
    return [
        Rows(torch.full((2, 3), value), [f"image_{2 * one}", f"image_{2 * one + 1}"])
        for one in range(count)
    ]


def is_complete(error: BaseException, *parts: str) -> bool:
    """Whether a message names every part and fits a screen."""
    text = str(error)
    missing = [part for part in parts if part not in text]
    assert not missing, (missing, text)
    assert text.count("\n") < 12, text
    assert len(text) < 1500, text
    return True


@pytest.mark.parametrize("clip", [None, 1.0])
def test_non_finite_loss_names_step_and_samples_and_spares_the_weights(clip: float | None) -> None:
    trainer = made(grad_clip_norm=clip, ema_decay=0.5)
    data = [*rows(2), Rows(torch.full((2, 3), float("inf")), ["bad_7.png", "bad_8.png"])]
    kept: list[torch.Tensor] = []

    def keep(*values: Any) -> None:
        kept[:] = [one.clone() for one in trainer.model.state_dict().values()]

    trainer.on_train_batch_end = keep
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit(data, None, 1)
    assert is_complete(
        caught.value, "Step 3", "epoch 1", "batch 2", "bad_7.png", "bad_8.png", "train.lr", "check"
    )
    after = trainer.model.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(kept, after, strict=True))
    assert all(torch.isfinite(one).all() for one in trainer.average.state_dict().values())
    assert trainer.progress.step == 2


@pytest.mark.parametrize("clip", [None, 1.0])
def test_non_finite_gradient_names_its_tensor(clip: float | None) -> None:
    class Root(Toy):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            finite = self.model[0](batch.values).sum()
            return {"loss": finite + self.model[1].weight.sum().mul(0.0).sqrt()}

    model = nn.Sequential(nn.Linear(3, 1), nn.Linear(3, 1, bias=False))
    before = [one.detach().clone() for one in model.parameters()]
    trainer = made(Root, model, grad_clip_norm=clip)
    with pytest.raises(NonFiniteError) as caught:
        trainer.train_epoch(rows())
    assert is_complete(caught.value, "non-finite gradients of 1.weight", "Step 1", "image_0")
    assert "0.weight" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_non_finite_gradient_of_a_loss_parameter_is_named() -> None:
    class Center(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.center = nn.Parameter(torch.zeros(()))

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return value.mean() + self.center.sqrt()

    class Learned(Toy):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.loss_fn(self.model(batch.values))}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([*self.model.parameters(), *self.loss_fn.parameters()], lr=0.1)

    trainer = Learned(nn.Linear(3, 1), Center(), "cpu", "ckpt")
    with pytest.raises(NonFiniteError, match="center"):
        trainer.train_epoch(rows())


@pytest.mark.parametrize(
    "result",
    [
        lambda loss: None,
        lambda loss: loss,
        lambda loss: {"lost": loss},
        lambda loss: {"loss": loss.item()},
        lambda loss: {"loss": loss.detach()},
        lambda loss: {"loss": loss.repeat(2)},
    ],
)
def test_wrong_training_step_result_shows_the_right_form(result: Any) -> None:
    class Wrong(Toy):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return result(self.model(batch.values).mean())

    with pytest.raises(TrainingError) as caught:
        made(Wrong).train_epoch(rows())
    assert is_complete(caught.value, "training_step", '"loss"', "scalar tensor", "frozen")


def test_frozen_model_has_no_loss_to_minimise() -> None:
    model = nn.Linear(3, 1).requires_grad_(False)
    with pytest.raises(TrainingError, match="not every parameter is frozen"):
        made(model=model).train_epoch(rows())


@pytest.mark.parametrize("result", [None, 0.3, {"loss": "small"}, {"loss": torch.zeros(2)}])
def test_wrong_metrics_show_the_right_form(result: Any) -> None:
    wrong = type("Wrong", (Toy,), {"compute_metrics": lambda self, outputs: result})
    with pytest.raises(TrainingError) as caught:
        made(wrong).validate_epoch(rows())
    assert is_complete(caught.value, "compute_metrics", "mapping of names to numbers")


OPTIMIZER = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize(
    ("configured", "part"),
    [
        (None, "NoneType"),
        ([], "empty"),
        ((), "empty"),
        ("adam", "str"),
        ({"optimiser": OPTIMIZER}, "dict"),
        ({"optimizer": "adam"}, "'adam'"),
        ({"optimizer": []}, "[]"),
        ({"optimizer": OPTIMIZER, "sheduler": None}, "sheduler"),
        ({"optimizer": OPTIMIZER, "interval": "batch"}, "'batch'"),
        ({"optimizer": OPTIMIZER, "clip": 1.0}, "clip 1.0"),
        ({"optimizer": OPTIMIZER, "scheduler": object()}, "scheduler that nothing would move"),
        ({"optimizer": OPTIMIZER, "scheduler": [None, None]}, "1 schedulers"),
        ([[OPTIMIZER], [None]], "NoneType"),
    ],
)
def test_wrong_configure_optimizers_shows_the_right_form(configured: Any, part: str) -> None:
    with pytest.raises(TrainingError) as caught:
        optimizer_plans(configured)
    assert is_complete(caught.value, "configure_optimizers", part)


def test_missing_methods_are_named() -> None:
    """ANO-6."""
    trainer = BaseTrainer(nn.Linear(3, 1), None, "cpu", "ckpt")
    with pytest.raises(NotImplementedError, match="must define configure_optimizers"):
        trainer.train_epoch(rows())
    with pytest.raises(NotImplementedError, match="must define validation_step"):
        trainer.validate_epoch(rows())
    only = type("Only", (BaseTrainer,), {"configure_optimizers": Toy.configure_optimizers})
    with pytest.raises(NotImplementedError, match="must define training_step"):
        made(only).train_epoch(rows())


def test_missing_monitor_names_the_metrics_there_are() -> None:
    """Defect 8: a metric that is not there must not be read as 0."""
    with pytest.raises(TrainingError) as caught:
        made(monitor="image_auroc").fit(rows(), rows(), 1)
    assert is_complete(caught.value, "'image_auroc'", "one of loss", "train.monitor")
    empty = type("Empty", (Toy,), {"compute_metrics": lambda self, outputs: {}})
    with pytest.raises(TrainingError, match="no metric at all"):
        made(empty, monitor="image_auroc").fit(rows(), rows(), 1)


def test_early_stopping_without_a_value_is_refused() -> None:
    with pytest.raises(TrainingError) as caught:
        made(early_stopping_patience=1).fit(rows(), None, 9)
    assert is_complete(caught.value, "Early stopping", "no validation", "early_stopping_patience")
    empty = type("Empty", (Toy,), {"compute_metrics": lambda self, outputs: {"accuracy": 1}})
    with pytest.raises(TrainingError, match="accuracy"):
        made(empty, early_stopping_patience=1).fit(rows(), rows(), 9)


def test_plateau_without_validation_is_refused() -> None:
    class Plateau(Toy):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            return {"optimizer": optimizer, "scheduler": ReduceLROnPlateau(optimizer)}

    with pytest.raises(TrainingError) as caught:
        made(Plateau).fit(rows(), None, 1)
    assert is_complete(caught.value, "plateau", "validation loader")


def test_empty_loaders_are_refused() -> None:
    with pytest.raises(TrainingError) as caught:
        made().fit([], None, 1)
    assert is_complete(caught.value, "training loader gave no batch", "batch size")
    with pytest.raises(TrainingError, match="validation loader gave no batch"):
        made().fit(rows(), [], 1)
    with pytest.raises(TrainingError, match="iterator that was used up"):
        made().fit(iter(rows()), None, 2)


@pytest.mark.parametrize("batch", ["text", {}, 3.0, torch.tensor(1.0), torch.zeros(0, 3), []])
def test_batch_of_unknown_size_is_refused(batch: Any) -> None:
    with pytest.raises(TrainingError) as caught:
        batch_tools.batch_size(batch)
    assert is_complete(caught.value, "how many samples", "count_samples")


def test_batch_sizes_ids_and_moves_look_inside_containers() -> None:
    batch = Rows(torch.zeros(4, 3), ["a", "b", "c", "d"])
    assert batch_tools.batch_size(batch) == 4
    assert batch_tools.batch_size({"image": batch.values, "label": 1}) == 4
    assert batch_tools.batch_size([["x"], batch.values[:2]]) == 2
    assert batch_tools.sample_ids(batch) == batch.ids
    assert batch_tools.sample_ids({"ids": [1, 2]}) == ["1", "2"]
    assert batch_tools.sample_ids(batch.values) == []
    leaf = torch.ones(1, requires_grad=True)
    moved = batch_tools.to_cpu([Rows(leaf * 2, ["a"]), (leaf * 2, "x"), {"y": leaf * 2}])
    assert not any(one.requires_grad for one in (moved[0].values, moved[1][0], moved[2]["y"]))
    assert moved[1][1] == "x"
    assert isinstance(batch_tools.to_device(batch, torch.device("cpu")), Rows)


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no device called 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(ConfigError) as caught:
        resolve_device("cuda:99")
    assert is_complete(caught.value, "'cuda:99'", "train.device=auto")


def test_progress_of_another_version_is_refused() -> None:
    state = Progress().state_dict()
    state.pop("step")
    with pytest.raises(Exception, match="does not fit this version"):
        Progress().load_state_dict(state)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"scheduler": "plateau", "warmup_epochs": 1.0}, "warmup_epochs is used only"),
        ({"amp": False, "precision": "bf16"}, "would never be used"),
        ({"early_stopping_min_delta": 0.1}, "only with early_stopping_patience"),
        ({"scheduler": "multistep"}, "needs milestones"),
        ({"gamma": 0.5}, "gamma is used only"),
        ({"warmup_epochs": 10.0}, "leaves nothing"),
    ],
)
def test_settings_that_would_not_be_used_are_refused(settings: Any, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        TrainConfig(**settings)
