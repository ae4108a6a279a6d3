"""CPU seconds, memory and scores of the whole table of scores, sorted at once with PyTorch.

How evaluation scripts commonly do it: one matrix product, argsort, a table of matches, cumulative
sums.
"""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from retrieval_metrics_vectors import PeakMemory, clustered


def main(count: int, size: int, classes: int) -> None:
    """Score `count` queries in a gallery of as many; print a line of JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    queries, query_labels = map(torch.from_numpy, clustered(count, size, classes, seed=1))
    gallery, gallery_labels = map(torch.from_numpy, clustered(count, size, classes, seed=2))
    with PeakMemory() as memory:
        started = time.process_time(), time.perf_counter()
        order = (queries @ gallery.T).argsort(dim=1, descending=True)
        matches = gallery_labels[order] == query_labels[:, None]
        precision = matches.cumsum(dim=1) / torch.arange(1, count + 1)
        relevant = matches.sum(dim=1)
        within = torch.arange(count) < relevant[:, None]
        found = {
            "recall_at_1": matches[:, 0].double(),
            "recall_at_5": matches[:, :5].any(dim=1).double(),
            "ap_at_r": (precision * (matches & within)).sum(dim=1) / relevant,
            "r_precision": (matches & within).sum(dim=1) / relevant,
            "reciprocal_rank": 1 / (matches.int().argmax(dim=1) + 1),
            "average_precision": (precision * matches).sum(dim=1) / relevant,
        }
        seconds, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    report = {"value": seconds, "wall_seconds": wall, "extra_MiB": memory.extra_mib}
    print(json.dumps(report | {name: float(one.double().mean()) for name, one in found.items()}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
