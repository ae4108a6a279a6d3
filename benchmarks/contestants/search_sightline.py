"""Sightline's exact search: seconds of processor time and memory for all queries."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from search_problem import extra_memory, report, seconds

from sightline.search import nearest


def main(folder: Path, metric: str, k: int, memory_mib: int) -> None:
    """Search, save the rows and print a line of JSON."""
    queries, gallery = np.load(folder / "queries.npy"), np.load(folder / "gallery.npy")
    nearest(queries[:64], gallery[:20_000], k, metric=metric)
    with extra_memory() as peak:
        spent, found = seconds(
            lambda: nearest(queries, gallery, k, metric=metric, memory_mib=memory_mib)
        )
    np.save(folder / f"sightline_{metric}.npy", found.rows)
    answer_mib = (found.rows.nbytes + found.distances.nbytes) / 2**20
    report(spent, queries=len(queries), gallery=len(gallery), extra_MiB=peak[0] - answer_mib)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
