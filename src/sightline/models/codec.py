"""A codec: vectors to codes of a few bytes, and codes back to the vectors they are searched by.

N vectors of D numbers, d after the transform; a code has B bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sightline.errors import DataError
from sightline.models.projections import make_transform
from sightline.models.quantizers import Quantizer, make_quantizer
from sightline.models.unit_vectors import unit_vectors

CodeMetric = Literal["cosine", "euclidean"]
_NUMBERS_AT_ONCE = 2**24
_ROWS_AT_ONCE = 2**15


def make_codec(described: Mapping[str, Any]) -> Codec:
    """A codec of the form that `Codec.describe` told, with tensors to be loaded."""
    return Codec(
        make_transform(described["transform"]),
        make_quantizer(described["quantizer"]),
        name=described["name"],
        normalize=described["normalize"],
        metric=described["metric"],
    )


class Codec(nn.Module):
    """A transform, then a quantiser; all that it knows is in buffers and parameters.

    `normalize` divides vectors by their length first, so that the order by Euclidean distance is
    that by cosine. `metric` is how codes are compared: a query stays float (`project`) and is
    measured against the vectors that codes stand for (`decode`).
    """

    def __init__(
        self,
        transform: nn.Module,
        quantizer: Quantizer,
        *,
        name: str,
        normalize: bool = False,
        metric: CodeMetric = "euclidean",
    ) -> None:
        super().__init__()
        self.transform, self.quantizer = transform, quantizer
        self.name, self.normalize, self.metric = name, normalize, metric

    @property
    def bytes_per_vector(self) -> int:
        """B, the bytes of one code."""
        return self.quantizer.bytes_per_vector

    @property
    def size(self) -> int:
        """d, the numbers that a code stands for."""
        return self.quantizer.size

    def forward(self, vectors: Tensor) -> Tensor:
        """Codes of a block of vectors (N, D) float32; see `encode`."""
        codes: Tensor = self.quantizer(self._transformed(vectors))
        return codes

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        """Codes (N, B / bytes of a number), in blocks that bound the memory.

        float32 or float16 (N, d), int8 (N, d), uint8 (N, d/8) of bits, uint8 (N, M) of products.
        Raises DataError for vectors of another shape.
        """
        blocks = self._checked(vectors).split(self._rows_at_once())
        return torch.cat([self(block.float()) for block in blocks])

    @torch.no_grad()
    def project(self, vectors: Tensor) -> Tensor:
        """What a query is compared with codes by, (N, d) float32, not quantised."""
        blocks = self._checked(vectors).split(self._rows_at_once())
        return torch.cat([self._transformed(block.float()) for block in blocks])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """The vectors (N, d) float32 that codes stand for, in the space of `project`."""
        return self.quantizer.decode(codes)

    def describe(self) -> dict[str, Any]:
        """What make_codec makes it from, with its bytes, as plain data."""
        return {
            "name": self.name,
            "normalize": self.normalize,
            "metric": self.metric,
            "numbers": self.size,
            "bytes": self.bytes_per_vector,
            "transform": _described(self.transform),
            "quantizer": self.quantizer.describe(),
        }

    def _transformed(self, vectors: Tensor) -> Tensor:
        if self.normalize:
            vectors = unit_vectors(vectors)
        found: Tensor = self.transform(vectors)
        return found

    def _rows_at_once(self) -> int:
        widest = 256 * self.bytes_per_vector if self.quantizer.kind == "pq" else self.size
        return max(1, min(_ROWS_AT_ONCE, _NUMBERS_AT_ONCE // max(widest, self.size)))

    def _checked(self, vectors: Tensor) -> Tensor:
        if vectors.ndim != 2:
            raise DataError(
                "Vectors to encode have another shape.",
                expected="(N, D), one vector in each row",
                got=tuple(vectors.shape),
            )
        return vectors


def _described(transform: nn.Module) -> dict[str, Any]:
    describe: Any = transform.describe
    found: dict[str, Any] = describe()
    return found
