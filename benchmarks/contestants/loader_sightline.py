"""Images per second of Sightline's loader: the first epoch with an empty cache, or later ones.

Both count normalised float32 batches (B, 3, 224, 224), augmented with the preset `basic`.
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
from sightline.data.readers import read_manifest
from sightline.data.settings import DataConfig
from sightline.data.views import augmentation
from sightline.models.normalize import Normalize

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


def main(folder: str, which: str) -> None:
    """Read three epochs with a fresh cache; report the first, or the best of the later ones."""
    torch.set_num_threads(1)
    normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    speeds, without_normalising = [], []
    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as cache:
        started, images, normalising = time.perf_counter(), 0, 0.0
        loader = training_loader(Path(folder), Path(cache))
        for epoch in (1, 2, 3):
            for batch in loader.batches(epoch):
                came = time.perf_counter()
                values = normalize(batch.images, batch.colour)
                normalising += time.perf_counter() - came
                images += len(values)
            seconds = time.perf_counter() - started
            speeds.append(images / seconds)
            without_normalising.append(images / (seconds - normalising))
            started, images, normalising = time.perf_counter(), 0, 0.0
    value = speeds[0] if which == "first" else max(speeds[1:])
    shape = list(values.shape[1:])
    report = {
        "value": value,
        "epochs": speeds,
        "epochs_of_uint8": without_normalising,
        "shape": shape,
        "dtype": str(values.dtype),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
