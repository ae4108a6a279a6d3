"""What a search returns, what near means, and which input cannot be searched.

Q queries, N vectors of the gallery, D numbers each, k neighbours, P pairs of query and vector.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.errors import DataError

Metric = Literal["cosine", "euclidean", "dot"]
"""cosine: 1 - cos; euclidean: length of the difference, not squared; dot: minus the product."""
METRICS: tuple[Metric, ...] = get_args(Metric)
MOST_ROWS = 2**32
_LOW = 0x7FFFFFFF


class Neighbours(NamedTuple):
    """The nearest vectors of each query, the nearest first."""

    distances: npt.NDArray[np.float32]
    """(Q, k), ascending."""
    rows: npt.NDArray[np.int64]
    """(Q, k) rows of the gallery; equal distances in ascending order of the row."""


def check_shapes(queries: tuple[int, ...], gallery: tuple[int, ...], k: int) -> None:
    """Raise DataError unless k neighbours of (Q, D) queries can be found in an (N, D) gallery."""
    if len(queries) != 2 or len(gallery) != 2 or queries[1] != gallery[1] or not gallery[1]:
        raise DataError(
            "Queries and gallery do not fit together.",
            expected="queries (Q, D) and a gallery (N, D) with the same D",
            got=f"queries {tuple(queries)} and a gallery {tuple(gallery)}",
        )
    if gallery[0] >= MOST_ROWS:
        raise DataError(
            "The gallery has too many rows.",
            expected=f"fewer than {MOST_ROWS}",
            got=gallery[0],
            remedy="search it in parts",
        )
    if not 1 <= k <= gallery[0]:
        raise DataError(
            f"A gallery of {gallery[0]} vectors does not have {k} nearest ones.",
            expected=f"k from 1 to {gallery[0]}" if gallery[0] else "a gallery that is not empty",
            got=k,
            remedy=f"ask for k={gallery[0]} at most" if gallery[0] and k > 0 else None,
        )


def check_metric(metric: str) -> None:
    """Raise DataError for a metric that does not exist."""
    if metric not in METRICS:
        raise DataError("There is no such metric.", expected=", ".join(METRICS), got=metric)


def check_finite(vectors: Tensor, what: str, first: int = 0) -> None:
    """Raise DataError that names the first row with a value that is not finite."""
    bad = ~vectors.isfinite().all(dim=1)
    if bool(bad.any()):
        raise DataError(
            f"Some {what} are not finite.",
            expected="finite numbers",
            got=f"NaN or infinity in {int(bad.sum())} of {len(vectors)} rows looked at",
            where=f"row {first + int(bad.nonzero()[0])}",
            remedy="find out where the model went wrong; such a vector has no neighbours",
        )


def unit_rows(vectors: Tensor) -> Tensor:
    """The rows (P, D) divided by their lengths; zeros stay zeros, so their cosine is 0."""
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(lengths > 0, lengths, 1.0)


def distances_of(queries: Tensor, vectors: Tensor, metric: Metric) -> Tensor:
    """Distance of each query to the vector in the same row, (P,) float32.

    Both (P, D), computed in float64, one row like any other, so equal pairs have equal distances
    wherever they come in. Cosine is half the squared distance of the unit vectors, which is the
    same and does not cancel: an exact copy is at distance 0.
    """
    queries, vectors = queries.double(), vectors.double()
    if metric == "dot":
        # Adding zero turns a negative zero into zero.
        return (queries * vectors).sum(dim=1).neg_().add_(0.0).float()
    if metric == "euclidean":
        return (queries - vectors).square_().sum(dim=1).sqrt_().float()
    queries, vectors = unit_rows(queries), unit_rows(vectors)
    without = (~queries.any(dim=1)).double() + (~vectors.any(dim=1)).double()
    return ((queries - vectors).square_().sum(dim=1) + without).div_(2).float()


def pack(distances: Tensor, rows: Tensor) -> Tensor:
    """One int64 for each pair that sorts by distance (float32), then by row (int64)."""
    bits = distances.contiguous().view(torch.int32).long()
    # The bits of negative numbers rise with their size: turned round, they sort like the numbers.
    return (torch.where(bits < 0, bits ^ _LOW, bits) << 32) | rows


def unpack(packed: Tensor) -> Neighbours:
    """Distances and rows of what pack made."""
    bits = packed >> 32
    bits = torch.where(bits < 0, bits ^ _LOW, bits).int()
    rows = packed & (MOST_ROWS - 1)
    return Neighbours(bits.view(torch.float32).cpu().numpy(), rows.cpu().numpy())
