"""PatchCore as a graph for any number of images.

B C H W are batch, channels, height and width; P patches of an image, D their vectors' size, M the
vectors of the memory bank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.models.anomaly_output import AnomalyOutput
from sightline.models.patchcore import PatchCore

_CHUNK = 2048
"""Vectors of the bank that all patches of a batch are compared with at once."""


class PatchCoreGraph(nn.Module):
    """Answers as PatchCore.forward does, in steps whose number the batch does not change.

    PatchCore divides the patches of a batch into blocks to bound its memory, and a graph cannot
    hold a loop whose length is a matter of the batch. Here only the bank is divided, whose size is
    known; an image takes the memory of P x 2048 numbers.
    """

    def __init__(self, model: PatchCore) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> AnomalyOutput:
        """Scores (B,) and maps (B, H, W) of uint8 images (B, 3, H, W)."""
        vectors, (height, width) = self.model.patches(images)
        bank, flat = self.model.memory_bank, vectors.flatten(0, 1)
        numbers = _nearest(flat, bank)
        distances = (flat - bank[numbers]).square().sum(dim=1).sqrt()
        distances = distances.reshape(-1, height * width)
        scores = self._scores(vectors, distances, numbers.reshape(-1, height * width))
        coarse = distances.reshape(-1, 1, height, width)
        maps = F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return AnomalyOutput(score=scores, map=self.model.blur(maps.squeeze(1)))

    def _scores(self, vectors: Tensor, distances: Tensor, numbers: Tensor) -> Tensor:
        """The largest distance of each image, weighted by equation 7 as PatchCore does."""
        bank = self.model.memory_bank
        largest, patch = distances.max(dim=1, keepdim=True)
        count = min(self.model.neighbours, len(bank))
        if count == 1:
            return largest.squeeze(1)
        farthest = vectors.gather(1, patch[:, :, None].expand(-1, -1, vectors.shape[2]))
        owner = bank[numbers.gather(1, patch).squeeze(1)]
        support = _halves(bank)[None] - owner @ bank.T
        chosen = support.topk(count, dim=1, largest=False).indices
        apart = (farthest - bank[chosen]).square().sum(dim=2).sqrt()
        largest = largest.squeeze(1)
        return largest * (1 - torch.exp(largest - torch.logsumexp(apart, dim=1)))


def _nearest(queries: Tensor, bank: Tensor) -> Tensor:
    """Number (Q,) of the vector b nearest to each query q: the one with the least ½‖b‖² - q·b.

    Among equally near ones the lowest, as in models/neighbours.
    """
    halves = _halves(bank)
    values, numbers = [], []
    for start in range(0, len(bank), _CHUNK):
        part = slice(start, start + _CHUNK)
        least = (halves[part][None] - queries @ bank[part].T).min(dim=1)
        values.append(least.values)
        numbers.append(least.indices + start)
    first = torch.stack(values).argmin(dim=0, keepdim=True)
    return torch.stack(numbers).gather(0, first).squeeze(0)


def _halves(bank: Tensor) -> Tensor:
    return bank.square().sum(dim=1) * 0.5
