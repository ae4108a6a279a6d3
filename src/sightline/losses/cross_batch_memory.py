"""Embeddings of earlier batches, as further examples for losses that compare pictures.

D M are embedding size and the size of the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NOBODY = -1


class CrossBatchMemory(nn.Module):
    """The last M embeddings with their labels (Wang et al., Cross-batch memory, 2020).

    They are buffers, so a checkpoint holds them and a resumed training goes on with the same ones.
    Embeddings drift as the model learns; the paper therefore begins to use them after a warm-up.
    """

    embeddings: Tensor
    labels: Tensor
    written: Tensor

    def __init__(self, size: int, embedding_dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, embedding_dim))
        self.register_buffer("labels", torch.full((size,), NOBODY, dtype=torch.int64))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def recall(self) -> tuple[Tensor, Tensor] | None:
        """Embeddings (F, D) and labels (F,) of what was remembered so far; None of nothing."""
        filled = min(int(self.written), len(self.labels))
        return (self.embeddings[:filled], self.labels[:filled]) if filled else None

    def remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """Take in a batch (B, D) with labels (B,), in the place of the oldest ones."""
        size = len(self.labels)
        embeddings, labels = embeddings.detach()[-size:], labels[-size:]
        start = int(self.written)
        places = torch.arange(start, start + len(labels), device=self.labels.device) % size
        self.embeddings[places] = embeddings.to(self.embeddings.dtype)
        self.labels[places] = labels
        self.written += len(labels)
