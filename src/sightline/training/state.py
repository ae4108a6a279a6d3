"""The whole state of a trainer: gathering it, writing it, and putting it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sightline.errors import CheckpointError
from sightline.training.checkpoint import (
    link_checkpoint_file,
    plain,
    save_checkpoint_file,
)
from sightline.training.runtime import random_state, restore_random_state

if TYPE_CHECKING:
    from sightline.training.trainer import BaseTrainer


def training_state(trainer: BaseTrainer, metrics: dict[str, float]) -> dict[str, Any]:
    """Everything needed to go on as if nothing had happened."""
    state: dict[str, Any] = {
        "about": plain(trainer.about),
        "epoch": trainer.progress.epoch,
        "step": trainer.progress.step,
        "metrics": plain(metrics),
        "model": trainer.model.state_dict(),
        "progress": trainer.progress.state_dict(),
        "optimizers": [plain(plan.optimizer.state_dict()) for plan in trainer.optimization.plans],
        "schedulers": [
            None
            if plan.scheduler is None or plan.is_function_of_step
            else plain(plan.scheduler.state_dict())
            for plan in trainer.optimization.plans
        ],
        "scaler": trainer.scaler.state_dict(),
        "random": random_state(),
        "position": trainer.position.state_dict(),
    }
    if isinstance(trainer.loss_fn, nn.Module):
        state["loss"] = trainer.loss_fn.state_dict()
    if trainer.average is not None:
        state["average"] = trainer.average.state_dict()
    return state


def inference_state(
    trainer: BaseTrainer, metrics: dict[str, float], *, epoch: int
) -> dict[str, Any]:
    """The weights that were evaluated (the average, where there is one) and how they came about."""
    average = trainer.average
    return {
        "about": plain(trainer.about),
        "epoch": epoch,
        "step": trainer.progress.step,
        "metrics": plain(metrics),
        "model": trainer.model.state_dict() if average is None else average.state_dict(),
    }


def write_latest(trainer: BaseTrainer, metrics: dict[str, float]) -> Path:
    """Write latest_model.pth: the whole state."""
    target = trainer.checkpoint_dir / "latest_model.pth"
    save_checkpoint_file(training_state(trainer, metrics), target)
    return target


def write_epoch(
    trainer: BaseTrainer, epoch: int, metrics: dict[str, float], *, best: bool, keep: bool
) -> list[Path]:
    """Write an epoch's checkpoints and return their paths; `keep`: also as epoch_NNN.pth.

    Best comes before latest: a process killed in between repeats the epoch and writes both again.
    The other way round, latest would name a best epoch that best_model.pth does not hold.
    """
    written = []
    if best:
        written.append(trainer.checkpoint_dir / "best_model.pth")
        save_checkpoint_file(inference_state(trainer, metrics, epoch=epoch), written[-1])
    written.append(write_latest(trainer, metrics))
    if keep:
        kept = trainer.checkpoint_dir / f"epoch_{epoch:03d}.pth"
        link_checkpoint_file(written[-1], kept)
        written.append(kept)
    return written


def restore_training_state(trainer: BaseTrainer, state: dict[str, Any], source: Path) -> None:
    """Put a saved state back; a checkpoint of weights alone restores the weights alone.

    Raises CheckpointError, naming the first tensors, when the model is another one.
    """
    _load(trainer.model, state["model"], source)
    if "optimizers" not in state:
        if trainer.average is not None:
            trainer.average.load_state_dict(state["model"])
        return
    if len(state["optimizers"]) != len(trainer.optimization.plans):
        raise CheckpointError(
            "The checkpoint was made with another number of optimizers.",
            expected=len(trainer.optimization.plans),
            got=len(state["optimizers"]),
            where=source,
        )
    try:
        for plan, optimizer, scheduler in zip(
            trainer.optimization.plans, state["optimizers"], state["schedulers"], strict=True
        ):
            plan.optimizer.load_state_dict(optimizer)
            if scheduler is not None:
                plan.scheduler.load_state_dict(scheduler)
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            "The optimizer in the checkpoint does not fit this one.",
            got=error,
            where=source,
            remedy="resume with the configuration the run was started with",
        ) from error
    if state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    if isinstance(trainer.loss_fn, nn.Module) and "loss" in state:
        _load(trainer.loss_fn, state["loss"], source)
    if trainer.average is not None:
        trainer.average.load_state_dict(state.get("average", state["model"]))
    trainer.progress.load_state_dict(state["progress"])
    trainer.position.load_state_dict(state["position"])
    restore_random_state(state["random"])


def _load(module: nn.Module, tensors: dict[str, Any], source: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise CheckpointError(
            "The checkpoint belongs to another model.",
            expected=f"{len(module.state_dict())} tensors of {type(module).__name__}",
            got="; ".join(line[:160] for line in lines),
            where=source,
            remedy="use the configuration saved in the run's config.yaml",
        ) from error
