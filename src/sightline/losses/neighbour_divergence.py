"""The divergence of neighbourhoods: who is near whom, before and after compression.

N vectors; a row of "others" (N, N-1) holds the distances of one vector to all but itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-12


def neighbour_divergence(before: Tensor, after: Tensor, *, k: int, tau: float = 1.0) -> Tensor:
    """The mean Kullback-Leibler divergence between neighbourhoods, a float32 scalar of 0 or more.

    `before` and `after` are the distances (N, N-1) of each vector to the others. Row i's
    neighbourhood is p_j = softmax_j(-d_ij² / (tau b_i)), as in Hinton & Roweis, "Stochastic
    Neighbor Embedding", equations 1 to 3, 2002, and q_j the same of `after`. Where theirs is set by
    a perplexity, the width b_i is how much farther, in squares, the k-th nearest is than the
    nearest before compression: the k nearest differ in p, and what is far beyond them has hardly
    any weight. Both have the same width, so that distances are kept too and not only their order.
    No gradient goes to `before`. k is reduced to N-1; fewer than two others have nothing to
    compare: 0.

    >>> distances = torch.tensor([[1.0, 2.0], [1.0, 3.0], [2.0, 3.0]])
    >>> neighbour_divergence(distances, distances, k=2).item()
    0.0
    """
    others = before.shape[1] if before.dim() == 2 else 0
    if others < 2:
        return after.float().sum() * 0.0
    near, found = before.detach().float().square(), after.float().square()
    nearest = near.topk(min(k, others), dim=1, largest=False).values
    width = nearest[:, -1:] - nearest[:, :1]
    # Where the k nearest are equally far (copies, a grid, k = 1), how far they are is the scale.
    width = torch.where(width > 1e-6 * nearest[:, -1:], width, nearest[:, -1:])
    width = (width * tau).clamp(min=_LEAST)
    expected = torch.log_softmax(-near / width, dim=1)
    got = torch.log_softmax(-found / width, dim=1)
    return (expected.exp() * (expected - got)).sum(dim=1).mean()
