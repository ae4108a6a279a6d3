"""Runs a function over the files of a manifest, chunk by chunk, in processes or threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Any

from sightline.data.manifest import Manifest
from sightline.errors import DataError

_CHUNK = 256
# Below this many files starting processes costs more than it saves.
_PARALLEL_FROM = 1500


def over_files(
    manifest: Manifest,
    work: Callable[[str, list[str]], Any],
    *,
    workers: int | None,
    processes: bool = True,
) -> Iterator[tuple[int, Any]]:
    """Yield (first row, result of ``work(root, paths)``) for every chunk of rows, in order.

    Work that decodes needs processes, and must be a function of a module so that they can import
    it; work that reads and hashes lets go of the interpreter and is as fast in threads. Few chunks
    are in flight, so memory does not grow with the number of files; with fewer than 2 workers, or
    few files, everything runs in this thread.
    """
    count = len(manifest)
    starts = range(0, count, _CHUNK)
    job = partial(work, str(manifest.root))
    parallel = workers if workers is not None else _processors()
    if parallel < 2 or count < _PARALLEL_FROM:
        for start in starts:
            yield start, job(manifest.path[start : start + _CHUNK].tolist())
        return
    waiting: deque[tuple[int, Future[Any]]] = deque()
    with _pool(parallel, processes=processes) as pool:
        for start in starts:
            if len(waiting) >= 4 * parallel:
                yield _next(waiting)
            names = manifest.path[start : start + _CHUNK].tolist()
            waiting.append((start, pool.submit(job, names)))
        while waiting:
            yield _next(waiting)


def _pool(workers: int, *, processes: bool) -> Executor:
    if not processes:
        return ThreadPoolExecutor(workers)
    # A forked child would inherit the threads of torch in an unknown state.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _next(waiting: deque[tuple[int, Future[Any]]]) -> tuple[int, Any]:
    start, future = waiting.popleft()
    try:
        return start, future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "A process that decodes files ended without an answer.",
            where=f"rows {start} to {start + _CHUNK - 1}",
            remedy="if memory ran out, use fewer workers; in a script of your own, start from "
            "under `if __name__ == '__main__':` or pass workers=1",
        ) from error


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
