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


def monitored_value(config: StepConfig, metrics: Mapping[str, float] | None) -> float | None:
    """The value of `monitor`, or of the validation loss; None where there is no such value.

    `metrics` is None where there was no validation. Raises TrainingError when `monitor` names a
    metric that compute_metrics did not return, and when early stopping has no value to go by.
    """
    name = config.monitor
    if metrics is not None and name is not None and name not in metrics:
        raise TrainingError(
            f"There is no validation metric called {name!r}.",
            expected="one of " + (", ".join(sorted(metrics)) or "those compute_metrics returns"),
            got=None if metrics else "no metric at all",
            where="train.monitor",
            remedy="name a metric that compute_metrics returns, or return this one there",
        )
    value = None if metrics is None else metrics.get(name or "loss")
    if value is None and config.early_stopping_patience is not None:
        raise TrainingError(
            "Early stopping has no value to go by.",
            expected=f"a validation metric called {name or 'loss'!r} after every epoch",
            got="no validation" if metrics is None else ", ".join(metrics) or "no metric",
            where="train.early_stopping_patience",
            remedy="give fit a validation loader and return the metric from compute_metrics, "
            "or set train.early_stopping_patience=null",
        )
    return None if value is None else float(value)


def judge(
    config: StepConfig, progress: Progress, metrics: Mapping[str, float] | None
) -> float | None:
    """The monitored value of a finished epoch, after early stopping's counter has seen it."""
    value = monitored_value(config, metrics)
    progress.count_improvement(
        value, higher=higher_is_better(config), min_delta=config.early_stopping_min_delta
    )
    return value


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
    progress: Progress, metrics: Mapping[str, float] | None, **others: Any
) -> dict[str, Any]:
    """What metrics.jsonl says of an epoch: losses (train_), metrics, then what else there is."""
    scores = dict(metrics or {})
    losses = {name: value for name, value in others.items() if name.startswith("train_")}
    return {
        "epoch": progress.epoch,
        "step": progress.step,
        "split": None if metrics is None else "val",
        "train_loss": None,
        **losses,
        "valid_loss": scores.pop("loss", None),
        **scores,
        **{name: value for name, value in others.items() if name not in losses},
    }
