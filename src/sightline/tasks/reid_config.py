"""The configuration of re-identification: the embedding, its losses, and how it is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sightline.config.image_size import ImageSize
from sightline.config.section import Section
from sightline.config.sections import EvalConfig
from sightline.data.reid_settings import ReidDataConfig
from sightline.models.reid_model import ReidModelConfig
from sightline.search.settings import IndexSettings
from sightline.tasks.config import PictureTaskConfig
from sightline.tasks.retrieve_config import VoteConfig
from sightline.training.settings import PictureTrainConfig


class IdentityLossConfig(Section):
    """Cross-entropy over the identities of training."""

    weight: float = Field(default=1.0, ge=0)
    """Its share of the whole loss; 0 leaves it out, and the classifier unused."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of each target that is spread over all identities (Szegedy et al. 2016)."""


class TripletLossConfig(Section):
    """Triplets with the hardest examples of a batch (Hermans et al. 2017), before the neck."""

    weight: float = Field(default=1.0, ge=0)
    """Its share of the whole loss; 0 leaves it out."""
    margin: Annotated[float, Field(ge=0)] | Literal["soft"] = 0.3
    """By how much another identity is to be farther than the own one; soft: softplus instead."""


class CenterLossConfig(Section):
    """A centre for each identity that its pictures are drawn to (Wen et al. 2016)."""

    weight: float = Field(default=0.0, ge=0)
    """Its share of the whole loss, 0.0005 in the strong baseline; 0 leaves it out."""
    lr: float = Field(default=0.5, gt=0)
    """Rate of the centres, which plain gradient descent moves whatever the weight is."""


class CircleLossConfig(Section):
    """Circle loss over the pairs of a batch (Sun et al. 2020)."""

    weight: float = Field(default=0.0, ge=0)
    """Its share of the whole loss; 0 leaves it out."""
    margin: float = Field(default=0.25, gt=0, lt=1)
    """How far the cosines of own and other identities may stay from 1 and 0."""
    scale: float = Field(default=64.0, gt=0)
    """Factor of the cosines."""


class ReidLossConfig(Section):
    """The losses; each is logged by itself as train_id, train_triplet, train_center, ..."""

    id: IdentityLossConfig = IdentityLossConfig()
    triplet: TripletLossConfig = TripletLossConfig()
    center: CenterLossConfig = CenterLossConfig()
    circle: CircleLossConfig = CircleLossConfig()

    @property
    def compares_pictures(self) -> bool:
        """Whether a loss needs several pictures of an identity in a batch."""
        return self.triplet.weight > 0 or self.circle.weight > 0

    @model_validator(mode="after")
    def _something_is_learnt(self) -> ReidLossConfig:
        if not (self.id.weight or self.compares_pictures):
            raise ValueError(
                "nothing is learnt: loss.id.weight, loss.triplet.weight and loss.circle.weight "
                "are all 0 (centres alone would fall into one point)"
            )
        return self

    @model_validator(mode="after")
    def _keys_are_used(self) -> ReidLossConfig:
        for name in ("triplet", "center", "circle"):
            part = getattr(self, name)
            for key in sorted(type(part).model_fields.keys() - {"weight"}):
                if not part.weight and part._is_changed(key):
                    raise ValueError(f"{name}.{key} is used only with {name}.weight above 0")
        return self


class ReidSamplerConfig(Section):
    """Which pictures are in a batch."""

    kind: Literal["identities", "shuffled"] = "identities"
    """identities: so many identities with so many pictures of each; shuffled: every picture once
    in each epoch."""
    images_per_identity: int = Field(default=4, ge=2)
    """Pictures of each identity in a batch; one that has fewer shows some again."""

    @model_validator(mode="after")
    def _keys_are_used(self) -> ReidSamplerConfig:
        if self.kind == "shuffled" and self._is_changed("images_per_identity"):
            raise ValueError("images_per_identity is not read with shuffled")
        return self


class ReidTrainConfig(PictureTrainConfig):
    """The `train` section with what only re-identification has."""

    img_size: ImageSize = (256, 128)
    """Height and width the model sees, in pixels; one number is a square."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 64
    """Images in one batch, over all processes together; auto measures which size is fastest."""
    monitor: str | None = "map"
    """Validation metric that chooses the best epoch: map, rank_1, rank_5, rank_10, minp, or with
    eval.rerank.use=always map_reranked and so on; null: the loss over neighbours."""
    backbone_lr_factor: float = Field(default=1.0, gt=0, le=1)
    """The backbone learns at this times `lr`, which is the rate of what starts from nothing."""
    bias_lr_factor: float = Field(default=1.0, gt=0)
    """Every bias learns at this times the rate of its layer; biases are never decayed."""

    @model_validator(mode="after")
    def _scores_are_better_when_higher(self) -> ReidTrainConfig:
        if self.monitor is not None and self.mode == "min":
            raise ValueError(f"mode min would keep the epoch with the worst {self.monitor}")
        if self.layer_decay is not None and self.backbone_lr_factor != 1.0:
            raise ValueError("backbone_lr_factor and layer_decay both set the backbone's rates")
        return self


class RerankConfig(Section):
    """k-reciprocal re-ranking (Zhong et al. 2017); it compares queries with each other too."""

    use: Literal["never", "evaluate", "always"] = "evaluate"
    """evaluate: beside the plain scores wherever a finished run is judged; always: after every
    epoch too."""
    k1: int = Field(default=20, ge=1)
    """Neighbours that may be reciprocal."""
    k2: int = Field(default=6, ge=1)
    """Neighbours whose sets are averaged."""
    lambda_value: float = Field(default=0.3, ge=0, le=1)
    """Share of the original distance in the final one."""

    @model_validator(mode="after")
    def _fewer_are_averaged(self) -> RerankConfig:
        if self.k2 > self.k1:
            raise ValueError(f"k2 {self.k2} must be at most k1 {self.k1}")
        return self


class QueryExpansionConfig(Section):
    """Queries averaged with what they find first (Chum et al. 2007; Radenovic et al. 2018)."""

    k: int = Field(default=0, ge=0)
    """Neighbours that are added to each query; 0: none, the scores are not computed."""
    alpha: float = Field(default=3.0, ge=0)
    """Power of the cosine that weighs each; 0: all alike."""


class ReidEvalConfig(EvalConfig):
    """How queries are judged in their gallery."""

    same_camera: Literal["auto", "filter", "keep"] = "auto"
    """Whether a query sees pictures of its identity by its own camera: filter leaves them out of
    its ranking, keep lets them count; auto filters where every picture has a camera."""
    feature: Literal["after", "before"] = "after"
    """Which feature answers: after the neck or before it. Both are scored."""
    normalize: bool = True
    """Bring features to length one before they are compared."""
    ranks: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 5, 10), min_length=1)
    """Ranks of the CMC curve among the headline scores."""
    rerank: RerankConfig = RerankConfig()
    query_expansion: QueryExpansionConfig = QueryExpansionConfig()


class ReidAnswerConfig(VoteConfig):
    """How `predict` names a new picture."""

    top_k: int | None = Field(default=1, ge=1)
    """Neighbours that vote, each with the inverse of its distance."""
    evidence: int = Field(default=10, ge=1)
    """Neighbours that are written down for each answer, whether they vote or not."""


class ReidConfig(PictureTaskConfig):
    """Re-identification from data to answers."""

    task: Literal["reid"] = "reid"
    """Re-identification: pictures of one identity find each other over cameras or days."""
    data: ReidDataConfig = ReidDataConfig()
    model: ReidModelConfig = ReidModelConfig()
    train: ReidTrainConfig = ReidTrainConfig()
    loss: ReidLossConfig = ReidLossConfig()
    sampler: ReidSamplerConfig = ReidSamplerConfig()
    eval: ReidEvalConfig = ReidEvalConfig()
    answer: ReidAnswerConfig = ReidAnswerConfig()
    index: IndexSettings = IndexSettings()

    @model_validator(mode="after")
    def _parts_agree(self) -> ReidConfig:
        untrained = not self.model.pretrained and self.model.weights is None
        if untrained and self.train.freeze_norm_statistics:
            raise ValueError(
                "train.freeze_norm_statistics keeps the statistics of loaded weights, and "
                "model.pretrained=false loads none"
            )
        if self.sampler.kind == "shuffled" and self.loss.compares_pictures:
            raise ValueError(
                "loss.triplet and loss.circle compare pictures of an identity; shuffled batches "
                "hardly have two of one: set sampler.kind=identities"
            )
        pictures, size = self.sampler.images_per_identity, self.train.batch_size
        if (
            self.sampler.kind == "identities"
            and size != "auto"
            and (size % pictures or size < 2 * pictures)
        ):
            raise ValueError(
                f"train.batch_size {size} is not a number of identities, at least 2, with "
                f"{pictures} pictures each (sampler.images_per_identity); set for example "
                f"train.batch_size={max(2, round(size / pictures)) * pictures}"
            )
        return self

    @model_validator(mode="after")
    def _monitor_is_a_score(self) -> ReidConfig:
        monitor = self.train.monitor
        if monitor is None:
            return self
        if monitor.endswith("_reranked") and self.eval.rerank.use != "always":
            raise ValueError(
                f"train.monitor {monitor} needs re-ranking after every epoch; set "
                "eval.rerank.use=always"
            )
        scores = ["map", "minp", *(f"rank_{rank}" for rank in sorted({1, *self.eval.ranks}))]
        if monitor.removesuffix("_reranked") not in scores:
            raise ValueError(
                f"train.monitor {monitor} is no score of validation; one of {', '.join(scores)}, "
                "or with _reranked after it"
            )
        return self
