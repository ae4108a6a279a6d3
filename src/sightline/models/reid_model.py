"""The model of re-identification: byte images in, features before and after a BatchNorm neck.

B C D H W are batch, channels, embedding size, height and width.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sightline.config.image_size import ImageSize
from sightline.errors import ConfigError
from sightline.models.backbones import Backbone, create_backbone
from sightline.models.embedder import Neck
from sightline.models.last_stride import set_last_stride
from sightline.models.normalize import Normalize
from sightline.models.settings import ModelConfig
from sightline.models.unit_vectors import unit_vectors
from sightline.models.weights import WeightsReport

Feature = Literal["after", "before"]


class ReidModelConfig(ModelConfig):
    """Which backbone turns a picture into a vector, and what stands behind it."""

    name: str = "resnet50"
    """Backbone name as timm knows it, with or without a weights tag, or one with IBN-a, such as
    resnet50_ibn_a."""
    last_stride: Literal[1, 2] | None = 1
    """Stride of the last stage; 1 doubles the sides of the last map, with the same weights and
    more arithmetic (Luo et al. 2019); 2 or null: as the backbone is."""
    neck: Literal["bnneck", "none"] = "bnneck"
    """What stands between the features and the classifier: a BatchNorm without shift, so that the
    triplet loss sees what is before it and the classifier what is after it; or nothing."""


class ReidFeatures(NamedTuple):
    """Features of a batch on both sides of the neck; the same tensor where there is none."""

    before: Tensor
    """(B, D) float32, for losses that compare distances."""
    after: Tensor
    """(B, D) float32, for the classifier."""


class BNNeck(Neck):
    """BatchNorm whose shift stays 0, so that the classes lie around the origin.

    Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", section
    3.6, 2019.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.bias.requires_grad_(False)


class IdentityClassifier(nn.Linear):
    """One linear layer with weights N(0, 0.001²) and bias 0, where it has one."""

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.weight, std=0.001)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ReidModel(nn.Module):
    """Normalisation, backbone, neck and a classifier of the training identities."""

    feature: Feature = "after"
    """Which features answer for a picture."""
    unit_length: bool = True
    """Whether what answers is divided by its length."""

    def __init__(self, backbone: Backbone, identities: int, *, config: ReidModelConfig) -> None:
        super().__init__()
        self.normalize = Normalize(backbone.input_mean, backbone.input_std)
        self.backbone = backbone.module
        self.dropout = nn.Dropout(config.drop_rate)
        self.embedding_dim = backbone.embedding_dim
        has_neck = config.neck == "bnneck"
        self.neck: nn.Module = BNNeck(self.embedding_dim) if has_neck else nn.Identity()
        self.classifier = IdentityClassifier(self.embedding_dim, identities, bias=not has_neck)
        self.weights_report: WeightsReport | None = backbone.weights

    def features(self, images: Tensor, colour: Tensor | None = None) -> ReidFeatures:
        """Features, not of length one, of uint8 images (B, 3, H, W); `colour` as in Normalize.

        In training mode the neck needs two images or more.
        """
        features = self.backbone(self.normalize(images, colour))
        with torch.autocast(features.device.type, enabled=False):
            before = features.float()
            return ReidFeatures(before, self.neck(before))

    def logits(self, after: Tensor) -> Tensor:
        """Logits (B, identities) of features after the neck (B, D), with dropout in training."""
        logits: Tensor = self.classifier(self.dropout(after))
        return logits

    def answer(self, features: ReidFeatures) -> Tensor:
        """What answers, (B, D): one of the features, of length one if so set."""
        chosen = features.after if self.feature == "after" else features.before
        return unit_vectors(chosen) if self.unit_length else chosen

    def forward(
        self, images: Tensor, colour: Tensor | None = None, *, learning: bool = False
    ) -> Tensor | tuple[ReidFeatures, Tensor]:
        """What answers for uint8 images (B, 3, H, W): (B, D) float32, of length one if so set.

        With `learning` what losses need instead: the features on both sides of the neck, and the
        logits (B, identities). Training too goes through here, because this is what is compiled.
        """
        features = self.features(images, colour)
        return (features, self.logits(features.after)) if learning else self.answer(features)


def create_reid_model(
    config: ReidModelConfig,
    *,
    identities: int,
    feature: Feature = "after",
    unit_length: bool = True,
    img_size: ImageSize | None = None,
) -> ReidModel:
    """A model for some training identities; errors as of create_backbone and set_last_stride."""
    if identities < 2:
        raise ConfigError(
            "Re-identification needs two identities at least to train on.",
            expected="2 or more",
            got=identities,
        )
    backbone = create_backbone(config, img_size=img_size)
    set_last_stride(backbone.module, config.last_stride, name=config.name, size=img_size or 224)
    model = ReidModel(backbone, identities, config=config)
    model.feature, model.unit_length = feature, unit_length
    return model
