"""The root of every task's configuration: the sections all tasks share."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from sightline.config.image_size import size_of
from sightline.config.section import Section
from sightline.config.sections import EvalConfig, ProjectConfig, TrackingConfig
from sightline.data.presets import augmentation
from sightline.data.sample_settings import SampleDataConfig
from sightline.data.settings import DataConfig
from sightline.errors import UsageError
from sightline.models.settings import BackboneConfig, NamedModelConfig
from sightline.training.settings import OutputConfig, PictureTrainConfig, TrainConfig


class TaskConfig(Section):
    """A whole configuration; a task adds its name, its own sections and its own defaults."""

    task: str
    """Which of the five jobs this is."""
    project: ProjectConfig = ProjectConfig()
    data: SampleDataConfig
    model: NamedModelConfig
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    output: OutputConfig = OutputConfig()
    tracking: TrackingConfig = TrackingConfig()


class PictureTaskConfig(TaskConfig):
    """A whole configuration of a task whose samples are pictures."""

    data: DataConfig = DataConfig()
    model: BackboneConfig = BackboneConfig()
    train: PictureTrainConfig = PictureTrainConfig()

    @model_validator(mode="after")
    def _turns_have_a_square(self) -> Self:
        size = size_of(self.train.img_size)
        if augmentation(self.data.augment).quarter_turns and not size.is_square:
            raise ValueError(
                "data.augment.quarter_turns turns pictures by 90 degrees, which needs a square "
                f"train.img_size, got {size.setting}; set data.augment.quarter_turns to 0"
            )
        return self


def of_pictures(config: TaskConfig) -> PictureTaskConfig:
    """The configuration of a task whose samples are pictures; UsageError for any other."""
    if isinstance(config, PictureTaskConfig):
        return config
    raise UsageError(
        "This is for tasks whose samples are pictures.",
        got=f"task {config.task}, whose samples are vectors",
        remedy="see `sightline list` for other runs, `sightline recipes` for other tasks",
    )
