"""CPU seconds, memory and scores of Sightline's retrieval metrics, ranked block by block."""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from retrieval_metrics_vectors import PeakMemory, clustered

from sightline.metrics.retrieval import retrieval_scores


def main(count: int, size: int, classes: int) -> None:
    """Score `count` queries in a gallery of as many; print a line of JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    queries, query_labels = clustered(count, size, classes, seed=1)
    gallery, gallery_labels = clustered(count, size, classes, seed=2)
    given = {"query_labels": query_labels, "gallery_labels": gallery_labels}
    with PeakMemory() as memory:
        started = time.process_time(), time.perf_counter()
        found = retrieval_scores(queries, gallery, **given)
        seconds, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    report = {"value": seconds, "wall_seconds": wall, "extra_MiB": memory.extra_mib}
    print(json.dumps(report | {name: found.mean(name) for name in found.columns()}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
