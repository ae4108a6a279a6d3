"""The sections every task shares and no other part of the package owns."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from sightline.config.section import Section

Tracking = tuple[Literal["jsonl"], ...]
"""Where the rows of metrics.jsonl go; the file itself is always written."""


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
