"""The first steps of each task's training give the losses they gave before.

A change of these numbers is a change of meaning and a commit of its own. To write them anew:
    RENEW_GOLDEN=1 python -m pytest tests/golden
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sightline.config import load_config
from sightline.experiment import train
from sightline.tasks import TASKS
from sightline.tasks.config import TaskConfig

STEPS = 20
TOLERANCE = 2e-3
"""Relative. Kernels of other processors round differently, and training makes more of it: with the
instructions of SSE4, AVX2 and AVX-512 up to 8e-4 at this rate, and 0.1 at ten times the rate."""
CURVES = {
    "classify_digits": (
        "classify/digits",
        ["data.digits=digits", "train.epochs=2", "train.lr=3e-4"],
    ),
    "anomaly_digits": (
        "anomaly/stfpm",
        [
            *("data.digits=digits", "model.name=resnet10t", "model.pretrained=false"),
            *("train.epochs=7", "train.img_size=32", "train.lr=0.01"),
        ],
    ),
    "compress_digits": (
        "compress/digits",
        ["data.digits=digits", "train.epochs=5", "train.lr=1e-3", "train.warmup_epochs=0"],
    ),
    "reid_digits": (
        "reid/digits",
        ["data.digits=digits", "train.epochs=3", "train.lr=3e-4"],
    ),
    "retrieve_digits": (
        "retrieve/digits",
        ["data.digits=digits", "train.epochs=1", "train.lr=3e-4"],
    ),
}
"""File -> recipe and overrides; every task has one."""


def losses_of(recipe: str, overrides: list[str]) -> list[float]:
    """The loss of each of the first steps, as the run's log tells it."""
    settings = [
        *overrides,
        "train.device=cpu",
        "train.log_interval=1",
        "output.exp_dir=experiments",
        "output.logs_dir=logs",
    ]
    if not recipe.startswith("compress"):
        settings.append("data.workers=0")
    config = load_config(
        recipe, settings, tasks={name: task.config for name, task in TASKS.items()}
    )
    assert isinstance(config, TaskConfig)
    run = train(config, command=["pytest"])
    text = Path(run.info["log"]).read_text(encoding="utf-8")
    found = dict(re.findall(r"step=(\d+) loss=([\d.]+)", text))
    return [float(found[str(step)]) for step in range(1, STEPS + 1)]


@pytest.mark.parametrize("name", CURVES)
def test_first_steps_give_the_golden_losses(name: str) -> None:
    file = Path(__file__).with_name(f"{name}.txt")
    losses = losses_of(*CURVES[name])
    if os.environ.get("RENEW_GOLDEN"):
        file.write_text("".join(f"{loss:.5g}\n" for loss in losses))
    golden = [float(line) for line in file.read_text().split()]
    assert losses == pytest.approx(golden, rel=TOLERANCE)
    assert losses[-1] < losses[0]


def test_every_task_has_a_golden_curve() -> None:
    assert {recipe.split("/")[0] for recipe, _ in CURVES.values()} == set(TASKS)
