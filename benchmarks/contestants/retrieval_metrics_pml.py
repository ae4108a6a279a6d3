"""CPU seconds, memory and scores of pytorch-metric-learning's AccuracyCalculator."""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from retrieval_metrics_vectors import PeakMemory, clustered


def main(count: int, size: int, classes: int) -> None:
    """Score `count` queries in a gallery of as many; print a line of JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    queries, query_labels = map(torch.from_numpy, clustered(count, size, classes, seed=1))
    gallery, gallery_labels = map(torch.from_numpy, clustered(count, size, classes, seed=2))
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=names, k="max_bin_count")
    with PeakMemory() as memory:
        started = time.process_time(), time.perf_counter()
        found = calculator.get_accuracy(queries, query_labels, gallery, gallery_labels)
        seconds, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    report = {
        "value": seconds,
        "wall_seconds": wall,
        "extra_MiB": memory.extra_mib,
        "recall_at_1": found["precision_at_1"],
        "ap_at_r": found["mean_average_precision_at_r"],
        "r_precision": found["r_precision"],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
