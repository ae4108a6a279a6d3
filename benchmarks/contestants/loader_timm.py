"""Images per second of timm's create_loader with its defaults for training, best of three epochs.

timm keeps no cache, so each epoch decodes again; the best one leaves out the start of its worker.
`bytes` counts uint8 batches as its workers hand them over, `floats` those that its prefetcher has
normalised on the CPU.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from timm.data import create_dataset, create_loader

BATCH_SIZE = 32


def main(folder: str, kind: str) -> None:
    """Read the folder three times and report the fastest epoch."""
    torch.set_num_threads(1)
    loader = create_loader(
        create_dataset("", folder),
        input_size=224,
        batch_size=BATCH_SIZE,
        is_training=True,
        device=torch.device("cpu"),
    )
    # A PrefetchLoader around the DataLoader moves and normalises; on a GPU that is the GPU's work.
    source = loader.loader if kind == "bytes" else loader
    speeds = []
    for _ in range(3):
        started, images = time.perf_counter(), 0
        for batch, _labels in source:
            images += len(batch)
            shape, dtype = list(batch.shape[1:]), str(batch.dtype)
        speeds.append(images / (time.perf_counter() - started))
    print(json.dumps({"value": max(speeds), "epochs": speeds, "shape": shape, "dtype": dtype}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
