"""The head of margin losses: how near an embedding is to each class's centres.

B C D S are batch, classes, embedding size and centres of each class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sightline.models.unit_vectors import unit_vectors


class CosineHead(nn.Module):
    """Cosines between embeddings and the learnt centres of every class.

    With several centres a class's cosine is that of its nearest one (Deng et al., Sub-center
    ArcFace, 2020, equation 4), which lets pictures with wrong labels gather around another.
    """

    def __init__(self, embedding_dim: int, classes: int, *, sub_centers: int = 1) -> None:
        super().__init__()
        self.classes, self.sub_centers = classes, sub_centers
        self.weight = nn.Parameter(torch.empty(classes * sub_centers, embedding_dim))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Cosines (B, C) float32 of unit embeddings (B, D), whatever autocast says."""
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = embeddings.float() @ unit_vectors(self.weight).T
            if self.sub_centers > 1:
                cosines = cosines.view(len(cosines), self.classes, self.sub_centers).amax(-1)
            return cosines
