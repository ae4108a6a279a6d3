"""The root of every task's configuration: the sections all tasks share."""

from __future__ import annotations

from sightline.config.section import Section
from sightline.config.sections import EvalConfig, ProjectConfig, Tracking
from sightline.data.settings import DataConfig
from sightline.models.settings import BackboneConfig
from sightline.training.settings import OutputConfig, TrainConfig


class TaskConfig(Section):
    """A whole configuration; a task adds its name, its own sections and its own defaults."""

    task: str
    """Which of the five jobs this is."""
    project: ProjectConfig = ProjectConfig()
    data: DataConfig = DataConfig()
    model: BackboneConfig = BackboneConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    output: OutputConfig = OutputConfig()
    tracking: Tracking = ("jsonl",)
    """Where metrics go; metrics.jsonl in the run folder is always written."""
