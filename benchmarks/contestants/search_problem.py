"""What both search contestants are given, and how their time and memory are measured.

A folder holds queries.npy and gallery.npy, unit vectors in float32.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, which a busy machine does not lengthen, and the result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


@contextmanager
def extra_memory() -> Iterator[list[float]]:
    """The most MiB by which memory of this process grew in the block, looked at 50 times a second.

    Pages of mapped files do not count.
    """
    before, peak, done = _anonymous(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], _anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def report(value: float, **others: float) -> None:
    """Print the line that is read by the benchmark."""
    print(json.dumps({"value": value, **others}))


def _anonymous() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("no RssAnon in /proc/self/status")
