"""The problem every trainer contestant solves: a tiny network on batches that are ready in memory.

The network is so small that what is left of a step is the trainer's own work.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn

BATCH_SIZE = 16
WARM_UP = 2_000
CHUNK = 1_000


def tiny_model() -> nn.Sequential:
    """Two linear layers, 32 to 32 to 1."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


class ReadyBatches:
    """Gives the same 64 prebuilt batches over and over and times the steps between two of them.

    The clock is read when a batch is asked for, every CHUNK steps after WARM_UP. What counts is the
    median chunk, so that a moment in which the machine did something else does not; a chunk is
    long enough to hold a refresh of the progress bar.
    """

    def __init__(self, steps: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self._batches = [
            (
                torch.randn(BATCH_SIZE, 32, generator=generator),
                torch.randn(BATCH_SIZE, 1, generator=generator),
            )
            for _ in range(64)
        ]
        self._steps = steps
        self._clock: list[float] = []
        self._processor: list[float] = []

    def __len__(self) -> int:
        return WARM_UP + self._steps + 1

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step in range(len(self)):
            if step >= WARM_UP and (step - WARM_UP) % CHUNK == 0:
                self._clock.append(time.perf_counter())
                self._processor.append(time.process_time())
            yield self._batches[step % 64]

    def report(self, last_loss: float) -> None:
        """Print microseconds per step, and the last loss, which must be the same for everyone."""
        chunks = [(end - start) / CHUNK * 1e6 for start, end in pairwise(self._clock)]
        busy = (self._processor[-1] - self._processor[0]) / (len(chunks) * CHUNK) * 1e6
        report = {
            "value": statistics.median(chunks),
            "mean": statistics.fmean(chunks),
            "processor_time": busy,
            "last_loss": last_loss,
        }
        print(json.dumps(report))
