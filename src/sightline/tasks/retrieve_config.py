"""The configuration of retrieval: an embedding, its loss, the gallery, and when to ask again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sightline.config.section import Section
from sightline.config.sections import EvalConfig
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.models.embedder import EmbedderConfig
from sightline.search.settings import IndexSettings
from sightline.tasks.config import PictureTaskConfig
from sightline.training.settings import PictureTrainConfig

Loss = Literal["arcface", "cosface", "triplet", "supcon"]
WITH_HEAD: tuple[Loss, ...] = ("arcface", "cosface")
"""Losses that learn a centre for each class."""
_READ_BY: dict[str, tuple[Loss, ...]] = {
    "scale": WITH_HEAD,
    "sub_centers": WITH_HEAD,
    "margin": ("arcface", "cosface", "triplet"),
    "ramp_epochs": WITH_HEAD,
    "temperature": ("supcon",),
    "memory": ("triplet", "supcon"),
}
_MARGINS = {"arcface": 0.5, "cosface": 0.35, "triplet": 0.3}
PAIRED_PICTURES = 4
"""Pictures of each class in a batch of a loss that compares pictures, where nothing is said."""
FEW_CLASSES = 10
"""Below it a wide margin has little room, and the recipe arcface-small is recommended."""


class MetricLossConfig(Section):
    """What pulls pictures of a class together and others apart."""

    kind: Loss = "arcface"
    """arcface (Deng et al. 2019), cosface (Wang et al. 2018), triplet with the hardest examples of
    a batch (Hermans et al. 2017), or supcon (Khosla et al. 2020)."""
    scale: float = Field(default=64.0, gt=0)
    """Factor of the cosines of arcface and cosface, 30 to 64."""
    margin: Annotated[float, Field(ge=0)] | Literal["soft"] | None = None
    """arcface: radians, 0.3 to 0.5; cosface: of the cosine; triplet: of the distance, or soft.
    Null: 0.5, 0.35 and 0.3."""
    ramp_epochs: int = Field(default=0, ge=0)
    """Epochs over which the margin grows to its value, after those with a frozen backbone."""
    sub_centers: int = Field(default=1, ge=1)
    """Centres of each class; 3 tolerate wrong labels (Deng et al. 2020)."""
    temperature: float = Field(default=0.1, gt=0)
    """Divisor of supcon's cosines."""
    memory: int = Field(default=0, ge=0)
    """Embeddings of earlier batches that triplet and supcon compare with too (Wang et al. 2020)."""

    @property
    def used_margin(self) -> float | None:
        """The margin as a number; None for the soft margin of triplet, and for supcon."""
        if self.margin is None:
            return _MARGINS.get(self.kind)
        return None if self.margin == "soft" else self.margin

    @model_validator(mode="after")
    def _kind_reads_its_keys(self) -> MetricLossConfig:
        for key, kinds in _READ_BY.items():
            changed = getattr(self, key) != type(self).model_fields[key].default
            if changed and self.kind not in kinds:
                raise ValueError(
                    f"{key} is used only with loss {' or '.join(kinds)}, and kind is {self.kind}"
                )
        if self.margin == "soft" and self.kind != "triplet":
            raise ValueError(f"a soft margin is for triplet, and kind is {self.kind}")
        return self


class SamplerConfig(Section):
    """Which pictures are in a batch: so many classes, so many pictures of each."""

    kind: Literal["balanced", "shuffled"] = "balanced"
    """balanced: every class as often as any other; shuffled: every picture once in each epoch."""
    classes_per_batch: int | None = Field(default=None, ge=2)
    """Classes in a batch; null: as many as train.batch_size has room for, at most all."""
    samples_per_class: int | None = Field(default=None, ge=1)
    """Pictures of each class in a batch, of different objects where it has them. Null: as many as
    fill train.batch_size with all classes, at least 1 for arcface and cosface, which compare with
    centres, and at least 4 for triplet and supcon, which compare pictures."""


class RetrieveTrainConfig(PictureTrainConfig):
    """The `train` section with what only retrieval has."""

    monitor: Literal["recall_at_1", "map_at_r"] | None = "recall_at_1"
    """Validation metric that chooses the best epoch; null: the loss over neighbours."""
    frozen_epochs: int = Field(default=5, ge=0)
    """First epochs, in which the backbone rests (in eval mode) and the margin is 0."""
    backbone_lr_factor: float = Field(default=1.0, gt=0, le=1)
    """The backbone learns at this times `lr`, which is the rate of what starts from nothing."""

    @model_validator(mode="after")
    def _one_rule_for_rates(self) -> RetrieveTrainConfig:
        if self.layer_decay is not None and self.backbone_lr_factor != 1.0:
            raise ValueError("backbone_lr_factor and layer_decay both set the backbone's rates")
        return self

    @model_validator(mode="after")
    def _scores_are_better_when_higher(self) -> RetrieveTrainConfig:
        if self.monitor is not None and self.mode == "min":
            raise ValueError(f"mode min would keep the epoch with the worst {self.monitor}")
        if self.epochs and self.frozen_epochs >= self.epochs:
            raise ValueError(
                f"frozen_epochs {self.frozen_epochs} leaves none of {self.epochs} epochs for the "
                f"backbone; lower it, as in train.frozen_epochs={self.epochs // 10}"
            )
        return self


class RetrieveEvalConfig(EvalConfig):
    """What queries are compared with, and how that is judged."""

    recall_k: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 5), min_length=1)
    """The K of each recall: whether one of the K nearest is of the query's class."""
    gallery: Literal["train", "train+val"] = "train"
    """What test queries and new pictures are compared with. Validation is compared with train; and
    a split whose classes training never saw, with its own other pictures."""
    leave_out: Literal["object", "picture"] = "object"
    """Where a split is its own gallery, what of it a query does not see: all pictures of its
    object, or only itself."""


class VoteConfig(Section):
    """How a picture is named after its neighbours."""

    top_k: int | None = Field(default=None, ge=1)
    """Neighbours that vote, each with the inverse of its distance; fewer where the gallery is
    smaller. Null: as many pictures as half of the gallery's classes have, at most 20, since more
    would outvote small classes."""
    evidence: int = Field(default=5, ge=1)
    """Neighbours that are written down for each answer, whether they vote or not."""


class AnswerConfig(VoteConfig):
    """How a picture is named after its neighbours, and when another photo is asked for."""

    error_rate: float = Field(default=0.05, gt=0, lt=1)
    """Share of the accepted answers that may be wrong; thresholds on distance, margin and
    concentration are fitted for it on validation."""
    false_accept_rate: float | None = Field(default=None, gt=0, lt=1)
    """Share of pictures of unknown classes that may be accepted, measured on validation with each
    query's class taken out of the gallery; null: reported and not limited."""


class RetrieveConfig(PictureTaskConfig):
    """Retrieval from data to answers."""

    task: Literal["retrieve"] = "retrieve"
    """Retrieval: a picture is named after its nearest neighbours in a gallery."""
    data: RetrievalDataConfig = RetrievalDataConfig()
    model: EmbedderConfig = EmbedderConfig()
    train: RetrieveTrainConfig = RetrieveTrainConfig()
    loss: MetricLossConfig = MetricLossConfig()
    sampler: SamplerConfig = SamplerConfig()
    eval: RetrieveEvalConfig = RetrieveEvalConfig()
    answer: AnswerConfig = AnswerConfig()
    index: IndexSettings = IndexSettings()

    @model_validator(mode="after")
    def _parts_agree(self) -> RetrieveConfig:
        train, sampler = self.train, self.sampler
        untrained = not self.model.pretrained and self.model.weights is None
        if untrained and train.freeze_norm_statistics:
            raise ValueError(
                "train.freeze_norm_statistics keeps the statistics of loaded weights, and "
                "model.pretrained=false loads none"
            )
        if train.frozen_epochs and self.loss.kind not in WITH_HEAD and not self.model.embedding_dim:
            raise ValueError(
                f"with loss {self.loss.kind} and model.embedding_dim null nothing is to be trained "
                "beside the backbone; set train.frozen_epochs=0"
            )
        classes, pictures = sampler.classes_per_batch, sampler.samples_per_class
        if sampler.kind == "shuffled" and (classes or pictures):
            raise ValueError("classes_per_batch and samples_per_class are not read with shuffled")
        if sampler.kind == "shuffled" and self.loss.kind not in WITH_HEAD:
            raise ValueError(
                f"loss {self.loss.kind} compares pictures of a class; shuffled batches hardly "
                "have two of one: set sampler.kind=balanced"
            )
        if classes is not None and pictures is None:
            raise ValueError("sampler.classes_per_batch is used only with samples_per_class")
        if classes is not None and pictures is not None and train.batch_size != classes * pictures:
            raise ValueError(
                f"sampler.classes_per_batch x samples_per_class is {classes * pictures} pictures "
                f"in a batch, and train.batch_size is {train.batch_size}; set "
                f"train.batch_size={classes * pictures}, or leave out classes_per_batch"
            )
        least = pictures or (1 if self.loss.kind in WITH_HEAD else PAIRED_PICTURES)
        if train.batch_size != "auto" and train.batch_size < 2 * least:
            raise ValueError(
                f"train.batch_size {train.batch_size} has no room for two classes of "
                f"{least} pictures each"
            )
        if self.loss.kind not in WITH_HEAD and pictures == 1:
            raise ValueError(
                f"loss {self.loss.kind} compares pictures of a class, so "
                "sampler.samples_per_class must be at least 2"
            )
        return self
