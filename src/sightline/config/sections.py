"""The sections every task shares and no other part of the package owns."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sightline.config.section import Section


class ProjectConfig(Section):
    """What the run is called and which random numbers it draws."""

    name: str = Field(default="run", min_length=1, max_length=80)
    """First part of the run id: letters, digits, dot, underscore and dash."""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of everything random: split, order, augmentation, initial weights."""

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, name: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            return name
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-") or "run"
        raise ValueError(
            "expected letters, digits, dot, underscore and dash, the first a letter or digit, "
            f'got text "{name}"; for example {slug}'
        )


class EvalConfig(Section):
    """How a split is judged."""

    bootstrap: int = Field(default=1000, ge=100)
    """Resamples behind each confidence interval; fewer would give its ends by chance."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Probability that the interval covers the true value."""
    batch_size: int | None = Field(default=None, ge=1)
    """Images in one evaluation batch; null: as in training."""


class InferConfig(Section):
    """How a trained classifier is applied, by `evaluate` and `predict` alike."""

    tta: Literal["none", "flip", "essential", "comprehensive"] = "none"
    """Views of each picture whose probabilities are averaged: 1, 2, 5 or 15."""
    use_calibration: bool = True
    """Use the run's calibration where it has one (see `sightline calibrate`)."""
    accept_accuracy: float | None = Field(default=None, gt=0, lt=1)
    """Abstain below the confidence above which validation shows this accuracy; null: never."""


class TrackingConfig(Section):
    """Trackers that a run is sent to; metrics.jsonl is written in any case, and is the record."""

    to: tuple[Literal["wandb", "tensorboard", "mlflow"], ...] = ()
    """Trackers, each fed by a process of its own from metrics.jsonl; none unless named."""
    project: str | None = None
    """Project of W&B, experiment of MLflow; null: what their variables say, else sightline."""
    entity: str | None = None
    """User or team of W&B; null: the key's own."""
    name: str | None = None
    """What the tracker calls the run; null: the run id."""
    tags: tuple[str, ...] = ()
    """Tags of the run at the tracker."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """W&B: auto is online with a key and a server that answers, else offline; WANDB_MODE wins."""
    uri: str | None = None
    """Server or database of MLflow; null: MLFLOW_TRACKING_URI, else mlflow.db beside the runs."""
    images: int = Field(default=8, ge=0, le=100)
    """Sample pictures sent with each evaluation of a split; 0: none."""
    artifact: bool = True
    """Send the best checkpoint, once, when the run is finished."""
    finish_timeout: float = Field(default=30.0, gt=0)
    """Seconds that the end of a training waits for a tracker; what is left can be sent later."""

    @property
    def is_on(self) -> bool:
        """Whether a training is followed by any tracker."""
        return bool(self.to) and self.mode != "disabled"

    @model_validator(mode="before")
    @classmethod
    def _older_and_shorter_forms(cls, value: Any) -> Any:
        # Runs of before this was a section say `tracking: [jsonl]`.
        if isinstance(value, list):
            value = {"to": [name for name in value if name != "jsonl"]}
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("to"), str):
            value = {**value, "to": (value["to"],)}
        # Behind a validator nothing is JSON any more, in which a tuple may be written as a list.
        return {key: tuple(one) if isinstance(one, list) else one for key, one in value.items()}

    @field_validator("uri")
    @classmethod
    def _uri_holds_no_password(cls, uri: str | None) -> str | None:
        if uri is not None and re.search(r"//[^/@]*:[^/@]+@", uri):
            raise ValueError(
                "expected an address without a password, since this file is kept; "
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri
