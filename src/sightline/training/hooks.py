"""The trainer's hooks, what observers learn of a step, and the check of hooks' names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple


class StepInfo(NamedTuple):
    """What observers learn after each optimizer step."""

    epoch: int
    """Number of the epoch, from 1."""
    epochs: int | None
    step: int
    """Optimizer steps made since training began."""
    batch: int
    """Batches of this epoch used so far."""
    batches: int | None
    """Batches in the epoch, None where the loader has no length."""
    samples: int
    """Samples of this epoch used so far."""
    loss: float
    """Loss of this step, a mean over its samples."""
    lr: float
    """Learning rate of the first parameter group in this step."""


class Stop(NamedTuple):
    """An observer's answer that asks the trainer to stop after this step."""

    reason: str


def refuse_unknown_hooks(cls: type, known: Iterable[str]) -> None:
    """Raise TypeError when a class defines an on_* method that nothing would ever call."""
    names = tuple(known)
    for name in dir(cls):
        if name.startswith("on_") and name not in names and callable(getattr(cls, name)):
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise TypeError(
                f"{cls.__name__}.{name} would never be called: there is no such hook. "
                f"Did you mean {near}? The hooks are {', '.join(names)}."
            )


class TrainerHooks:
    """The hooks a trainer may override; they run inside the loop and may change training.

    A hook that raises StopIteration ends training cleanly: the epoch is validated, its checkpoint
    is written and on_fit_end runs. An epoch without a step yet does not count.
    """

    def on_fit_start(self) -> None:
        """Called once before the first epoch."""

    def on_fit_end(self) -> None:
        """Called once after the last epoch, also when training was stopped early."""

    def on_train_epoch_start(self, epoch: int) -> None:
        """Called before the first batch of an epoch; epochs count from 1."""

    def on_train_epoch_end(self, epoch: int, train_loss: float) -> None:
        """Called after the last batch; the loss is the mean over the epoch's samples."""

    def on_train_batch_start(self, batch: Any, idx: int) -> None:
        """Called with the batch on the device, before the forward pass; idx counts from 0."""

    def on_train_batch_end(self, batch: Any, idx: int, outputs: Any, loss: Any) -> None:
        """Called after the batch; the last batch of an accumulation group comes after the step."""

    def on_before_optimizer_step(self, step: int) -> None:
        """Called with final, finite, clipped gradients; step is the number about to be made."""

    def on_validation_epoch_start(self, epoch: int) -> None:
        """Called before the first validation batch."""

    def on_validation_epoch_end(self, epoch: int, val_metrics: dict[str, float]) -> None:
        """Called with what compute_metrics returned."""

    def on_validation_batch_start(self, batch: Any, idx: int) -> None:
        """Called with the batch on the device, before validation_step."""

    def on_validation_batch_end(self, batch: Any, idx: int, outputs: Any) -> None:
        """Called with what validation_step returned."""

    def on_exception(self, error: BaseException) -> None:
        """Called when training ends through an error or a signal, before it is raised again."""


TRAINER_HOOKS = tuple(name for name in vars(TrainerHooks) if name.startswith("on_"))
"""Every hook of a trainer, in the order of their definition."""


def overridden_hooks(trainer: TrainerHooks) -> frozenset[str]:
    """The hooks that a trainer's class, or the trainer itself, defines."""
    return frozenset(
        name
        for name in TRAINER_HOOKS
        if getattr(type(trainer), name) is not getattr(TrainerHooks, name) or name in vars(trainer)
    )
