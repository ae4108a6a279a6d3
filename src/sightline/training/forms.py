"""The forms in which a trainer accepts what others write, and the errors for other forms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from sightline.errors import TrainingError


def loss_of(outputs: Any) -> torch.Tensor:
    """The loss in what training_step returned; TrainingError for anything but the right form."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
    if not isinstance(loss, torch.Tensor) or loss.ndim != 0 or not loss.requires_grad:
        raise TrainingError(
            "training_step did not return a loss that can be minimised.",
            expected='a mapping with "loss": a scalar tensor that depends on trainable parameters',
            got=f"{type(outputs).__name__} with loss {loss!r:.60}",
            remedy="return the mean loss of the batch; check that not every parameter is frozen",
        )
    return loss


def parts_of(outputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts of the loss in what training_step returned, if any; TrainingError else."""
    parts = outputs.get("parts", {})
    if not isinstance(parts, Mapping) or "loss" in parts:
        raise TrainingError(
            "training_step returned parts of the loss in a form that cannot be recorded.",
            expected='"parts": a mapping of names, other than "loss", to scalars',
            got=f"{parts!r:.80}",
        )
    return parts


def checked_metrics(metrics: Any) -> dict[str, float]:
    """What compute_metrics returned, as names and Python floats; TrainingError for other forms."""
    try:
        return {str(name): float(value) for name, value in metrics.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(
            "compute_metrics did not return metrics.",
            expected='a mapping of names to numbers, such as {"loss": 0.3, "accuracy": 0.9}',
            got=f"{metrics!r:.80}",
        ) from error


def mean_loss(outputs: list[Any], sizes: list[int] | None = None) -> dict[str, float]:
    """The mean `loss` of validation outputs, weighed by the sizes of their batches if given.

    Empty when no output holds a loss.

    >>> mean_loss([{"loss": 1.0}, {"loss": 4.0}], [2, 1])
    {'loss': 2.0}
    """
    losses = [float(one["loss"]) for one in outputs if isinstance(one, Mapping) and "loss" in one]
    weights = sizes if sizes and len(sizes) == len(losses) else [1] * len(losses)
    total = sum(loss * weight for loss, weight in zip(losses, weights, strict=True))
    return {"loss": total / sum(weights)} if losses else {}


def takes_two(step: Any) -> bool:
    """Whether a step method can be called with the batch and its index."""
    try:
        inspect.signature(step).bind(None, None)
    except TypeError:
        return False
    return True


def length_of(loader: Any) -> int | None:
    """The loader's length; None for a stream, also inside a DataLoader, which has the method."""
    try:
        return len(loader)
    except TypeError:
        return None


def empty_loader_error(kind: str) -> TrainingError:
    """The error for a loader without a batch."""
    return TrainingError(
        f"The {kind} loader gave no batch.",
        expected="at least one batch in an epoch",
        remedy="check that the data is not empty, the batch size not too large, "
        "and the loader not an iterator that was used up",
    )
