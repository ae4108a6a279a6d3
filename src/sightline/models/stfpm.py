"""STFPM: anomalies are where a student fails to imitate its teacher.

Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", 2021. B C H W are
batch, channels, height and width of the images; h and w the size of a layer's map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.models.anomaly_output import AnomalyOutput
from sightline.models.feature_maps import FeatureMaps, create_feature_maps
from sightline.models.settings import BackboneConfig
from sightline.models.weights import WeightsReport

Combine = Literal["multiply", "add"]
LAYERS = ("layer1", "layer2", "layer3")


class Stfpm(nn.Module):
    """A frozen teacher and a student of the same architecture that starts from random weights."""

    def __init__(
        self, teacher: FeatureMaps, student: FeatureMaps, *, combine: Combine = "multiply"
    ) -> None:
        super().__init__()
        if teacher.trainable or not student.trainable:
            raise ValueError("the teacher must be frozen, and the student trainable")
        if teacher.layers != student.layers:
            raise ValueError(f"layers differ: {teacher.layers} and {student.layers}")
        self.teacher = teacher
        self.student = student
        self.combine = combine

    @property
    def weights_report(self) -> WeightsReport | None:
        """What was loaded into the teacher; None after a random start."""
        return self.teacher.weights_report

    @torch.no_grad()
    def teacher_features(self, images: Tensor, colour: Tensor | None = None) -> list[Tensor]:
        """The teacher's maps (B, C, h, w) float32 of uint8 images (B, 3, H, W), one per layer.

        They never change, so those of images that are not augmented can be kept; `colour` as in
        Normalize.
        """
        maps: list[Tensor] = self.teacher(images, colour)
        return maps

    def features(
        self,
        images: Tensor,
        colour: Tensor | None = None,
        *,
        teacher: Sequence[Tensor] | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of teacher and student, as FeatureMatchingLoss takes them.

        `teacher` are kept maps of these very images in the same order (any float type); without
        them the teacher looks at the images too.
        """
        kept = self.teacher_features(images, colour) if teacher is None else list(teacher)
        return kept, self.student(images, colour)

    def forward(self, images: Tensor) -> AnomalyOutput:
        """Scores (B,) and maps (B, H, W) of uint8 images (B, 3, H, W), finite for any image.

        The map of a layer is ½ ‖t̂ - ŝ‖² at each position, up-sampled bilinearly to the image; the
        layers are multiplied (section 3.3 of the paper) or added. The score is the map's maximum.
        """
        teacher, student = self.features(images)
        return self.compare(teacher, student, (int(images.shape[-2]), int(images.shape[-1])))

    def compare(
        self, teacher: Sequence[Tensor], student: Sequence[Tensor], size: tuple[int, int]
    ) -> AnomalyOutput:
        """The same from the maps that `features` returned; `size` is (H, W) of the images."""
        with torch.autocast(teacher[0].device.type, enabled=False):
            layers = [_distances(t, s, size) for t, s in zip(teacher, student, strict=True)]
            maps = layers[0]
            for layer in layers[1:]:
                maps = maps * layer if self.combine == "multiply" else maps + layer
            return AnomalyOutput(score=maps.flatten(1).amax(dim=1), map=maps)


def create_stfpm(
    config: BackboneConfig,
    layers: Sequence[str] = LAYERS,
    *,
    img_size: int,
    combine: Combine = "multiply",
) -> Stfpm:
    """A teacher with the weights of the config, and a student without; see create_feature_maps."""
    teacher = create_feature_maps(config, layers, img_size=img_size)
    blank = {"pretrained": False, "weights": None, "weights_partial": False}
    student = create_feature_maps(
        config.model_copy(update=blank), layers, img_size=img_size, trainable=True
    )
    return Stfpm(teacher, student, combine=combine)


def _distances(teacher: Tensor, student: Tensor, size: tuple[int, int]) -> Tensor:
    """Half the squared distance of unit vectors at each position, (B, H, W) of a size."""
    apart = F.normalize(teacher.float(), dim=1) - F.normalize(student.float(), dim=1)
    halved = 0.5 * apart.square().sum(dim=1, keepdim=True)
    return F.interpolate(halved, size=size, mode="bilinear", align_corners=False).squeeze(1)
