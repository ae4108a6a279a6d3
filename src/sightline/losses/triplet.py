"""The triplet loss with the hardest examples of a batch.

B D M are batch, embedding size and embeddings remembered from earlier batches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NEAREST = 1e-6
"""The least distance; a root has no slope at 0, and two pictures may have the same embedding."""


def batch_hard_triplet(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float | None = 0.3,
    memory: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The mean loss () over the anchors (B, D) that have both a positive and a negative.

    For each anchor the farthest picture of its class and the nearest of another one, by Euclidean
    distance (Hermans, Beyer and Leibe 2017, equation 5); without a margin the softplus of their
    difference takes the hinge's place (section 2 there). Candidates are the batch and, where given,
    a `memory` of embeddings (M, D) and labels (M,). Zero, with zero gradients, where no anchor has
    both. In float32 whatever autocast says.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        anchors = embeddings.float()
        others, theirs = anchors, labels
        if memory is not None:
            others = torch.cat([anchors, memory[0].float()])
            theirs = torch.cat([labels, memory[1]])
        distances = euclidean_distances(anchors, others)
        same = labels[:, None] == theirs[None, :]
        itself = torch.eye(len(anchors), len(others), dtype=torch.bool, device=anchors.device)
        positive, negative = same & ~itself, ~same
        usable = positive.any(1) & negative.any(1)
        if not usable.any():
            return anchors.sum() * 0.0
        farthest = distances.masked_fill(~positive, -torch.inf).amax(1)[usable]
        nearest = distances.masked_fill(~negative, torch.inf).amin(1)[usable]
        gap = farthest - nearest
        return (F.softplus(gap) if margin is None else F.relu(gap + margin)).mean()


def euclidean_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """Distances (B, M) between rows (B, D) and columns (M, D), at least NEAREST."""
    squares = rows.square().sum(1)[:, None] + columns.square().sum(1)[None, :]
    return (squares - 2 * rows @ columns.T).clamp(min=NEAREST**2).sqrt()
