"""The classifier: byte images in, logits out.

B C H W D are batch, classes (channels for images), height, width and embedding size.
"""

from __future__ import annotations

from torch import Tensor, nn

from sightline.config.image_size import ImageSize
from sightline.errors import ConfigError
from sightline.models.backbones import Backbone, create_backbone
from sightline.models.heads import LinearHead
from sightline.models.mixing import mixed
from sightline.models.normalize import Normalize
from sightline.models.settings import ModelConfig
from sightline.models.weights import WeightsReport


class Classifier(nn.Module):
    """Normalisation, backbone, dropout and a linear head, in this order."""

    def __init__(self, backbone: Backbone, classes: int, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.normalize = Normalize(backbone.input_mean, backbone.input_std)
        self.backbone = backbone.module
        self.dropout = nn.Dropout(drop_rate)
        self.head = LinearHead(backbone.embedding_dim, classes)
        self.embedding_dim = backbone.embedding_dim
        self.weights_report: WeightsReport | None = backbone.weights

    def forward(
        self, images: Tensor, colour: Tensor | None = None, mix: Tensor | None = None
    ) -> Tensor:
        """Logits (B, C) of uint8 images (B, 3, H, W); `colour` as in Normalize.

        With `mix` (H, W) every image is mixed with another of the batch after normalisation; see
        models/mixing.
        """
        logits: Tensor = self.head(self.dropout(self.embed(images, colour, mix)))
        return logits

    def embed(
        self, images: Tensor, colour: Tensor | None = None, mix: Tensor | None = None
    ) -> Tensor:
        """Embeddings (B, D) of uint8 images (B, 3, H, W), before dropout and head."""
        values = self.normalize(images, colour)
        if mix is not None:
            values = mixed(values, mix)
        embeddings: Tensor = self.backbone(values)
        return embeddings


def create_classifier(
    config: ModelConfig, classes: int, *, img_size: ImageSize | None = None
) -> Classifier:
    """A classifier for a number of classes; errors are those of create_backbone."""
    if classes < 2:
        raise ConfigError(
            "A classifier needs two classes at least.", expected="2 or more", got=classes
        )
    backbone = create_backbone(config, img_size=img_size)
    return Classifier(backbone, classes, drop_rate=config.drop_rate)
