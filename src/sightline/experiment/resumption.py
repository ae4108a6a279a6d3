"""Going on from a checkpoint, with the rates of the configuration that is in force now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.training.trainer import BaseTrainer

Options = list[list[dict[str, Any]]]
"""The settings of each parameter group of each optimizer, without the parameters."""


def resume_training(trainer: BaseTrainer, checkpoint: Path, train: Mapping[str, Any]) -> Any:
    """Restore a checkpoint and return what load_checkpoint does; `train` is the section in force.

    A checkpoint brings its optimizer's settings along. Those that the section sets and that were
    changed on purpose (lr, layer_decay, weight_decay, momentum) are put in force again; every
    other one stays as saved, since a scheduler may have moved it.
    """
    trainer.prepare()
    configured = _options(trainer)
    at = trainer.load_checkpoint(checkpoint)
    saved = at["about"].get("config", {}).get("train", train)
    changed = {key for key in train if saved.get(key, train[key]) != train[key]}
    for optimizer, fresh in zip(trainer.optimization.optimizers, configured, strict=True):
        for group, options in zip(optimizer.param_groups, fresh, strict=True):
            if changed & {"lr", "layer_decay"}:
                # In proportion: a plateau may have lowered the rate, and that progress stays.
                group["lr"] *= options["initial_lr"] / group["initial_lr"]
                group["initial_lr"] = options["initial_lr"]
            for key in ("weight_decay", "momentum"):
                if key in changed and key in options:
                    group[key] = options[key]
    return at


def _options(trainer: BaseTrainer) -> Options:
    return [
        [{key: value for key, value in group.items() if key != "params"} for group in groups]
        for groups in (optimizer.param_groups for optimizer in trainer.optimization.optimizers)
    ]
