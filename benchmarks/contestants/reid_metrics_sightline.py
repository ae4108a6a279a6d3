"""CPU seconds, memory and scores of Sightline's re-identification metrics, from distances."""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from reid_problem import distances, market
from retrieval_metrics_vectors import PeakMemory

from sightline.metrics.reid import reid_scores, reid_scores_of_distances
from sightline.metrics.same_camera import camera_rule

_BLOCK = 1024


def main(queries: int, gallery: int, size: int, given: str) -> None:
    """Score from `distances` that are there, or from `vectors`; print a line of JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    asked, held = market(queries, gallery, size)
    table = distances(asked, held) if given == "distances" else None
    with PeakMemory() as memory:
        started = time.process_time(), time.perf_counter()
        protocol = camera_rule(
            asked.labels, held.labels, query_cameras=asked.cameras, gallery_cameras=held.cameras
        )
        if table is None:
            found = reid_scores(asked.vectors, held.vectors, protocol)
        else:
            blocks = (
                (torch.arange(at, min(at + _BLOCK, queries)).numpy(), table[at : at + _BLOCK])
                for at in range(0, queries, _BLOCK)
            )
            found = reid_scores_of_distances(blocks, protocol)
        curve = found.cmc(50)
        seconds, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    report = {
        "value": seconds,
        "wall_seconds": wall,
        "extra_MiB": memory.extra_mib,
        "rank_1": curve[0],
        "rank_10": curve[9],
        "map": found.mean("average_precision"),
        "minp": found.mean("inverse_penalty"),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4])
