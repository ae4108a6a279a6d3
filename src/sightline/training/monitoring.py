"""The value that chooses the best epoch, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping

from sightline.errors import TrainingError
from sightline.training.settings import StepConfig


def higher_is_better(config: StepConfig) -> bool:
    """Whether a larger monitored value is better; the default, the loss, is the other way."""
    return config.monitor is not None and config.mode == "max"


def monitored_value(config: StepConfig, metrics: Mapping[str, float]) -> float | None:
    """The value of `monitor`, or of the validation loss; None when there was no validation.

    Raises TrainingError when `monitor` names a metric that compute_metrics did not return.
    """
    name = config.monitor
    if name is None or not metrics:
        return metrics.get("loss")
    if name not in metrics:
        raise TrainingError(
            f"There is no validation metric called {name!r}.",
            expected="one of " + ", ".join(sorted(metrics)),
            where="train.monitor",
            remedy="name one of those in train.monitor",
        )
    return float(metrics[name])
