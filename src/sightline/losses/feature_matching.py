"""The loss of a student that imitates the feature maps of a teacher.

B C H W are batch, channels, height and width of a layer's map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FeatureMatchingLoss(nn.Module):
    """Half the squared distance of unit vectors, mean over positions, summed over layers.

    With t̂ and ŝ the vectors of teacher and student at a position, L2-normalised along the channels,
    the loss of a layer is 1 / (H W) Σ ½ ‖t̂ - ŝ‖², and layers have weight 1 (Wang et al.,
    "Student-Teacher Feature Pyramid Matching for Anomaly Detection", equations 1 to 3, 2021); the
    mean is over the images of the batch too. For vectors that are not zero it is 1 - cos, so it
    lies in 0..2 for each layer. A zero vector stays zero, so its loss is finite.

    >>> t, s = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 5.0])
    >>> FeatureMatchingLoss()([t.view(1, 2, 1, 1)], [s.view(1, 2, 1, 1)]).item()
    1.0
    """

    def forward(self, teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
        """The mean loss, a float32 scalar, also under autocast.

        Both are lists of maps (B, C, H, W), one for each layer; ValueError when their lengths or
        shapes differ. The gradient goes to the student only. An empty batch gives NaN.
        """
        if not teacher or [one.shape for one in teacher] != [one.shape for one in student]:
            shapes = [[tuple(one.shape) for one in maps] for maps in (teacher, student)]
            raise ValueError(f"expected one or more maps of equal shapes, got {shapes}")
        with torch.autocast(teacher[0].device.type, enabled=False):
            losses = [_layer_loss(t, s) for t, s in zip(teacher, student, strict=True)]
        return torch.stack(losses).sum()


def _layer_loss(teacher: Tensor, student: Tensor) -> Tensor:
    unit_teacher = F.normalize(teacher.detach().float(), dim=1)
    unit_student = F.normalize(student.float(), dim=1)
    return 0.5 * (unit_teacher - unit_student).square().sum(dim=1).mean()
