"""The configuration of an image classifier."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sightline.config.image_size import size_of
from sightline.config.sections import InferConfig
from sightline.data.tta import needs_square
from sightline.models.settings import ModelConfig
from sightline.tasks.config import PictureTaskConfig
from sightline.training.settings import PictureTrainConfig


class ClassifyTrainConfig(PictureTrainConfig):
    """The `train` section with what only classification has."""

    monitor: Literal["macro_f1", "accuracy"] | None = "macro_f1"
    """Validation metric that chooses the best epoch: macro_f1, accuracy, or null for the loss."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target given to all classes alike (Szegedy et al. 2016)."""
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    """Weigh classes by the inverse of their size, its square root, or not."""
    mixup: float = Field(default=0.0, ge=0)
    """Alpha of mixup: blend each image and its label with another's (Zhang et al. 2018); 0: off."""
    cutmix: float = Field(default=0.0, ge=0)
    """Alpha of CutMix: put a square of another image into each (Yun et al. 2019); 0: off."""
    mix_probability: float = Field(default=1.0, gt=0, le=1)
    """Share of the batches that are mixed; with mixup and cutmix each half of these."""

    @model_validator(mode="after")
    def _mixing_is_used(self) -> ClassifyTrainConfig:
        if self.mix_probability != 1.0 and not (self.mixup or self.cutmix):
            raise ValueError("mix_probability is used only with mixup or cutmix, as in mixup=0.2")
        return self

    @model_validator(mode="after")
    def _scores_are_better_when_higher(self) -> ClassifyTrainConfig:
        if self.monitor is not None and self.mode == "min":
            raise ValueError(f"mode min would keep the epoch with the worst {self.monitor}")
        return self


class ClassifyConfig(PictureTaskConfig):
    """A classification run from data to evaluation."""

    task: Literal["classify"] = "classify"
    """Image classification."""
    model: ModelConfig = ModelConfig()
    train: ClassifyTrainConfig = ClassifyTrainConfig()
    infer: InferConfig = InferConfig()

    @model_validator(mode="after")
    def _frozen_statistics_exist(self) -> ClassifyConfig:
        untrained = not self.model.pretrained and self.model.weights is None
        if untrained and self.train.freeze_norm_statistics:
            raise ValueError(
                "train.freeze_norm_statistics keeps the statistics of loaded weights, and "
                "model.pretrained=false loads none"
            )
        return self

    @model_validator(mode="after")
    def _test_views_have_a_square(self) -> ClassifyConfig:
        size = size_of(self.train.img_size)
        if not size.is_square and needs_square(self.infer.tta):
            raise ValueError(
                f"infer.tta {self.infer.tta} turns pictures by 90 degrees, which needs a square "
                f"train.img_size, got {size.setting}; set infer.tta to flip"
            )
        return self
