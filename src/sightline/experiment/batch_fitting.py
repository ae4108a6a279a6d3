"""`train.batch_size: auto` for a task: the real model and step, on images of noise."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sightline.config.image_size import ImageSize, size_of
from sightline.data.dataset import Dataset
from sightline.data.loading import Batch
from sightline.errors import ConfigError, TrainingError
from sightline.tasks import TASKS
from sightline.tasks.config import PictureTaskConfig, TaskConfig, of_pictures
from sightline.training.batch_size import StepMeter, resolve_batch_size
from sightline.training.runtime import process
from sightline.training.settings import DEFAULT_EFFECTIVE_BATCH
from sightline.training.trainer import BaseTrainer

GENTLE = 1e-6
"""Learning rate while measuring: weights that learn noise could become infinite."""


def settle_batch_size(
    config: TaskConfig, dataset: Dataset, device: torch.device
) -> tuple[TaskConfig, list[str]]:
    """Return the configuration with numbers for `auto`, and lines that say how they were found.

    A configuration with a number comes back as it is. What is measured is thrown away: weights,
    checkpoints and random state are as if nothing had happened. Raises ConfigError with several
    processes and as of candidates, and TrainingError when not even the smallest batch fits.
    """
    if config.train.batch_size != "auto":
        return config, []
    train = of_pictures(config).train
    if process().count > 1:
        raise ConfigError(
            "train.batch_size=auto measures one process and not several.",
            got=f"{process().count} processes",
            remedy="find the number without torchrun, then set train.batch_size=NUMBER times the "
            "processes",
        )
    effective = train.effective_batch_size or DEFAULT_EFFECTIVE_BATCH
    unit = TASKS[config.task].batch_unit(config)
    labels = dataset.part("fit").label.codes
    learnt = np.unique(labels[labels >= 0])
    with tempfile.TemporaryDirectory() as folder:
        meter = StepMeter(
            lambda group: _trainer(config, dataset, group, Path(folder)),
            lambda images: noise(images, train.img_size, learnt, unit=unit),
            effective=effective,
            device=device,
        )
        settled, found = resolve_batch_size(train, meter, unit=unit)
    lines = [str(one) for one in found]
    lines.append(
        f"train.batch_size=auto is {settled.batch_size}, train.accumulate_steps "
        f"{settled.accumulate_steps}: {effective} images behind each step"
    )
    # Not model_copy: the other sections have a say in the batch.
    return type(config).model_validate({**dict(config), "train": settled}), lines


@contextlib.contextmanager
def memory_errors_explained(config: TaskConfig) -> Iterator[None]:
    """Say what to set when training in the block runs out of the accelerator's memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        size = ""
        if isinstance(config, PictureTaskConfig):
            size = f"train.img_size={size_of(config.train.img_size).setting} "
        raise TrainingError(
            "The accelerator has not enough memory for this step.",
            got=str(error).splitlines()[0],
            where=f"train.batch_size={config.train.batch_size} {size}"
            f"model.name={config.model.name}",
            remedy="halve train.batch_size and double train.accumulate_steps",
        ) from error


def noise(images: int, size: ImageSize, classes: npt.ArrayLike, *, unit: int = 1) -> Batch:
    """Return a batch of random images, in the layout of a loader's batches.

    Its labels are the classes (C,) in turn, each for `unit` images.
    """
    random = torch.Generator().manual_seed(0)
    shape = (images, *size_of(size), 3)
    numbers = np.asarray(classes, np.int64)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
    return Batch(
        images=pixels.permute(0, 3, 1, 2),
        labels=torch.from_numpy(np.resize(np.repeat(numbers, unit), images)),
        ids=[f"noise {number}" for number in range(images)],
        colour=torch.eye(3, 4).expand(images, 3, 4).contiguous(),
    )


def _trainer(config: TaskConfig, dataset: Dataset, group: int, folder: Path) -> BaseTrainer:
    """The task's trainer over a new model, for steps of so many batches."""
    task: Any = TASKS[config.task]
    measured = {"lr": GENTLE, "accumulate_steps": group}
    config = config.model_copy(update={"train": config.train.model_copy(update=measured)})
    trainer: BaseTrainer = task.create_trainer(
        config,
        # With trained weights to come none are read: noise needs none.
        task.create_model(config, dataset.class_names, trained=True),
        dataset=dataset,
        steps_per_epoch=1,
        checkpoint_dir=folder,
        callbacks=(),
    )
    return trainer
