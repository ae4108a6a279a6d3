"""What a model of anomalies answers for a batch of images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class AnomalyOutput(NamedTuple):
    """Scores and maps of a batch; higher is more anomalous."""

    score: Tensor
    """One number for each image, (B,) float32."""
    map: Tensor
    """One number for each pixel of the model's input, (B, H, W) float32."""
