"""Seconds and memory of FastReID's k-reciprocal re-ranking, the dense method of its authors.

The products that it wants are counted too. It wants distances and squares them.
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import torch
from reid_metrics_fastreid import evaluation
from reid_problem import market
from retrieval_metrics_vectors import PeakMemory


def main(queries: int, gallery: int, size: int, kept: str) -> None:
    """Re-rank, and keep the distances in the file `kept` where it is named; print JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    re_ranking = evaluation("rerank").re_ranking
    asked, held = (torch.from_numpy(side.vectors) for side in market(queries, gallery, size))
    with PeakMemory() as memory:
        started = time.process_time(), time.perf_counter()
        found = re_ranking(_apart(asked, held), _apart(asked, asked), _apart(held, held))
        seconds, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    if kept:
        np.save(kept, found)
    report = {"value": seconds, "wall_seconds": wall, "extra_MiB": memory.extra_mib}
    print(json.dumps(report | {"mean_distance": float(found.mean(dtype=np.float64))}))


def _apart(rows: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    """Euclidean distances, computed in place."""
    squares = torch.addmm(others.square().sum(dim=1), rows, others.T, alpha=-2)
    squares += rows.square().sum(dim=1, keepdim=True)
    return squares.clamp_(min=0).sqrt_().numpy()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4])
