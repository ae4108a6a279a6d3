"""Product quantisation: each part of a vector becomes the number of its nearest centroid.

N vectors of d numbers in M parts of d/M each, 256 centroids for each part.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sightline.errors import DataError, MissingExtraError

CENTROIDS = 256
_ITERATIONS = 15
_ROTATIONS = 12
"""Rounds of OPQ; it starts near its end, see `fit_rotation`."""

Floats = npt.NDArray[np.float32]


def fit_products(vectors: Floats, parts: int, *, seed: int) -> ProductQuantizer:
    """Centroids of M parts by k-means of Faiss on vectors (N, d), copied into torch.

    Jegou, Douze & Schmid, "Product quantization for nearest neighbor search", 2011. With fewer
    than 256 vectors each is a centroid and the rest are repeated. Raises MissingExtraError without
    Faiss, DataError where M does not divide d.
    """
    faiss = load_faiss()
    made = ProductQuantizer(vectors.shape[1], parts)
    values = np.ascontiguousarray(vectors, np.float32)
    if len(values) < CENTROIDS:
        values = np.resize(values, (CENTROIDS, values.shape[1]))
    quantizer = _trainable(faiss, values.shape[1], parts, seed)
    quantizer.train(values)
    found = faiss.vector_to_array(quantizer.centroids).reshape(parts, CENTROIDS, -1)
    made.centroids.copy_(torch.from_numpy(found))
    return made


def fit_rotation(vectors: Floats, parts: int, *, seed: int) -> Floats:
    """A rotation (d, d) after which product quantisation loses less, by OPQ of Faiss.

    Ge, He, Ke & Sun, "Optimized product quantization", 2014. `vectors` (N, d) are principal
    components in descending order of variance, and it starts from their section 4.1: components
    dealt out so that the parts have equal products of variances.
    """
    faiss = load_faiss()
    values = np.ascontiguousarray(vectors, np.float32)
    if len(values) < CENTROIDS:
        values = np.resize(values, (CENTROIDS, values.shape[1]))
    size = values.shape[1]
    start = np.eye(size, dtype=np.float32)[_dealt(values.var(axis=0), parts)]
    trained = faiss.OPQMatrix(size, parts)
    trained.niter, trained.niter_pq, trained.niter_pq_0 = _ROTATIONS, 2, 8
    trained.max_train_points = len(values)
    inner = _trainable(faiss, size, parts, seed)
    trained.pq = inner
    faiss.copy_array_to_vector(start.ravel(), trained.A)
    trained.train(values)
    rotation: Floats = faiss.vector_to_array(trained.A).reshape(size, size).copy()
    trained.pq = None
    return rotation


def load_faiss() -> Any:
    """The module of Faiss; MissingExtraError where it is not installed."""
    try:
        with warnings.catch_warnings():
            # Types that SWIG makes lack __module__, which newer Pythons warn of.
            warnings.filterwarnings("ignore", message="builtin type", category=DeprecationWarning)
            import faiss
    except ImportError as error:
        raise MissingExtraError("faiss-cpu", "faiss", "Product quantisation") from error
    return faiss


class ProductQuantizer(nn.Module):
    """M bytes for a vector, each the number of the centroid that is nearest to a part of it."""

    centroids: Tensor

    def __init__(self, size: int, parts: int) -> None:
        super().__init__()
        if parts < 1 or size % parts:
            raise DataError(
                "A vector cannot be divided into so many parts.",
                expected=f"a number that divides {size}",
                got=parts,
            )
        self.size, self.parts, self.kind = size, parts, "pq"
        self.register_buffer("centroids", torch.zeros(parts, CENTROIDS, size // parts))

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of one code."""
        return self.parts

    def forward(self, vectors: Tensor) -> Tensor:
        """Codes (N, M) uint8: the c with the least ||c||^2 / 2 - z.c for each part z."""
        split = vectors.unflatten(1, (self.parts, -1)).transpose(0, 1)
        halves = self.centroids.square().sum(dim=2)[:, None] * 0.5
        far = halves - split @ self.centroids.transpose(1, 2)
        codes: Tensor = far.argmin(dim=2).T.to(torch.uint8)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """The centroids (N, d), float32, one part after the other."""
        parts = torch.arange(self.parts, device=codes.device)
        found: Tensor = self.centroids[parts, codes.long()]
        return found.flatten(1)

    def describe(self) -> dict[str, Any]:
        """What make_quantizer makes it from, as plain data."""
        return {"kind": "pq", "size": self.size, "parts": self.parts}


def _trainable(faiss: Any, size: int, parts: int, seed: int) -> Any:
    quantizer = faiss.ProductQuantizer(size, parts, 8)
    quantizer.cp.niter, quantizer.cp.seed = _ITERATIONS, seed
    # As few as there are: Faiss would warn for each part, on the terminal.
    quantizer.cp.min_points_per_centroid = 1
    return quantizer


def _dealt(variances: Floats, parts: int) -> npt.NDArray[np.int64]:
    """The order of components in which the M parts have about equal products of variances."""
    room = len(variances) // parts
    logs = np.log(np.maximum(variances, 1e-12 * float(variances.max()) + 1e-30))
    logs = logs - logs.min()
    totals = np.zeros(parts)
    chosen: list[list[int]] = [[] for _ in range(parts)]
    for component in np.argsort(-logs, kind="stable"):
        open_ones = [part for part in range(parts) if len(chosen[part]) < room]
        part = min(open_ones, key=lambda one: totals[one])
        chosen[part].append(int(component))
        totals[part] += logs[component]
    return np.array([component for part in chosen for component in part], np.int64)
