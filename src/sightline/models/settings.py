"""The `model` section of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from sightline.config.section import Section

Pooling = Literal["avg", "max", "avgmax", "catavgmax", "gem", "token"]


class NamedModelConfig(Section):
    """What the `model` section of every task has."""

    name: str
    """What the model is called."""


class BackboneConfig(NamedModelConfig):
    """Which backbone looks at the pictures, and where its weights come from."""

    name: str = "resnet18"
    """Backbone name as timm knows it, with or without a weights tag (resnet18.a1_in1k)."""
    pretrained: bool = True
    """Start from the weights timm publishes for this name; needs a network or a filled cache."""
    weights: Path | None = None
    """Local weights file (.pth, .pt, .safetensors) to start from; wins over `pretrained`."""
    weights_partial: bool = False
    """Accept a weights file that lacks tensors of the backbone, or holds others beside them."""

    @model_validator(mode="after")
    def _partial_needs_a_source(self) -> Self:
        if self.weights_partial and self.weights is None and not self.pretrained:
            raise ValueError("weights_partial is used only with weights=FILE or pretrained=true")
        return self


class ModelConfig(BackboneConfig):
    """Which backbone turns a picture into a vector, and how."""

    pooling: Pooling = "avg"
    """How the feature map becomes one vector; avg works with every backbone but a few
    transformers, token takes a transformer's class token, gem is a learnt power mean."""
    drop_rate: float = Field(default=0.0, ge=0, lt=1)
    """Chance that a feature is dropped before the head, while training."""
    drop_path_rate: float = Field(default=0.0, ge=0, lt=1)
    """Chance that the deepest residual branch is skipped, while training (stochastic depth)."""
