"""Softmax losses with a margin: ArcFace and CosFace.

B C are batch and classes. Cosines are those of embeddings with the centres of classes; everything
is computed in float32 whatever autocast says.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_SINE = 1e-3
"""Below it an angle counts as that of this sine. Its cosine differs from 1 by 5e-7, a few roundings
of float32, and the slope of the sine there, at most 1000, stays small beside the largest float."""


def arcface_logits(cosines: Tensor, targets: Tensor, *, margin: float, scale: float) -> Tensor:
    """Logits (B, C): scale times the cosines (B, C), that of the target at its angle plus margin.

    ArcFace (Deng et al. 2019, equation 3), cos(t + m) = cos t cos m - sin t sin m, with `margin` m
    in radians. Beyond t = pi - m the cosine would rise again; there the target's logit goes on
    falling as cos t - m sin m, as in the authors' code.

    >>> arcface_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), margin=0.0, scale=2.0)
    tensor([[2., 0.]])
    """
    if margin == 0.0:
        return cosines.float() * scale

    def turned(cosine: Tensor) -> Tensor:
        sine = (1.0 - cosine.square()).clamp(min=SMALLEST_SINE**2).sqrt()
        further = cosine * math.cos(margin) - sine * math.sin(margin)
        return torch.where(cosine > -math.cos(margin), further, cosine - margin * math.sin(margin))

    return _with_target(cosines, targets, turned, scale)


def cosface_logits(cosines: Tensor, targets: Tensor, *, margin: float, scale: float) -> Tensor:
    """Logits (B, C): scale times the cosines (B, C), that of the target less the margin.

    CosFace (Wang et al. 2018, equation 4).

    >>> cosface_logits(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), margin=0.25, scale=4.0)
    tensor([[1., 0.]])
    """
    return _with_target(cosines, targets, lambda cosine: cosine - margin, scale)


def margin_cross_entropy(
    cosines: Tensor, targets: Tensor, *, kind: str, margin: float, scale: float
) -> Tensor:
    """The mean cross-entropy () of ArcFace's or CosFace's logits against classes (B,)."""
    logits = {"arcface": arcface_logits, "cosface": cosface_logits}[kind]
    return F.cross_entropy(logits(cosines, targets, margin=margin, scale=scale), targets)


def margin_at(epoch: int, *, margin: float, without: int, ramp: int) -> float:
    """The margin of an epoch (from 1): 0 for the first `without`, then linear over `ramp` epochs.

    A function of the epoch and of nothing else, so that a resumed training has the right one.

    >>> [margin_at(epoch, margin=0.5, without=2, ramp=2) for epoch in (1, 2, 3, 4, 5)]
    [0.0, 0.0, 0.25, 0.5, 0.5]
    >>> margin_at(3, margin=0.5, without=2, ramp=0)
    0.5
    """
    since = epoch - without
    if since <= 0:
        return 0.0
    return margin if since >= ramp else margin * since / ramp


def _with_target(
    cosines: Tensor, targets: Tensor, change: Callable[[Tensor], Tensor], scale: float
) -> Tensor:
    with torch.autocast(cosines.device.type, enabled=False):
        values = cosines.float()
        own = values.gather(1, targets[:, None])
        return values.scatter(1, targets[:, None], change(own)) * scale
