"""The jobs Sightline does, one file each; TASKS names them all."""

from __future__ import annotations

from sightline.tasks.anomaly import AnomalyTask
from sightline.tasks.classification import ClassificationTask
from sightline.tasks.compression import CompressionTask
from sightline.tasks.reid import ReidTask
from sightline.tasks.retrieval import RetrievalTask
from sightline.tasks.task import Task

TASKS: dict[str, Task] = {
    "anomaly": AnomalyTask(),
    "classify": ClassificationTask(),
    "compress": CompressionTask(),
    "reid": ReidTask(),
    "retrieve": RetrievalTask(),
}
"""Every task by the name its configurations use."""
