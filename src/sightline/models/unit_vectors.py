"""Vectors of length one, with gradients that stay finite whatever the vector is."""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST = 1e-6
"""A vector that is shorter than this has no direction."""


def unit_vectors(vectors: Tensor) -> Tensor:
    """The rows (N, D) divided by their lengths, in float32 whatever autocast says.

    A row without direction becomes zeros and gets no gradient: divided by a tiny length, its
    gradient would be the largest of all, and mean nothing.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        values = vectors.float()
        squares = values.square().sum(-1, keepdim=True)
        has_direction = squares > SHORTEST**2
        # Where there is no direction 1 stands in, so that no branch divides by zero.
        return values * has_direction / torch.where(has_direction, squares, 1.0).sqrt()
