"""`train.batch_size: auto`: the batch that trains fastest among those that fit, by measurement.

Images behind one optimizer step stay what they were asked to be: a batch holds a divisor of them,
and gradients of several batches are added up.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sightline.errors import ConfigError, TrainingError
from sightline.training.memory import is_out_of_memory
from sightline.training.memory_gauge import Gauge
from sightline.training.runtime import random_state, restore_random_state
from sightline.training.settings import DEFAULT_EFFECTIVE_BATCH, PictureTrainConfig
from sightline.training.trainer import BaseTrainer

AS_FAST = 0.97
"""Within 3 % of the fastest counts as equally fast, and the larger batch is taken."""
SLOW_STEP = 1.0
"""A step that takes longer than this many seconds is timed once."""
TIMED_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came of training steps with batches of `images`; `why` says why they do not fit."""

    images: int
    fits: bool
    images_per_s: float = math.nan
    memory_mib: float = math.nan
    why: str = ""

    def __str__(self) -> str:
        """Return the row of the table that the log shows."""
        if not self.fits:
            return f"batch {self.images:>5}  does not fit: {self.why}"
        return (
            f"batch {self.images:>5}  {self.images_per_s:9.1f} images/s  {self.memory_mib:8.0f} MiB"
        )


def candidates(effective: int, unit: int = 1) -> list[int]:
    """Return the batches that divide the images of a step and are made of two units or more.

    Ascending. A unit is so many images of one class, which are only compared beside another's;
    with units of one image, BatchNorm needs two, and a step of one image is its own batch. Raises
    ConfigError where no batch of such units divides the step.

    >>> candidates(12)
    [2, 3, 4, 6, 12]
    >>> candidates(24, unit=4)
    [8, 12, 24]
    """
    found = [one for one in range(2 * unit, effective + 1, unit) if effective % one == 0]
    if found or unit == 1:
        return found or [1]
    raise ConfigError(
        f"A step of {effective} images cannot be made of batches with {unit} images of each class.",
        expected=f"a multiple of {unit}, at least {2 * unit}",
        got=f"train.effective_batch_size={effective}",
        remedy=f"set train.effective_batch_size={max(2, round(effective / unit)) * unit}",
    )


def resolve_batch_size(
    train: PictureTrainConfig, measure: Callable[[int], Measurement], *, unit: int = 1
) -> tuple[PictureTrainConfig, list[Measurement]]:
    """Return the section with numbers instead of `auto`, and every measurement behind them.

    `measure` gets batch sizes, whole `unit`s, in ascending order until one does not fit. A section
    that names a number comes back as it is. Raises TrainingError when not even the smallest fits,
    and ConfigError as of candidates.
    """
    if train.batch_size != "auto":
        return train, []
    effective = train.effective_batch_size or DEFAULT_EFFECTIVE_BATCH
    found: list[Measurement] = []
    for images in candidates(effective, unit):
        found.append(measure(images))
        if not found[-1].fits:
            break
    chosen = fastest(found)
    settled = {
        "batch_size": chosen.images,
        "accumulate_steps": effective // chosen.images,
        "effective_batch_size": None,
    }
    # Not model_copy: what is saved must load again.
    return type(train).model_validate({**dict(train), **settled}), found


def fastest(measurements: Sequence[Measurement]) -> Measurement:
    """Return the largest of the batches that are about as fast as the fastest that fits."""
    fitting = [one for one in measurements if one.fits]
    if not fitting:
        smallest = measurements[0]
        raise TrainingError(
            f"Not even a batch of {smallest.images} images fits into memory.",
            got=smallest.why,
            remedy="choose a smaller train.img_size or model.name, or freeze a part of it",
        )
    best = max(one.images_per_s for one in fitting)
    return max(
        (one for one in fitting if one.images_per_s >= AS_FAST * best), key=lambda one: one.images
    )


class StepMeter:
    """Measures steps of a trainer made for the purpose and thrown away after.

    `make_trainer` gets the batches behind a step and returns a new trainer with a model of its
    own; `make_batch` gets the number of images. The global random state is left as it was.
    """

    def __init__(
        self,
        make_trainer: Callable[[int], BaseTrainer],
        make_batch: Callable[[int], Any],
        *,
        effective: int,
        device: torch.device,
    ) -> None:
        self._make_trainer = make_trainer
        self._make_batch = make_batch
        self._effective = effective
        self._device = device
        self._gauge = Gauge(device)
        self._grown: list[tuple[int, float]] = []

    def __call__(self, images: int) -> Measurement:
        """Train a few steps with batches of so many images."""
        expected = self._expected_growth(images)
        if expected > self._gauge.limit:
            # A CPU does not refuse memory: the system would end the process instead.
            return Measurement(images, False, why=self._too_much("it would need about", expected))
        before = random_state()
        why, speed = "", math.nan
        try:
            speed = self._images_per_second(images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            why = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        finally:
            restore_random_state(before)
        grown = self._gauge.growth()
        # Only now that the error is gone do the tensors that its frames held go.
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if not why and grown > self._gauge.limit:
            why = self._too_much("it took", grown)
        self._grown.append((images, grown))
        return Measurement(images, not why, math.nan if why else speed, grown / 2**20, why)

    def _images_per_second(self, images: int) -> float:
        # With accumulation the gradients are there during the next forward pass: two batches show
        # the memory and, per image, the time of any number.
        group = min(2, self._effective // images)
        trainer = self._make_trainer(group)
        step = [self._make_batch(images)] * group
        seconds = min(self._seconds(trainer, step) for _ in range(2))
        if seconds <= SLOW_STEP:
            steps = max(3, min(30, round(TIMED_SECONDS / seconds)))
            seconds = min(self._seconds(trainer, step * steps) / steps for _ in range(2))
        return images * group / seconds

    def _seconds(self, trainer: BaseTrainer, batches: list[Any]) -> float:
        self._gauge.wait()
        began = time.perf_counter()
        trainer.train_epoch(batches)
        self._gauge.wait()
        return time.perf_counter() - began

    def _expected_growth(self, images: int) -> float:
        """Bytes for so many images, on the line through the last two sizes; 0 on a GPU."""
        if self._device.type == "cuda" or not self._grown:
            return 0.0
        size, grown = self._grown[-1]
        if len(self._grown) == 1:
            return grown * images / size
        earlier, less = self._grown[-2]
        slope = max(0.0, (grown - less) / (size - earlier))
        return grown + slope * (images - size)

    def _too_much(self, what: str, need: float) -> str:
        return f"{what} {need / 2**20:.0f} MiB, and {self._gauge.limit / 2**20:.0f} MiB are free"
