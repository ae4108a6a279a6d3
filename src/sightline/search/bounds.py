"""How far a score of float32 or bfloat16 arithmetic can be from the true one.

A score is larger for what is nearer: q·g for dot, the same of unit vectors for cosine, and
q·g - ‖g‖²/2 for euclidean. The gallery is looked at in chunks; C chunks, Q queries, D numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sightline.search.neighbours import Metric

_UNIT = 2.0**-24
"""Largest relative error of one operation in float32."""
HALF_UNIT = 2.0**-8
"""Largest relative error of a number rounded to bfloat16."""
_EQUAL = 2.0**-21
"""Relative to the squared lengths: differences that distances of float32 cannot show."""
_SAFETY = 1.02
"""For the rounding of the lengths and of the bounds themselves."""


class Lengths(NamedTuple):
    """Lengths of vectors, and of what rounding them to bfloat16 takes away.

    Of a chunk both are those of its longest.
    """

    whole: Tensor
    lost: Tensor

    def at(self, places: slice | Tensor) -> Lengths:
        """Those at some places."""
        return Lengths(self.whole[places], self.lost[places])

    def columns(self) -> Lengths:
        """The same as (Q, 1), to be broadcast against chunks (C,)."""
        return Lengths(self.whole[:, None], self.lost[:, None])


def score_errors(queries: Lengths, chunks: Lengths, *, metric: Metric, size: int) -> Tensor:
    """Largest |computed - true score| of any vector of a chunk, products in float32.

    Lengths of queries and chunks are broadcast against each other. A sum of D products in any
    order is off by D u ‖q‖ ‖g‖ at most, to first order (Higham, "Accuracy and Stability of
    Numerical Algorithms", section 3.1, 2002). To this come the rounding of unit vectors and of
    lengths, and as much as two distances can differ that are equal in float32.
    """
    summing = _SAFETY * (size + 16) * _UNIT
    inputs = _rounding_of_inputs(queries.whole.device.type)
    products = summing + _SAFETY * inputs * (2 + inputs)
    if metric == "cosine":
        return torch.full_like(queries.whole, products + summing + _EQUAL)
    errors = queries.whole * (products * chunks.whole)
    if metric == "euclidean":
        errors += (summing + _EQUAL) * chunks.whole.square()
        errors += _EQUAL * queries.whole.square()
    return errors


def rounding_errors(queries: Lengths, chunks: Lengths, *, metric: Metric) -> Tensor:
    """What rounding both sides to bfloat16 adds to score_errors.

    q·g - q̃·g̃ = q·(g - g̃) + (q - q̃)·g̃, by Cauchy and Schwarz. The rounding of the result is bounded
    where it is used, since it is known there; not so for euclidean, whose score is a sum of two.
    """
    lost = _SAFETY * chunks.lost
    if metric == "euclidean":
        lost = lost + (_SAFETY * HALF_UNIT) * chunks.whole
    errors = queries.whole * lost
    errors += queries.lost * (_SAFETY * (1 + HALF_UNIT) * chunks.whole)
    return errors


def _rounding_of_inputs(device: str) -> float:
    """Relative error of a factor where torch was told that it may round before it multiplies."""
    backends = {"cuda": torch.backends.cuda, "cpu": torch.backends.mkldnn}
    if device not in backends:
        return 0.0
    told = backends[device].matmul.fp32_precision
    return {"tf32": 2.0**-11, "bf16": HALF_UNIT}.get(told, 0.0)
