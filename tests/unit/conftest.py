"""Tiny trained runs: three digits, a small network, a second or two each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

CLASSES = ("0_zero", "1_one", "7_seven")
PER_CLASS = 24
TINY = (
    *("model.name=test_resnet", "train.epochs=1", "train.warmup_epochs=0", "train.batch_size=16"),
    *("train.device=cpu", "data.workers=0", "eval.bootstrap=100"),
)


@pytest.fixture(scope="session")
def digit_folder(write_some_digits: Callable[[Sequence[str], int], Path]) -> Path:
    """A folder with 24 pictures of each of three digits; to be read only."""
    return write_some_digits(CLASSES, PER_CLASS)


@pytest.fixture(scope="session")
def train_tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """A function that trains with the settings and returns the run's folder, once per settings."""
    from sightline.config import load_config
    from sightline.experiment import train
    from sightline.tasks.config import TaskConfig
    from sightline.trained import TASK_CONFIGS

    base = tmp_path_factory.mktemp("tiny")
    made: dict[tuple[str, ...], Path] = {}
    saved = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(base / "cache")

    def trained(*settings: str) -> Path:
        if settings not in made:
            places = (f"output.exp_dir={base / 'runs'}", f"output.logs_dir={base / 'logs'}")
            config = load_config("classify/digits", [*TINY, *places, *settings], tasks=TASK_CONFIGS)
            assert isinstance(config, TaskConfig)
            made[settings] = train(config, command=["sightline", "train"]).path
        return made[settings]

    yield trained
    os.environ.pop("XDG_CACHE_HOME") if saved is None else os.environ.update(XDG_CACHE_HOME=saved)
