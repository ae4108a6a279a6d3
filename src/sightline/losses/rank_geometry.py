"""How far the rows of a batch are from each other, and in which order.

N D are batch and width; a row of "others" (N, N-1) holds everybody but the row itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROUNDING = 1e-6
"""Squares this small beside the lengths they were computed from are rounding: a duplicate."""
NARROWEST = 1e-4
"""The least spread of a row, in units of its mean distance; below it float32 sees only rounding."""


def euclidean_distances(vectors: Tensor) -> Tensor:
    """The Euclidean distances (N, N) between the vectors (N, D), float32, the diagonal 0.

    By one matrix product around the mean of the batch. Pairs nearer than about a thousandth of
    their distance from that mean are duplicates: their distance is 0, and their gradient too, where
    the true one has no direction.

    >>> euclidean_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    """
    distances: Tensor = _Euclidean.apply(vectors.float())
    return distances


def cosine_distances(vectors: Tensor) -> Tensor:
    """The distances 1 - cos (N, N), 0..2, between the vectors (N, D), float32, the diagonal 0.

    For unit vectors half the squared Euclidean distance. A vector of zeros has no direction, gets
    no gradient and is at distance 1 from everybody else; below 1e-6 a distance is 0, without
    gradient.

    >>> cosine_distances(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]))
    tensor([[0., 1., 2.],
            [1., 0., 1.],
            [2., 1., 0.]])
    """
    values = vectors.float()
    largest = values.detach().abs().amax(1, keepdim=True)
    # Length cancels, so what is divided out first needs no gradient; without it squares overflow.
    scaled = values / torch.where(largest > 0, largest, 1.0)
    squares = scaled.square().sum(1, keepdim=True)
    units = scaled / torch.where(largest > 0, squares, 1.0).sqrt()
    distances = 1.0 - units @ units.T
    itself = torch.eye(len(values), dtype=torch.bool, device=values.device)
    return distances.masked_fill(itself | (distances <= ROUNDING), 0.0)


def others(table: Tensor) -> Tensor:
    """The square table (N, N) without its diagonal, (N, N-1), in the order of the columns.

    >>> others(torch.tensor([[0, 1, 2], [3, 0, 5], [6, 7, 0]]))
    tensor([[1, 2],
            [3, 5],
            [6, 7]])
    """
    count = len(table)
    if count < 2:
        return table[:, :0]
    shifted = table.flatten()[1:].view(count - 1, count + 1)
    return shifted[:, :-1].reshape(count, count - 1)


def row_spread(rows: Tensor) -> Tensor:
    """The standard deviation (R, 1) of each row (R, M), above 0 and differentiable.

    Divided by M. At least 1e-4 of the row's mean size, where it is constant and has no gradient, so
    that rounding is never taken for an order.
    """
    least = (NARROWEST * rows.detach().mean(1, keepdim=True)).square() + 1e-24
    variance = (rows - rows.mean(1, keepdim=True)).square().mean(1, keepdim=True)
    return torch.maximum(variance, least).sqrt()


def hard_ranks(rows: Tensor) -> Tensor:
    """The ranks 1 ... M of each row's numbers (R, M), float32, the smallest 1; no gradient.

    Of equal numbers the first column is first.

    >>> hard_ranks(torch.tensor([[0.3, 0.1, 0.2]]))
    tensor([[3., 1., 2.]])
    """
    order = rows.detach().argsort(dim=1, stable=True)
    places = torch.arange(1.0, rows.shape[1] + 1, device=rows.device)
    return torch.empty_like(order, dtype=torch.float32).scatter_(1, order, places.expand_as(rows))


class _Euclidean(torch.autograd.Function):
    """The gradient by vector i is Σ_j (g_ij + g_ji) (v_i - v_j) / d_ij, over the d_ij above 0."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        if len(vectors) == 0:
            return vectors.new_zeros(0, 0)
        centred = vectors - vectors.mean(0)
        products = centred @ centred.T
        lengths = products.diagonal().clone()
        total = lengths[:, None] + lengths[None, :]
        squares = products.mul_(-2.0).add_(total)
        squares.masked_fill_(squares <= total.mul_(ROUNDING), 0.0).fill_diagonal_(0.0)
        distances = squares.sqrt_()
        ctx.save_for_backward(centred, distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        centred, distances = ctx.saved_tensors
        pulls = torch.where(distances > 0, upstream / distances, 0.0)
        pulls = pulls + pulls.T
        gradient: Tensor = pulls.sum(1, keepdim=True) * centred - pulls @ centred
        return gradient
