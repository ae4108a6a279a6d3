"""The value that chooses the best epoch, which direction is better, and when waiting is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.errors import TrainingError
from sightline.training.progress import Progress, is_improvement
from sightline.training.settings import StepConfig


def higher_is_better(config: StepConfig) -> bool:
    """Whether a larger monitored value is better; the default, the loss, is the other way."""
    return config.monitor is not None and config.mode == "max"


def monitored_value(
    config: StepConfig, metrics: Mapping[str, float], *, validated: bool = True
) -> float | None:
    """The value of `monitor`, or of the validation loss; None where there is no such value.

    Raises TrainingError when `monitor` names a metric that compute_metrics did not return, and
    when early stopping has no value to go by.
    """
    name = config.monitor
    if validated and name is not None and name not in metrics:
        raise TrainingError(
            f"There is no validation metric called {name!r}.",
            expected="one of " + (", ".join(sorted(metrics)) or "those compute_metrics returns"),
            got=None if metrics else "no metric at all",
            where="train.monitor",
            remedy="name a metric that compute_metrics returns, or return this one there",
        )
    value = metrics.get(name or "loss") if validated else None
    if value is None and config.early_stopping_patience is not None:
        raise TrainingError(
            "Early stopping has no value to go by.",
            expected=f"a validation metric called {name or 'loss'!r} after every epoch",
            got=", ".join(sorted(metrics)) or ("no metric" if validated else "no validation"),
            where="train.early_stopping_patience",
            remedy="give fit a validation loader and return the metric from compute_metrics, "
            "or set train.early_stopping_patience=null",
        )
    return None if value is None else float(value)


def is_best(config: StepConfig, progress: Progress, metrics: Mapping[str, float]) -> bool:
    """Whether these metrics beat the best so far; without any value, the last epoch is best."""
    value = metrics.get(config.monitor or "loss")
    if value is None:
        return True
    return is_improvement(float(value), progress.best_value, higher=higher_is_better(config))


def why_patience_is_over(config: StepConfig, progress: Progress) -> str | None:
    """Why early stopping ends training now, or None."""
    waited = progress.epochs_without_improvement
    if config.early_stopping_patience is None or waited < config.early_stopping_patience:
        return None
    return f"no improvement of {config.monitor or 'loss'} for {waited} epochs"


def epoch_row(
    progress: Progress, metrics: Mapping[str, float], *, validated: bool, **others: Any
) -> dict[str, Any]:
    """What metrics.jsonl says of an epoch; `others` come after the metrics."""
    return {
        "epoch": progress.epoch,
        "step": progress.step,
        "split": "val" if validated else None,
        "train_loss": others.pop("train_loss", None),
        "valid_loss": metrics.get("loss"),
        **{name: value for name, value in metrics.items() if name != "loss"},
        **others,
    }
