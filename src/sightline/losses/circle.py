"""The circle loss over the pairs of a batch.

B D are batch and embedding size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHORTEST = 1e-6
"""An embedding none of whose numbers is larger has no direction, and gets no gradient."""


def circle_loss(
    embeddings: Tensor, labels: Tensor, *, margin: float = 0.25, scale: float = 64.0
) -> Tensor:
    """The mean loss () over the anchors (B, D) that have both a positive and a negative.

    Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", equations 5
    to 9, 2020: with cosines s, margin m and scale γ, the softplus of logsumexp over the negatives
    of γ [s + m]₊ (s - m) plus logsumexp over the positives of -γ [1 + m - s]₊ (s - 1 + m). The
    factors in [ ]₊ are weights and get no gradient. `embeddings` may have any length; labels (B,).
    Zero, with zero gradients, where no anchor has both. In float32 whatever autocast says.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        values = embeddings.float()
        units = _directions(values)
        cosines = units @ units.T
        same = labels[:, None] == labels[None, :]
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive, negative = same & ~itself, ~same
        usable = positive.any(1) & negative.any(1)
        if not usable.any():
            return values.sum() * 0.0
        fixed = cosines.detach()
        pull = -scale * F.relu(1.0 + margin - fixed) * (cosines - (1.0 - margin))
        push = scale * F.relu(fixed + margin) * (cosines - margin)
        pulls = pull.masked_fill(~positive, -torch.inf)[usable].logsumexp(1)
        pushes = push.masked_fill(~negative, -torch.inf)[usable].logsumexp(1)
        return F.softplus(pulls + pushes).mean()


def _directions(vectors: Tensor) -> Tensor:
    """The rows (B, D) at length one, or zeros for a row without direction."""
    largest = vectors.detach().abs().amax(1, keepdim=True)
    has_direction = largest > SHORTEST
    # Length cancels, so what is divided out first needs no gradient; without it squares overflow.
    scaled = vectors * has_direction / torch.where(has_direction, largest, 1.0)
    squares = scaled.square().sum(1, keepdim=True)
    return scaled / torch.where(has_direction, squares, 1.0).sqrt()
