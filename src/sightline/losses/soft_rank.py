"""Differentiable ranks of the numbers of each row, without a table of all triples.

R rows of M distances each.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sightline.losses.soft_rank_sums import (
    centred_sigmoid,
    kernel_sums,
    pairwise_sums,
    sigmoid_slope,
)

SHORTEST_TAU = 1e-12
"""Temperatures are held above this; a row of equal distances then gets equal ranks."""


def soft_rank(distances: Tensor, tau: float | Tensor) -> Tensor:
    """The soft ranks (R, M) of the distances (R, M) within their rows, float32, nearest first.

    S_i = 1 + Σ_{j≠i} σ((d_i - d_j) / τ), the sigmoid rank of Qin, Liu and Li, "A general
    approximation framework for direct optimization of information retrieval measures", equation 9,
    2010, ascending: between 1 and M, the ranks themselves as τ goes to 0, ties in the middle of
    their places. `tau` is in units of the distances, a number or (R, 1), above 0, and gets no
    gradient. The gradient by the distances is σ' summed likewise, in closed form.

    Sums go over a grid (`soft_rank_sums.grid_sums`), in O(M + G log G) for each row where G is
    proportional to its range / τ; a rank is within 1e-6 M of its definition and float32's rounding
    of range / τ. Memory is a few times that of the distances. In float32 whatever autocast says.
    ValueError for a tau of 0 or less.

    >>> soft_rank(torch.tensor([[0.3, 0.1, 0.2]]), 1e-3)
    tensor([[3., 1., 2.]])
    """
    return _ranks(distances, tau, exact=False)


def soft_rank_exact(distances: Tensor, tau: float | Tensor) -> Tensor:
    """As `soft_rank`, pair by pair: O(M²) for each row, in blocks, so that memory stays small.

    >>> soft_rank_exact(torch.tensor([[5.0, 5.0, 5.0]]), 1.0)
    tensor([[2., 2., 2.]])
    """
    return _ranks(distances, tau, exact=True)


def _ranks(distances: Tensor, tau: float | Tensor, *, exact: bool) -> Tensor:
    if distances.dim() != 2:
        raise ValueError(f"distances are rows, (R, M); got the shape {tuple(distances.shape)}")
    if not isinstance(tau, Tensor):
        if not tau > 0:
            raise ValueError(f"tau is a number above 0; got {tau}")
        tau = torch.tensor(float(tau), device=distances.device)
    with torch.autocast(distances.device.type, enabled=False):
        held = tau.detach().float().clamp(min=SHORTEST_TAU)
        ranks: Tensor = _SoftRank.apply(distances.float(), held, exact)
    return ranks


class _SoftRank(torch.autograd.Function):
    """Ranks with their gradient in closed form; what is kept for it is two tables (R, M).

    With K_ij = σ'((d_i - d_j) / τ) / τ, which is symmetric, the gradient of Σ g_i S_i by d_i is
    g_i Σ_j K_ij - Σ_j K_ij g_j; what j = i adds to both cancels.
    """

    @staticmethod
    def forward(ctx: Any, distances: Tensor, tau: Tensor, exact: bool) -> Tensor:
        if distances.numel() == 0:
            ctx.save_for_backward(distances, distances, tau)
            return torch.ones_like(distances)
        places = (distances - distances.amin(1, keepdim=True)) / tau
        ctx.summed = pairwise_sums if exact else kernel_sums
        if ctx.needs_input_grad[0]:
            sums, slopes = ctx.summed(places, None, (centred_sigmoid, sigmoid_slope))
            ctx.save_for_backward(places, slopes, tau)
        else:
            (sums,) = ctx.summed(places, None, (centred_sigmoid,))
        ranks: Tensor = sums.add_((distances.shape[1] + 1) / 2)
        return ranks

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None]:
        places, slopes, tau = ctx.saved_tensors
        if places.numel() == 0:
            return torch.zeros_like(places), None, None
        (spread,) = ctx.summed(places, upstream, (sigmoid_slope,))
        return (upstream * slopes - spread) / tau, None, None
