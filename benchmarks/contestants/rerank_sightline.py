"""Seconds and memory of Sightline's k-reciprocal re-ranking; the distances go to a file."""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import torch
from reid_problem import market
from retrieval_metrics_vectors import PeakMemory

from sightline.metrics.reranking import rerank


def main(queries: int, gallery: int, size: int, kept: str) -> None:
    """Re-rank, and keep the distances in the file `kept` where it is named; print JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    asked, held = market(queries, gallery, size)
    found = []
    with PeakMemory() as memory:
        started = time.process_time(), time.perf_counter()
        total = 0.0
        for _, distances in rerank(asked.vectors, held.vectors):
            total += float(distances.sum(dtype=np.float64))
            if kept:
                found.append(distances)
        seconds, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    if kept:
        np.save(kept, np.concatenate(found))
    report = {"value": seconds, "wall_seconds": wall, "extra_MiB": memory.extra_mib}
    print(json.dumps(report | {"mean_distance": total / queries / gallery}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4])
