"""The samples of a run, whatever they are: found or read again, opened, and cut into batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sightline.data.dataset import Dataset, open_images, prepare_dataset
from sightline.data.images import Images
from sightline.data.loading import ImageLoader, Shard, default_workers
from sightline.data.manifest import Manifest
from sightline.data.presets import augmentation
from sightline.data.settings import DataConfig
from sightline.data.splits_file import read_splits, write_splits
from sightline.data.tta import TestView
from sightline.data.vector_loading import VectorLoader
from sightline.data.vector_samples import (
    VectorRows,
    divide_rows,
    open_table,
    read_row_splits,
    write_row_splits,
)
from sightline.data.vector_settings import VectorDataConfig
from sightline.experiment.recording import first_says
from sightline.runs import RunFolder
from sightline.tasks import TASKS
from sightline.tasks.config import TaskConfig, of_pictures
from sightline.training.runtime import cache_folder, process

SPLITS_FILE = "splits.csv"

Samples = Images | VectorRows
"""What batches are made of; both have a `manifest`, a length, and `select`."""
Loader = ImageLoader | VectorLoader


def find_samples(config: TaskConfig) -> Dataset:
    """The samples that the `data` section names, divided; errors as of what reads them."""
    data, seed = config.data, config.project.seed
    if isinstance(data, VectorDataConfig):
        manifest, notes = divide_rows(data, seed=seed, cache_dir=cache_folder())
        return Dataset(manifest, notes=tuple(notes))
    assert isinstance(data, DataConfig)
    return prepare_dataset(data, seed=seed)


def save_samples(dataset: Dataset, config: TaskConfig, target: Path) -> None:
    """Write the samples and their splits into a run, with what tells whether files change."""
    if isinstance(config.data, VectorDataConfig):
        write_row_splits(dataset.manifest, target)
    else:
        write_splits(dataset.manifest, target, hashes=dataset.hashes)


def read_dataset(run: RunFolder, config: TaskConfig) -> Dataset:
    """The samples and splits of a run, as it saved them; changed files are a DataError."""
    file, data = run.path / SPLITS_FILE, config.data
    if isinstance(data, VectorDataConfig):
        return Dataset(read_row_splits(file, verify=data.verify_files))
    workers = of_pictures(config).data.workers
    return Dataset(read_splits(file, verify=data.verify_files, workers=workers))


def open_samples(manifest: Manifest, config: TaskConfig) -> tuple[Samples, set[str]]:
    """The content of some samples, and the ids left out as unreadable."""
    data = config.data
    if isinstance(data, VectorDataConfig):
        return VectorRows(
            manifest, open_table(data, cache_dir=cache_folder()), data.normalize
        ), set()
    return images_of(manifest, config)


def images_of(manifest: Manifest, config: TaskConfig) -> tuple[Images, set[str]]:
    """The images of some samples, decoded, and the ids left out as unreadable."""
    pictures = of_pictures(config)
    return open_images(
        manifest,
        pictures.data,
        size=pictures.train.img_size,
        cache_dir=pictures.data.cache_dir or cache_folder(),
        say=first_says("DATA"),
    )


def loader_for(
    samples: Samples,
    config: TaskConfig,
    *,
    device: torch.device,
    training: bool,
    view: TestView | None = None,
) -> Loader:
    """Batches for fitting (augmented, as the task plans) or for evaluation (one test view)."""
    if isinstance(samples, VectorRows):
        return VectorLoader(
            samples,
            batch_size=_batch_size(config, training=training),
            training=training,
            seed=config.project.seed,
            shard=_shard(),
        )
    return picture_loader(samples, config, device=device, training=training, view=view)


def picture_loader(
    images: Images,
    config: TaskConfig,
    *,
    device: torch.device,
    training: bool,
    view: TestView | None = None,
) -> ImageLoader:
    """The same where samples are pictures."""
    pictures, on_gpu, seed = of_pictures(config), device.type == "cuda", config.project.seed
    data = pictures.data
    if (workers := data.workers) is None:
        workers = default_workers(cached=images.store is not None, on_gpu=on_gpu)
    shown: Callable[..., Any] | None = view
    if not training and (view is None or view.name == "original"):
        shown = data.evaluation_view(seed) or view
    return ImageLoader(
        images,
        size=pictures.train.img_size,
        batch_size=_batch_size(config, training=training),
        fit=data.fit,
        augment=augmentation(data.augment) if training else None,
        epochs=config.train.epochs,
        view=shown,
        seed=seed,
        workers=workers,
        shard=_shard(),
        pin_memory=on_gpu,
        plan=TASKS[config.task].batch_plan(images.manifest, config) if training else None,
    )


def _batch_size(config: TaskConfig, *, training: bool) -> int:
    size = config.train.samples_per_batch
    return size if training else config.eval.batch_size or size


def _shard() -> Shard:
    here = process()
    return Shard(here.rank, here.count)
