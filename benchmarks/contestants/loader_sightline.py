"""Images per second of Sightline's loader: the first epoch with an empty cache, or later ones.

`bytes` counts uint8 batches (B, 3, 224, 224) augmented with the preset `basic`, as they go to the
device; `floats` counts them normalised, with their colours changed, on the CPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from sightline.data.dataset import open_images
from sightline.data.loading import ImageLoader, default_workers
from sightline.data.presets import augmentation
from sightline.data.readers import read_manifest
from sightline.data.settings import DataConfig
from sightline.models.normalize import Normalize
from sightline.training.runtime import keep_freed_memory

BATCH_SIZE = 32
SIDE = 224


def training_loader(folder: Path, cache: Path) -> ImageLoader:
    """Sightline's training loader over a folder per class; its images are decoded into `cache`.

    The only part of this script that knows how a loader is made.
    """
    config = DataConfig(root=folder, cache="on")
    images, _left_out = open_images(
        read_manifest(config), config, size=SIDE, cache_dir=cache, say=lambda sentence: None
    )
    return ImageLoader(
        images,
        size=SIDE,
        batch_size=BATCH_SIZE,
        augment=augmentation(config.augment),
        workers=default_workers(cached=True, on_gpu=False),
    )


def main(folder: str, which: str, kind: str) -> None:
    """Read three epochs with a fresh cache; report the first, or the best of the later ones."""
    torch.set_num_threads(1)
    keep_freed_memory(torch.device("cpu"))  # as the commands do
    normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    speeds = []
    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as cache:
        started, images = time.perf_counter(), 0
        loader = training_loader(Path(folder), Path(cache))
        for epoch in (1, 2, 3):
            for batch in loader.batches(epoch):
                values = batch.images
                if kind == "floats":
                    values = normalize(batch.images, batch.colour)
                images += len(values)
            speeds.append(images / (time.perf_counter() - started))
            started, images = time.perf_counter(), 0
    value = speeds[0] if which == "first" else max(speeds[1:])
    shape, dtype = list(values.shape[1:]), str(values.dtype)
    print(json.dumps({"value": value, "epochs": speeds, "shape": shape, "dtype": dtype}))


if __name__ == "__main__":
    main(*sys.argv[1:])
