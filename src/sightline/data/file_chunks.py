"""Runs a function over the files of a manifest, chunk by chunk, in processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

from sightline.data.manifest import Manifest

_CHUNK = 256
# Below this many files starting processes costs more than it saves.
_PARALLEL_FROM = 1500


def over_files(
    manifest: Manifest, work: Callable[[str, list[str]], Any], *, workers: int | None
) -> Iterator[tuple[int, Any]]:
    """Yield (first row, result of ``work(root, paths)``) for every chunk of rows, in order.

    ``work`` must be a function of a module, so that a new process can import it. Few chunks are in
    flight, so memory does not grow with the number of files; with fewer than 2 workers, or few
    files, everything runs in this process.
    """
    count = len(manifest)
    starts = range(0, count, _CHUNK)
    job = partial(work, str(manifest.root))
    processes = workers if workers is not None else _processors()
    if processes < 2 or count < _PARALLEL_FROM:
        for start in starts:
            yield start, job(manifest.path[start : start + _CHUNK].tolist())
        return
    waiting: deque[tuple[int, Any]] = deque()
    # A forked child would inherit the threads of torch in an unknown state.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for start in starts:
            if len(waiting) >= 4 * processes:
                first, future = waiting.popleft()
                yield first, future.result()
            names = manifest.path[start : start + _CHUNK].tolist()
            waiting.append((start, pool.submit(job, names)))
        for first, future in waiting:
            yield first, future.result()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
