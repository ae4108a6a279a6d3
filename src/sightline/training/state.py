"""The whole state of a trainer: gathering it, writing it, and putting it back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sightline.errors import CheckpointError
from sightline.training.checkpoint import link_checkpoint_file, save_checkpoint_file
from sightline.training.distributed import only_first_process
from sightline.training.runtime import (
    gather_from_processes,
    process,
    random_state,
    restore_random_state,
)

if TYPE_CHECKING:
    from sightline.training.optimization import OptimizerPlan
    from sightline.training.trainer import BaseTrainer

LATEST = "latest_model.pth"


def training_state(trainer: BaseTrainer) -> dict[str, Any]:
    """Everything needed to go on as if nothing had happened; every process must ask at once."""
    state: dict[str, Any] = {
        "about": trainer.about,
        "epoch": trainer.progress.epoch,
        "step": trainer.progress.step,
        "metrics": trainer.metrics,
        "history": trainer.history,
        "model": trainer.model.state_dict(),
        "progress": trainer.progress.state_dict(),
        "optimizers": [plan.optimizer.state_dict() for plan in trainer.optimization.plans],
        "schedulers": [
            None
            if plan.scheduler is None or plan.is_function_of_step
            else plan.scheduler.state_dict()
            for plan in trainer.optimization.plans
        ],
        "scaler": trainer.scaler.state_dict(),
        "processes": gather_from_processes(_own_state(trainer)),
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
        "about": trainer.about,
        "epoch": epoch,
        "step": trainer.progress.step,
        "metrics": metrics,
        "model": trainer.model.state_dict() if average is None else average.state_dict(),
    }


def write_latest(trainer: BaseTrainer) -> list[Path]:
    """Write latest_model.pth, the whole state, and return its path (only in the first process)."""
    target, state = trainer.checkpoint_dir / LATEST, training_state(trainer)
    return only_first_process(lambda: [_written(state, target)])


def write_last(trainer: BaseTrainer, *, keep: bool) -> list[Path]:
    """Write latest_model.pth again, with `keep` also as epoch_NNN.pth, for a finished epoch."""
    folder, state = trainer.checkpoint_dir, training_state(trainer)
    kept = folder / f"epoch_{trainer.progress.epoch:03d}.pth"

    def write() -> list[Path]:
        written = [_written(state, folder / LATEST)]
        if keep:
            link_checkpoint_file(written[0], kept)
            written.append(kept)
        return written

    return only_first_process(write)


def write_epoch(
    trainer: BaseTrainer, epoch: int, metrics: dict[str, float], *, best: bool, keep: bool
) -> list[Path]:
    """Write an epoch's checkpoints and return their paths; `keep`: also as epoch_NNN.pth.

    Best comes before latest: a process killed in between repeats the epoch and writes both again.
    The other way round, latest would name a best epoch that best_model.pth does not hold.
    """
    folder, state = trainer.checkpoint_dir, training_state(trainer)

    def write() -> list[Path]:
        written = []
        if best:
            weights = inference_state(trainer, metrics, epoch=epoch)
            written.append(_written(weights, folder / "best_model.pth"))
        written.append(_written(state, folder / LATEST))
        if keep:
            written.append(folder / f"epoch_{epoch:03d}.pth")
            link_checkpoint_file(folder / LATEST, written[-1])
        return written

    return only_first_process(write)


def restore_training_state(trainer: BaseTrainer, state: dict[str, Any], source: Path) -> None:
    """Put a saved state back; a checkpoint of weights alone restores the weights alone.

    Raises CheckpointError, naming the first tensors, when the model is another one.
    """
    plans = trainer.optimization.plans
    if "optimizers" in state and len(state["optimizers"]) != len(plans):
        raise CheckpointError(
            "The checkpoint was made with another number of optimizers.",
            expected=len(plans),
            got=len(state["optimizers"]),
            where=source,
            remedy="resume with the configuration the run was started with",
        )
    _load(trainer.model, state["model"], source)
    if trainer.average is not None:
        trainer.average.load_state_dict(state.get("average", state["model"]))
    if "optimizers" not in state:
        return
    if isinstance(trainer.loss_fn, nn.Module) and "loss" in state:
        _load(trainer.loss_fn, state["loss"], source)
    _load_optimizers(plans, state, source)
    if state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.progress.load_state_dict(state["progress"])
    trainer.metrics, trainer.history = state["metrics"], state["history"]
    _restore_own_state(trainer, state["processes"])


def _own_state(trainer: BaseTrainer) -> dict[str, Any]:
    """What differs between the processes of a run."""
    progress = trainer.progress
    return {
        "random": random_state(),
        "position": trainer.position.state_dict(),
        "loss_sum": progress.loss_sum,
        "samples": progress.samples,
        "part_sums": progress.part_sums,
    }


def _restore_own_state(trainer: BaseTrainer, states: list[dict[str, Any]]) -> None:
    """Put back what this process had; with another number of processes, as much as has a meaning.

    The sums over the epoch then go to the first process, and the others draw their random numbers
    as they were seeded.
    """
    here = process()
    alike = here.count == len(states)
    own = states[here.rank] if here.rank < len(states) else None
    if own is not None:
        trainer.position.load_state_dict(own["position"])
        restore_random_state(own["random"])
    kept = [own] if alike and own else states if here.is_first else []
    progress = trainer.progress
    progress.loss_sum = sum(one["loss_sum"] for one in kept)
    progress.samples = sum(one["samples"] for one in kept)
    progress.part_sums = {}
    for one in kept:
        for name, value in one["part_sums"].items():
            progress.part_sums[name] = progress.part_sums.get(name, 0.0) + value


def _written(state: dict[str, Any], target: Path) -> Path:
    save_checkpoint_file(state, target)
    return target


def _load_optimizers(plans: Sequence[OptimizerPlan], state: dict[str, Any], source: Path) -> None:
    try:
        for plan, optimizer, scheduler in zip(
            plans, state["optimizers"], state["schedulers"], strict=True
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
