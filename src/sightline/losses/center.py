"""The centre loss: each class has a centre, and its embeddings are drawn to it.

B C D are batch, classes and embedding size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST, MOST = 1e-12, 1e12
"""Squared distances are held in between; outside, one has no gradient."""


class CenterLoss(nn.Module):
    """The mean squared Euclidean distance between embeddings and their own classes' centres.

    Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", equation 2,
    2016, without its factor ½ and divided by the batch size, as the strong baseline of
    re-identification has it (Luo et al., "Bag of Tricks", 2019). The centres are parameters: an
    optimizer of their own moves them by their gradient, where the paper has a rule (equation 4).

    >>> loss = CenterLoss(2, 2)
    >>> _ = loss.centers.data.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> loss(torch.tensor([[3.0, 4.0], [1.0, 2.0]]), torch.tensor([0, 1])).item()
    13.0
    """

    def __init__(self, classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(classes, embedding_dim))
        """One centre (D,) for each class, (C, D); they start as a standard normal draw."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a float32 scalar, also under autocast.

        `embeddings` (B, D) are those before a BatchNorm neck; `labels` int64 class numbers (B,).
        Each squared distance is clamped to 1e-12..1e12. An empty batch gives NaN.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            apart = embeddings.float() - self.centers.float()[labels]
            return apart.square().sum(dim=1).clamp(min=LEAST, max=MOST).mean()

    def rescale_gradient(self, weight: float) -> None:
        """Divide the centres' gradient by the weight that this loss has in the whole loss.

        Between backward and the step of the centres' optimizer, once for each step: the centres
        then move at their own learning rate, whatever the weight. ValueError for a weight of 0.
        """
        if not weight > 0:
            raise ValueError(f"the weight of the loss is a number above 0; got {weight}")
        if self.centers.grad is not None:
            self.centers.grad /= weight
