"""Transforms of vectors to shorter ones, the first half of a codec.

N vectors of D numbers in, d numbers out, float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import CheckpointError, DataError
from sightline.models.pca import PrincipalComponents
from sightline.models.vector_encoder import VectorEncoder

_LEAST_VARIANCE = 1e-10
"""Share of the largest variance that whitening does not divide by less than."""


def pca_projection(components: PrincipalComponents, size: int) -> Projection:
    """The first d principal components of vectors, by Pearson (1901)."""
    _require_size(size, len(components.mean))
    made = Projection(len(components.mean), size, form="pca")
    made.mean.copy_(torch.from_numpy(components.mean))
    made.weight.copy_(torch.from_numpy(components.directions[:size]))
    return made


def whitened_projection(components: PrincipalComponents, size: int) -> Projection:
    """The same, each component divided by its standard deviation.

    Jegou & Chum, "Negative evidences and co-occurences in image retrieval", 2012. A component
    without variance is divided by 1e-5 of the largest deviation instead.
    """
    made = pca_projection(components, size)
    variances = components.variances[:size]
    least = max(_LEAST_VARIANCE * float(variances.max()), 1e-30)
    made.weight.div_(torch.from_numpy(variances.clip(min=least)).sqrt()[:, None].float())
    made.form = "pca-whiten"
    return made


def random_projection(dimension: int, size: int, *, seed: int) -> Projection:
    """Products with d vectors of normal numbers over sqrt(d), which keep distances on average.

    Johnson & Lindenstrauss (1984), in the form of Dasgupta & Gupta, "An elementary proof of a
    theorem of Johnson and Lindenstrauss", 2003.
    """
    made = Projection(dimension, size, form="random")
    generator = torch.Generator().manual_seed(seed)
    made.weight.copy_(torch.randn(size, dimension, generator=generator) / size**0.5)
    return made


def make_transform(described: Mapping[str, Any]) -> nn.Module:
    """A transform of the form that its `describe` told, with tensors to be loaded.

    Raises CheckpointError for a kind that is not known here.
    """
    kind = described.get("kind")
    if kind == "projection":
        return _projection(described)
    if kind == "truncation":
        return Truncation(described["input_dim"], described["size"])
    if kind == "learned":
        encoder, rotation = described["encoder"], described["rotation"]
        return Learned(VectorEncoder.from_description(encoder), rotation and _projection(rotation))
    raise CheckpointError(
        "A codec holds a transform that this version does not know.",
        expected="projection, truncation or learned",
        got=kind,
        remedy="load it with the version of sightline that wrote it",
    )


class Projection(nn.Module):
    """(x - mean) times the transpose of a matrix (d, D); `form` says where the matrix is from."""

    mean: Tensor
    weight: Tensor

    def __init__(self, dimension: int, size: int, *, form: str) -> None:
        super().__init__()
        self.form = form
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("weight", torch.zeros(size, dimension))

    def forward(self, vectors: Tensor) -> Tensor:
        """The coordinates (N, d) of vectors (N, D)."""
        return (vectors - self.mean) @ self.weight.T

    def describe(self) -> dict[str, Any]:
        """What make_transform makes it from, as plain data."""
        size, dimension = self.weight.shape
        return {"kind": "projection", "form": self.form, "input_dim": dimension, "size": size}


class Truncation(nn.Module):
    """The first d numbers of each vector, and zeros where it has fewer; d = D leaves it alone.

    >>> Truncation(3, 2)(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, dimension: int, size: int) -> None:
        super().__init__()
        self.dimension, self.size = dimension, size

    def forward(self, vectors: Tensor) -> Tensor:
        """The first numbers (N, d) of vectors (N, D)."""
        if self.size > self.dimension:
            return F.pad(vectors, (0, self.size - self.dimension))
        return vectors[:, : self.size]

    def describe(self) -> dict[str, Any]:
        """What make_transform makes it from, as plain data."""
        return {"kind": "truncation", "input_dim": self.dimension, "size": self.size}


class Learned(nn.Module):
    """An encoder that was trained; where it rounds, the numbers before they are rounded.

    `rotation` is applied after it, for product quantisation.
    """

    def __init__(self, encoder: nn.Module, rotation: Projection | None = None) -> None:
        super().__init__()
        self.encoder, self.rotation = encoder, rotation

    def forward(self, vectors: Tensor) -> Tensor:
        """The numbers (N, d) of vectors (N, D)."""
        if isinstance(self.encoder, VectorEncoder):
            found = self.encoder.encode(vectors).float()
        else:
            found = self.encoder(vectors).float()
        return found if self.rotation is None else self.rotation(found)

    def describe(self) -> dict[str, Any]:
        """What make_transform makes it from; DataError for an encoder that is none of ours."""
        if not isinstance(self.encoder, VectorEncoder):
            raise DataError(
                "This encoder cannot be described, so it could not be restored from a file.",
                expected="a VectorEncoder",
                got=type(self.encoder).__name__,
            )
        rotation = None if self.rotation is None else self.rotation.describe()
        return {"kind": "learned", "encoder": self.encoder.describe(), "rotation": rotation}


def _projection(described: Mapping[str, Any]) -> Projection:
    return Projection(described["input_dim"], described["size"], form=described["form"])


def _require_size(size: int, dimension: int) -> None:
    if not 1 <= size <= dimension:
        raise DataError(
            "There are not so many principal components.",
            expected=f"1 to {dimension}, the numbers of the vectors",
            got=size,
        )
