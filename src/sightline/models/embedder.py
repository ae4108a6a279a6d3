"""The embedder: byte images in, vectors of length one out.

B C D H W are batch, channels, embedding size, height and width.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sightline.config.image_size import ImageSize
from sightline.models.backbones import Backbone, create_backbone
from sightline.models.cosine_head import CosineHead
from sightline.models.normalize import Normalize
from sightline.models.settings import ModelConfig
from sightline.models.unit_vectors import unit_vectors
from sightline.models.weights import WeightsReport


class EmbedderConfig(ModelConfig):
    """Which backbone turns a picture into a vector, and how long that is."""

    embedding_dim: int | None = Field(default=512, ge=2)
    """Numbers in an embedding; null: the backbone's own features, without a projection."""


class Neck(nn.BatchNorm1d):
    """BatchNorm of the embeddings, whose statistics never come with weights.

    So it keeps learning them where `train.freeze_norm_statistics` keeps the backbone's.
    """

    starts_fresh = True


class Embedder(nn.Module):
    """Normalisation, backbone, projection, BatchNorm and length one; for margin losses a head."""

    def __init__(
        self, backbone: Backbone, embedding_dim: int | None, head: CosineHead | None = None
    ) -> None:
        super().__init__()
        self.normalize = Normalize(backbone.input_mean, backbone.input_std)
        self.backbone = backbone.module
        self.dropout: nn.Module = nn.Identity()
        self.projection: nn.Module = nn.Identity()
        self.neck: nn.Module = nn.Identity()
        if embedding_dim is not None:
            self.projection = nn.Linear(backbone.embedding_dim, embedding_dim, bias=False)
            # It begins by keeping angles, so that pretrained features are of use at once.
            nn.init.orthogonal_(self.projection.weight)
            self.neck = Neck(embedding_dim)
        self.head = head
        self.embedding_dim = embedding_dim or backbone.embedding_dim
        self.weights_report: WeightsReport | None = backbone.weights

    def forward(self, images: Tensor, colour: Tensor | None = None) -> Tensor:
        """Unit embeddings (B, D) float32 of uint8 images (B, 3, H, W); `colour` as in Normalize."""
        features = self.dropout(self.backbone(self.normalize(images, colour)))
        return unit_vectors(self.neck(self.projection(features)))


def create_embedder(
    config: EmbedderConfig,
    *,
    classes: int,
    sub_centers: int = 1,
    img_size: ImageSize | None = None,
) -> Embedder:
    """An embedder with a head for some classes (0: no head); errors as of create_backbone."""
    backbone = create_backbone(config, img_size=img_size)
    width = config.embedding_dim or backbone.embedding_dim
    head = CosineHead(width, classes, sub_centers=sub_centers) if classes else None
    embedder = Embedder(backbone, config.embedding_dim, head)
    if config.drop_rate:
        embedder.dropout = nn.Dropout(config.drop_rate)
    return embedder
