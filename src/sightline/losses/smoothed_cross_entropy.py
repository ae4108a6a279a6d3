"""Cross-entropy with label smoothing and class weights.

B and C are the number of samples and classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import DataError

ClassWeighting = Literal["none", "balanced", "sqrt"]


class SmoothedCrossEntropy(nn.Module):
    """Mean cross-entropy against targets mixed with the uniform distribution.

    Smoothing e replaces a target t by (1 - e) t + e / C (Szegedy et al., "Rethinking the Inception
    Architecture", section 7, 2016). With class weights w the sum over samples is divided by the sum
    of each sample's own weight, w[t] or w · t, and not by B: so soft targets that are one-hot give
    the loss of the hard ones, and multiplying all weights by a number changes nothing.

    >>> loss = SmoothedCrossEntropy()
    >>> round(loss(torch.zeros(1, 4), torch.tensor([2])).item(), 4)  # ln 4
    1.3863
    """

    class_weights: Tensor | None

    def __init__(self, smoothing: float = 0.0, class_weights: Tensor | None = None) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is a fraction in 0..1, below 1; got {smoothing}")
        self.smoothing = smoothing
        weights = None if class_weights is None else class_weights.detach().float()
        self.register_buffer("class_weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a float32 scalar, also under autocast.

        `logits` (B, C); `targets` int64 class numbers (B,), or probabilities (B, C) whose rows sum
        to 1. An empty batch gives NaN.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            if targets.ndim == 1:
                return F.cross_entropy(
                    logits, targets, weight=self.class_weights, label_smoothing=self.smoothing
                )
            targets = targets.float()
            total = F.cross_entropy(
                logits,
                targets,
                weight=self.class_weights,
                label_smoothing=self.smoothing,
                reduction="sum",
            )
            weights = self.class_weights
            return total / (targets.sum() if weights is None else (targets @ weights).sum())


def class_weights(counts: Sequence[int], scheme: ClassWeighting = "balanced") -> Tensor:
    """Weights (C,) float32 of the classes from their number of training samples.

    `balanced` is n / (C count), so that each class has the same total weight (King and Zeng,
    "Logistic Regression in Rare Events Data", section 4, 2001, for any number of classes);
    `sqrt` is its square root, halfway on a log scale; `none` is ones. DataError for a class
    without samples.

    >>> class_weights([30, 10]).tolist()
    [0.6666666865348816, 2.0]
    """
    empty = [index for index, count in enumerate(counts) if count < 1]
    if empty:
        raise DataError(
            "A class has no training sample, so it can have no weight.",
            expected="at least one sample of each class",
            got=f"none of class number {', '.join(map(str, empty))} (counted from 0)",
            remedy="add samples, remove the class, or make another split",
        )
    number = torch.tensor(counts, dtype=torch.float64)
    balanced = number.sum() / (len(counts) * number)
    chosen = {"none": torch.ones_like(number), "balanced": balanced, "sqrt": balanced.sqrt()}
    return chosen[scheme].float()
