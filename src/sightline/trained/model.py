"""A run's trained model, ready to be applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sightline.config import load_config
from sightline.errors import CheckpointError, UsageError
from sightline.runs import RunFolder, displayed_status
from sightline.tasks import TASKS
from sightline.tasks.config import PictureTaskConfig, TaskConfig
from sightline.tasks.task import Task
from sightline.training.checkpoint import load_checkpoint_file
from sightline.training.evaluator import collect_outputs
from sightline.training.runtime import (
    Precision,
    keep_freed_memory,
    resolve_device,
    resolve_precision,
)

TASK_CONFIGS = {name: task.config for name, task in TASKS.items()}
"""Configuration class of every task, as load_config wants it."""


@dataclass(frozen=True)
class TrainedModel:
    """The model of one checkpoint with what is needed to use it."""

    config: TaskConfig
    task: Task
    model: nn.Module
    class_names: tuple[str, ...]
    device: torch.device
    precision: Precision
    checkpoint: str
    epoch: int

    def outputs(
        self, loader: Iterable[Any], progress: Callable[[int], None] | None = None
    ) -> list[dict[str, Any]]:
        """What the task's forward pass returns for every batch."""
        return collect_outputs(
            self.model,
            loader,
            lambda batch: self.task.forward(self.model, batch),
            device=self.device,
            precision=self.precision,
            progress=progress,
        )


def run_config(run: RunFolder) -> TaskConfig:
    """The configuration a run was trained with."""
    config = load_config(str(run.config_file), tasks=TASK_CONFIGS)
    assert isinstance(config, TaskConfig)
    return config


def require_answers(run: RunFolder, kind: str, what: str) -> None:
    """Raise UsageError where a run's task does not answer with what `what` is made for."""
    task = run_config(run).task
    if TASKS[task].answers == kind:
        return
    others = " or ".join(name for name, one in TASKS.items() if one.answers == kind)
    raise UsageError(
        f"{what[0].upper()}{what[1:]} is for runs that answer with {kind} ({others}).",
        got=f"a run of task {task}, which answers with {TASKS[task].answers}",
        where=run.path,
        remedy="see `sightline list` for other runs",
    )


def best_checkpoints(run: RunFolder) -> list[str]:
    """The checkpoint that training chose, or one for each fold; all of them are there.

    Raises CheckpointError that names those that are missing.
    """
    config = run_config(run)
    names = ["best_model.pth"]
    if config.data.trains_every_fold:
        names = [f"best_fold{fold}.pth" for fold in range(config.data.fold_count)]
    missing = [name for name in names if not (run.ckpt / name).is_file()]
    if missing:
        raise _not_there(run, *missing)
    return names


def load_trained(run: RunFolder, checkpoint: str, *, device: str = "auto") -> TrainedModel:
    """The model of a run's checkpoint; raises CheckpointError when there is none yet."""
    config = run_config(run)
    source = run.ckpt / checkpoint
    if not source.is_file():
        raise _not_there(run, checkpoint)
    state = load_checkpoint_file(source)
    class_names = tuple(state["about"]["class_names"])
    task, place = TASKS[config.task], resolve_device(device)
    keep_freed_memory(place)
    model = task.create_model(config, class_names, trained=True)
    try:
        model.load_state_dict(state.get("average", state["model"]))
    except RuntimeError as error:
        raise CheckpointError(
            "The checkpoint does not fit the run's configuration.",
            got=str(error).splitlines()[1].strip(),
            where=source,
            remedy="was config.yaml in the run folder edited? put it back as it was",
        ) from error
    model.to(place)
    if isinstance(config, PictureTaskConfig) and config.train.channels_last:
        model.to(memory_format=torch.channels_last)
    precision = resolve_precision(config.train.precision, place, amp=config.train.amp)
    return TrainedModel(
        config, task, model, class_names, place, precision, checkpoint, int(state["epoch"])
    )


def _not_there(run: RunFolder, *missing: str) -> CheckpointError:
    """What to do about checkpoints that a run does not have, or not yet."""
    others = sorted(path.name for path in run.ckpt.glob("*.pth"))
    status = displayed_status(run.info)
    if run.info.get("codec"):
        remedy = f"it is a search, and its codec, with model.onnx, is in {run.info['codec']}: "
        remedy += f"sightline predict {run.id} VECTORS --out FILE.npy"
    elif status not in ("finished", "running"):
        remedy = f"train it to its end: sightline train --resume {run.id}"
    elif others:
        remedy = f"name one of these: --checkpoint {others[0]}"
    else:
        remedy = "wait for the end of its first epoch"
    return CheckpointError(
        f"The run has no checkpoint {' or '.join(missing)}.",
        expected="one of " + ", ".join(others) if others else "a run with a finished epoch",
        got=f"a run that is {status}" + ("" if others else ", without any checkpoint"),
        where=run.ckpt,
        remedy=remedy,
    )
