"""The same clustered unit vectors for every contestant, and a watch on memory."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np

_PIECE = 10_000
_PAGE = os.sysconf("SC_PAGE_SIZE")


def clustered(count: int, size: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (count, size) float32 around as many centres as there are classes; labels."""
    centres = np.random.default_rng(0).standard_normal((classes, size), dtype=np.float32)
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    random.shuffle(labels)
    vectors = np.empty((count, size), dtype=np.float32)
    for at in range(0, count, _PIECE):
        part = vectors[at : at + _PIECE]
        part[:] = random.standard_normal(part.shape, dtype=np.float32)
        # About half of the nearest neighbours are of the same class.
        part *= 1.3 * size**0.25 / 2
        part += centres[labels[at : at + _PIECE]]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors, labels


class PeakMemory:
    """Largest resident memory while it is entered, less that before, in MiB: `extra_mib`."""

    def __enter__(self) -> PeakMemory:
        self.before = self.most = _resident()
        self.done = threading.Event()
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.watch.join()
        self.extra_mib = (self.most - self.before) / 2**20

    def _watch(self) -> None:
        while not self.done.is_set():
            self.most = max(self.most, _resident())
            time.sleep(0.005)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
