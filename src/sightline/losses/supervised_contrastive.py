"""The supervised contrastive loss.

B D M are batch, embedding size and embeddings remembered from earlier batches.
"""

from __future__ import annotations

import torch
from torch import Tensor


def supervised_contrastive(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.1,
    memory: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The mean loss () over the unit anchors (B, D) that have a positive.

    L_out of Khosla et al. 2020, equation 2: minus the mean log-probability of an anchor's
    positives among everything but itself. Candidates are the batch and, where given, a `memory` of
    embeddings (M, D) and labels (M,). Zero, with zero gradients, where no anchor has a positive. In
    float32 whatever autocast says.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        anchors = embeddings.float()
        others, theirs = anchors, labels
        if memory is not None:
            others = torch.cat([anchors, memory[0].float()])
            theirs = torch.cat([labels, memory[1]])
        itself = torch.eye(len(anchors), len(others), dtype=torch.bool, device=anchors.device)
        logits = (anchors @ others.T / temperature).masked_fill(itself, -torch.inf)
        positive = (labels[:, None] == theirs[None, :]) & ~itself
        counts = positive.sum(1)
        usable = counts > 0
        if not usable.any():
            return anchors.sum() * 0.0
        log_probabilities = (logits - logits.logsumexp(1, keepdim=True)).masked_fill(~positive, 0.0)
        return -(log_probabilities.sum(1)[usable] / counts[usable]).mean()
