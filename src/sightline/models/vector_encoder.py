"""The encoder of vectors: a projection that starts as PCA, a small network, or both added up.

N vectors of D numbers in, d numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.models.pca import principal_components
from sightline.models.settings import NamedModelConfig
from sightline.models.unit_vectors import unit_vectors

LARGEST_CODE = 127
_CLIP = 4.0
"""Standard deviations of a coordinate that the int8 head starts by covering."""


class VectorEncoderConfig(NamedModelConfig):
    """How a vector becomes a shorter one."""

    name: Literal["linear", "residual", "mlp"] = "linear"
    """linear: a projection that starts as PCA; residual: the same plus a network that starts at
    zero; mlp: a network alone, as in earlier systems."""
    input_dim: int | None = Field(default=None, ge=1)
    """Numbers that go in; null: those of the data."""
    latent_dim: int = Field(default=512, ge=1)
    """Numbers that come out; at most as many as go in."""
    hidden_dims: tuple[int, ...] = (768,)
    """Sizes of the hidden layers of residual and mlp, with a ReLU after each."""
    normalize_output: bool = False
    """Give what comes out length one, for search by cosine or product."""
    int8: bool = False
    """Round what comes out to 255 levels for each number, whose steps are learnt: one byte each."""

    @model_validator(mode="after")
    def _sizes_make_sense(self) -> Self:
        if self._is_changed("hidden_dims") and self.name == "linear":
            raise ValueError("hidden_dims is used only with model residual or mlp, not linear")
        if self.input_dim is not None and self.latent_dim > self.input_dim:
            raise ValueError(
                f"latent_dim {self.latent_dim} is more than the {self.input_dim} numbers of the "
                "vectors: that compresses nothing; lower it"
            )
        if self.name != "linear" and (not self.hidden_dims or min(self.hidden_dims) < 1):
            raise ValueError(f"hidden_dims needs sizes of 1 or more, got {self.hidden_dims}")
        return self


class VectorEncoder(nn.Module):
    """Vectors (N, D) to vectors (N, d), both float32, in one unit of length.

    Inside, vectors are centred and divided by their spread over the samples to fit, and the result
    is multiplied by it again: the optimizer meets numbers around one, whatever unit they come in,
    and distances stay those of the input.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: VectorEncoderConfig) -> None:
        super().__init__()
        if config.input_dim is None:
            raise ConfigError(
                "Nothing says how many numbers the vectors have.",
                remedy="set model.input_dim=NUMBER",
            )
        self.config, dimension = config, config.input_dim
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("spread", torch.ones(()))
        width = config.latent_dim
        self.projection = nn.Linear(dimension, width) if config.name != "mlp" else None
        self.network = _network(dimension, config) if config.name != "linear" else None
        if self.network is not None and config.name == "residual":
            for parameter in self.network[-1].parameters():
                nn.init.zeros_(parameter)
        # Its logarithm, so that a step of the optimizer is a share of it, whatever unit it has, and
        # none makes it negative.
        start = torch.full((width,), -math.log(LARGEST_CODE))
        self.log_step = nn.Parameter(start) if config.int8 else None

    @property
    def step(self) -> Tensor | None:
        """How far apart the levels of each number are (d,), in the unit of what comes out."""
        return None if self.log_step is None else self.log_step.exp()

    def forward(self, vectors: Tensor) -> Tensor:
        """The vectors (N, d) of vectors (N, D); of an int8 head, those that its codes stand for."""
        encoded, step = self.encode(vectors), self.step
        if step is None:
            return encoded
        # Rounding has no gradient: it passes as if it were not there, and the step learns by what
        # rounding lost (Esser et al., "Learned Step Size Quantization", equation 3, 2020).
        scaled = encoded / step
        held = scaled.clamp(-LARGEST_CODE, LARGEST_CODE)
        return (held + (held.round() - held).detach()) * step

    def encode(self, vectors: Tensor) -> Tensor:
        """The same before it is rounded."""
        centred = (vectors.float() - self.mean) / self.spread
        encoded = torch.zeros((), device=centred.device)
        if self.projection is not None:
            encoded = encoded + self.projection(centred)
        if self.network is not None:
            encoded = encoded + self.network(centred)
        if self.config.normalize_output:
            return unit_vectors(encoded)
        return encoded * self.spread

    @torch.no_grad()
    def start_from(self, blocks: Iterable[npt.NDArray[np.float32]]) -> None:
        """Take mean, spread and, where there is a projection, principal components of vectors.

        `blocks` (n, D) are looked at once.
        """
        found = principal_components(blocks)
        self.mean.copy_(torch.from_numpy(found.mean))
        total = float(found.variances.sum())
        self.spread.fill_(total**0.5 if total > 0 else 1.0)
        width = self.config.latent_dim
        if self.projection is not None:
            self.projection.weight[:width] = torch.from_numpy(found.directions[:width]).float()
            nn.init.zeros_(self.projection.bias)
        if self.log_step is not None:
            deviation = np.sqrt(found.variances[:width]).clip(min=1e-6 * max(total, 1e-12) ** 0.5)
            if self.config.normalize_output:
                deviation = deviation / total**0.5 if total > 0 else np.ones(width)
            self.log_step[:width] = torch.from_numpy(np.log(_CLIP * deviation / LARGEST_CODE))

    def describe(self) -> dict[str, Any]:
        """What from_description makes an encoder of this form from, as plain data."""
        return self.config.model_dump(mode="json")

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> VectorEncoder:
        """An encoder of the form that `describe` told, with weights to be loaded."""
        hidden = tuple(described["hidden_dims"])
        return cls(VectorEncoderConfig(**{**described, "hidden_dims": hidden}))


def _network(dimension: int, config: VectorEncoderConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, size in zip((dimension, *config.hidden_dims), config.hidden_dims, strict=False):
        layers += [nn.Linear(before, size), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(config.hidden_dims[-1], config.latent_dim))
