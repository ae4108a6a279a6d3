"""The configuration of an anomaly detector: its data, its method, its threshold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sightline.config.section import Section
from sightline.config.sections import EvalConfig
from sightline.data.defect_settings import AnomalyDataConfig
from sightline.models.settings import BackboneConfig
from sightline.tasks.config import PictureTaskConfig
from sightline.training.settings import PictureTrainConfig

Method = Literal["stfpm", "patchcore"]
Budget = Annotated[float, Field(gt=0, lt=1)]

LAYERS: dict[Method, tuple[str, ...]] = {
    "stfpm": ("layer1", "layer2", "layer3"),
    "patchcore": ("layer2", "layer3"),
}
"""The layers of a ResNet that each paper uses."""

_ONLY = {
    "map_combination": "stfpm",
    "coreset_ratio": "patchcore",
    "neighbours": "patchcore",
    "memory_mib": "patchcore",
    "blur_sigma": "patchcore",
}
_COMPUTED_READS = {
    *("device", "img_size", "batch_size", "epochs", "amp", "precision", "channels_last"),
    *("deterministic", "log_interval", "monitor", "mode"),
}
"""Keys of `train` that mean something where nothing is trained."""


class AnomalyModelConfig(BackboneConfig):
    """Which method looks for anomalies, in the features of which backbone."""

    method: Method = "patchcore"
    """patchcore compares with remembered patches of normal pictures (Roth et al. 2022); stfpm
    trains a student to imitate the backbone on them (Wang et al. 2021)."""
    layers: tuple[str, ...] = ()
    """Layers of the backbone that are looked at, the finest first; empty: those of the paper."""
    map_combination: Literal["multiply", "add"] = "multiply"
    """How stfpm makes one heat map of its layers' maps."""
    coreset_ratio: float = Field(default=0.1, gt=0, le=1)
    """Share of the patches that patchcore remembers, spread over all of them."""
    neighbours: int = Field(default=9, ge=1)
    """Remembered patches around the nearest one by which patchcore weighs a score; 1: not."""
    memory_mib: int = Field(default=4096, ge=16)
    """Most memory for the patches patchcore chooses from; beyond it a random part of them."""
    blur_sigma: float = Field(default=4.0, ge=0)
    """Deviation in pixels of the Gaussian that smooths patchcore's heat map; 0: none."""

    @property
    def used_layers(self) -> tuple[str, ...]:
        """The layers that are looked at."""
        return self.layers or LAYERS[self.method]

    @model_validator(mode="after")
    def _method_reads_its_keys(self) -> AnomalyModelConfig:
        for key, method in _ONLY.items():
            changed = getattr(self, key) != type(self).model_fields[key].default
            if changed and self.method != method:
                raise ValueError(f"{key} is used only with method {method}, not {self.method}")
        return self


class AnomalyTrainConfig(PictureTrainConfig):
    """The `train` section with what only anomaly detection has."""

    img_size: int = Field(default=224, ge=8)
    """Side of the square the model sees, in pixels."""
    monitor: Literal["image_auroc"] | None = None
    """Validation metric that chooses the best epoch, where validation has defects; null: the
    loss on normal pictures."""
    epochs: int = Field(default=0, ge=0)
    """Passes over the training pictures; patchcore has none."""
    teacher_cache_mib: int = Field(default=2048, ge=0)
    """Most memory for the teacher's features of training pictures that are never augmented, so
    that they are computed once; 0: compute them in each epoch."""

    @model_validator(mode="after")
    def _scores_are_better_when_higher(self) -> AnomalyTrainConfig:
        if self.monitor is not None and self.mode == "min":
            raise ValueError(f"mode min would keep the epoch with the worst {self.monitor}")
        return self


class AnomalyEvalConfig(EvalConfig):
    """How a split is judged, and what validation is."""

    protocol: Literal["holdout", "published"] = "holdout"
    """holdout: normal pictures held out of training choose the epoch and set the threshold;
    published: train on all of them, take the last epoch, and have no threshold, as papers do."""
    aupro_limit: float = Field(default=0.3, gt=0, le=1)
    """Largest false positive rate of pixels that AUPRO looks at."""
    pixels: bool = True
    """Compute pixel scores where there are masks."""
    examples: int = Field(default=8, ge=0)
    """Heat maps kept of each kind: misses, false alarms, hits."""


class ThresholdConfig(Section):
    """When a picture is called anomalous."""

    method: Literal["conformal", "f1", "fixed"] = "conformal"
    """conformal: a budget of false alarms, from normal pictures alone, with a guarantee; f1: the
    best F1 on validation, which must have defects; fixed: `value`."""
    false_alarm_budget: Budget = 0.05
    """Share of normal pictures that may raise an alarm."""
    pixel_budget: Budget | None = None
    """Mean share of a normal picture's pixels above the pixel threshold; null: as the pictures'."""
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probability, over the choice of the normal pictures, that the budget is kept for good; null:
    it is kept on average over that choice."""
    value: float | None = None
    """The threshold of method fixed."""

    @model_validator(mode="after")
    def _method_reads_its_keys(self) -> ThresholdConfig:
        readers = {"false_alarm_budget": "conformal", "confidence": "conformal", "value": "fixed"}
        for key, method in readers.items():
            changed = getattr(self, key) != type(self).model_fields[key].default
            if changed and self.method != method:
                raise ValueError(f"{key} is used only with method {method}, not {self.method}")
        if self.method == "fixed" and self.value is None:
            raise ValueError("method fixed needs a value, for example value=0.5")
        return self


class AnomalyConfig(PictureTaskConfig):
    """An anomaly detector from data to evaluation."""

    task: Literal["anomaly"] = "anomaly"
    """Anomaly detection."""
    data: AnomalyDataConfig = AnomalyDataConfig()
    model: AnomalyModelConfig = AnomalyModelConfig()
    train: AnomalyTrainConfig = AnomalyTrainConfig()
    eval: AnomalyEvalConfig = AnomalyEvalConfig()
    threshold: ThresholdConfig = ThresholdConfig()

    @model_validator(mode="after")
    def _published_holds_nothing_out(self) -> AnomalyConfig:
        default = type(self.data).model_fields["val_fraction"].default
        if self.eval.protocol == "published" and self.data.val_fraction == default:
            # The one way to change a frozen section; what is saved then says what ran.
            data = self.data.model_copy(update={"val_fraction": 0.0})
            object.__setattr__(self, "data", data)
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> AnomalyConfig:
        data, train = self.data, self.train
        if self.eval.protocol == "published" and data.val_fraction:
            raise ValueError(
                "eval.protocol published holds nothing out of training, and data.val_fraction is "
                f"{data.val_fraction:g}; leave it out, or use protocol holdout"
            )
        if train.compile:
            raise ValueError("train.compile is not read in anomaly detection; leave it out")
        if self.model.method == "patchcore":
            if train.epochs:
                raise ValueError(
                    "patchcore is computed and not trained; train.epochs is 0 for it, "
                    f"got {train.epochs}"
                )
            if train.batch_size == "auto":
                raise ValueError("batch_size auto measures training steps, and patchcore has none")
            unread = [
                key
                for key, field in type(train).model_fields.items()
                if key not in _COMPUTED_READS and getattr(train, key) != field.default
            ]
            if unread:
                raise ValueError(f"train.{unread[0]} is not read with method patchcore")
        return self
