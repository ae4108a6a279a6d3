"""Codecs fitted to rows: what forms share, such as principal components, is found once.

N rows to fit of D numbers, d after the transform.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sightline.compressing.candidates import Spec
from sightline.errors import DataError
from sightline.models.codec import Codec, CodeMetric
from sightline.models.pca import PrincipalComponents, principal_components
from sightline.models.projections import (
    Learned,
    Projection,
    Truncation,
    pca_projection,
    random_projection,
    whitened_projection,
)
from sightline.models.quantizer_products import fit_products, fit_rotation
from sightline.models.quantizers import (
    Floating,
    Quantizer,
    fit_binary,
    fit_int8,
    symmetric_int8,
)
from sightline.models.unit_vectors import unit_vectors
from sightline.models.vector_encoder import VectorEncoder
from sightline.random_numbers import generator

Floats = npt.NDArray[np.float32]
SAMPLE = 16_384
"""Rows at most that quantisers are fitted to, drawn by the seed; components see every row."""
ROTATED_SAMPLE = 8_192
"""Of them, those that rotations are fitted to, which take many rounds."""
_BLOCK = 8192


class Rows(Protocol):
    """Vectors that are read in parts, such as data.vector_samples.VectorRows."""

    def __len__(self) -> int: ...

    def read(self, places: npt.NDArray[np.int64]) -> Floats:
        """The vectors (n, D) float32 at some places."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayRows:
    """Rows of an array or memory map (N, D): those that are numbered, or all."""

    values: Any
    rows: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values if self.rows is None else self.rows)

    def read(self, places: npt.NDArray[np.int64]) -> Floats:
        """The vectors (n, D) float32 at some places."""
        chosen = places if self.rows is None else self.rows[places]
        return np.asarray(self.values[chosen], np.float32)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A codec and how long it took to be made."""

    spec: Spec
    codec: Codec
    seconds: float
    """With what it shares with others, such as principal components."""


class Fitter:
    """Makes codecs from rows to fit; `metric` is that of the neighbours that are to be kept.

    For cosine every codec divides vectors by their lengths first. Raises DataError for fewer than
    two rows, values that are not finite, and another metric than cosine and euclidean.
    """

    def __init__(self, rows: Rows, *, metric: str = "euclidean", seed: int = 0) -> None:
        if metric not in ("cosine", "euclidean"):
            raise DataError(
                "Vectors cannot be compressed for this metric.",
                expected="cosine or euclidean",
                got=metric,
                remedy="where vectors have one length, the order by dot is that by cosine",
            )
        if len(rows) < 2:
            raise DataError("There are too few rows to fit.", expected="2 or more", got=len(rows))
        self.rows, self.seed, self.normalize = rows, seed, metric == "cosine"
        self.metric = metric
        order = generator(seed, 0, "rows that quantisers are fitted to").permutation(len(rows))
        self.sample = self._ready(order[:SAMPLE])
        self._components: PrincipalComponents | None = None
        self._components_seconds = 0.0
        if not bool(self.sample.isfinite().all()):
            raise DataError(
                "Vectors to fit are not finite.",
                expected="finite numbers",
                got="NaN or infinity",
                remedy="leave such rows out",
            )

    @property
    def dimension(self) -> int:
        """D, the numbers of a vector."""
        return int(self.sample.shape[1])

    def components(self) -> PrincipalComponents:
        """The principal components of all rows, found when they are first asked for."""
        if self._components is None:
            start = time.perf_counter()
            self._components = principal_components(self._blocks())
            self._components_seconds = time.perf_counter() - start
        return self._components

    def fit(self, spec: Spec) -> Fitted:
        """The codec of a form; for a learned one see `fit_learned`. Equal calls give equal codecs.

        Raises MissingExtraError for pq and opq without Faiss.
        """
        shared = spec.transform in ("pca", "pca-whiten", "opq")
        if shared:
            self.components()
        start = time.perf_counter()
        with torch.no_grad():
            transform = self._transform(spec)
            quantizer = self._quantizer(spec, self._transformed(transform))
        seconds = time.perf_counter() - start + shared * self._components_seconds
        return Fitted(spec, self._codec(spec, transform, quantizer), seconds)

    def fit_learned(self, spec: Spec, encoder: nn.Module, *, seconds: float = 0.0) -> Fitted:
        """The codec of an encoder that took some seconds to train; its quantiser is fitted.

        An encoder that has learnt the steps of its int8 codes keeps them.
        """
        start = time.perf_counter()
        transform = Learned(encoder.eval().cpu())
        learned_step = encoder.step if isinstance(encoder, VectorEncoder) else None
        with torch.no_grad():
            quantizer: Quantizer
            if spec.quantizer == "int8" and learned_step is not None:
                quantizer = symmetric_int8(learned_step)
            else:
                if spec.quantizer == "pq":
                    transform.rotation = self._rotated(spec, transform)
                quantizer = self._quantizer(spec, self._transformed(transform))
        if quantizer.size != spec.size:
            raise DataError(
                "A learned encoder has another size than was asked for.",
                expected=f"{spec.size} numbers",
                got=quantizer.size,
            )
        codec = self._codec(spec, transform, quantizer)
        return Fitted(spec, codec, seconds + time.perf_counter() - start)

    def _codec(self, spec: Spec, transform: nn.Module, quantizer: Quantizer) -> Codec:
        # What is cut off, or projected around no mean, has another length than before.
        by_angle = self.normalize and spec.transform in ("truncation", "random")
        metric: CodeMetric = "cosine" if by_angle and spec.quantizer != "binary" else "euclidean"
        return Codec(
            transform, quantizer, name=spec.name, normalize=self.normalize, metric=metric
        ).eval()

    def _transform(self, spec: Spec) -> nn.Module:
        if spec.transform == "pca":
            return pca_projection(self.components(), spec.size)
        if spec.transform == "pca-whiten":
            return whitened_projection(self.components(), spec.size)
        if spec.transform == "random":
            return random_projection(self.dimension, spec.size, seed=self.seed)
        if spec.transform == "opq":
            return self._rotated(spec, None)
        if spec.transform == "learned":
            raise DataError("A learned form needs its encoder.", expected="fit_learned")
        return Truncation(self.dimension, spec.size)

    def _rotated(self, spec: Spec, encoder: nn.Module | None) -> Projection:
        """Principal components, of the vectors or of what an encoder makes of them, rotated."""
        if encoder is None:
            components, values = self.components(), self.sample
        else:
            values = self._transformed(encoder)
            components = principal_components(block.numpy() for block in values.split(_BLOCK))
        made = pca_projection(components, spec.size)
        given = torch.cat([made(block) for block in values[:ROTATED_SAMPLE].split(_BLOCK)])
        rotation = fit_rotation(given.numpy(), spec.bytes, seed=self.seed)
        made.weight.copy_(torch.from_numpy(rotation) @ made.weight)
        made.form = "opq"
        return made

    def _quantizer(self, spec: Spec, vectors: Tensor) -> Quantizer:
        if spec.quantizer == "int8":
            return fit_int8(vectors)
        if spec.quantizer == "binary":
            return fit_binary(vectors)
        if spec.quantizer == "pq":
            return fit_products(vectors.numpy(), spec.bytes, seed=self.seed)
        return Floating(vectors.shape[1], spec.quantizer)

    def _transformed(self, transform: nn.Module) -> Tensor:
        with torch.no_grad():
            return torch.cat([transform(block) for block in self.sample.split(_BLOCK)])

    def _blocks(self) -> Iterator[Floats]:
        for start in range(0, len(self.rows), _BLOCK):
            places = np.arange(start, min(start + _BLOCK, len(self.rows)))
            yield self._ready(places).numpy()

    def _ready(self, places: npt.NDArray[np.int64]) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(self.rows.read(places), np.float32))
        return unit_vectors(values) if self.normalize else values
