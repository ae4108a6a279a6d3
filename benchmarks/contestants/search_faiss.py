"""Faiss's flat index: seconds of processor time and memory for all queries."""

from __future__ import annotations

import sys
from pathlib import Path

import faiss
import numpy as np
from search_problem import extra_memory, report, seconds

INDEXES = {"dot": faiss.IndexFlatIP, "euclidean": faiss.IndexFlatL2}


def main(folder: Path, metric: str, k: int) -> None:
    """Search, save the rows and print a line of JSON; adding to the index is not timed."""
    queries, gallery = np.load(folder / "queries.npy"), np.load(folder / "gallery.npy")
    index = INDEXES[metric](gallery.shape[1])
    index.add(gallery)
    index.search(queries[:64], k)
    with extra_memory() as peak:
        spent, (distances, rows) = seconds(lambda: index.search(queries, k))
    np.save(folder / f"faiss_{metric}.npy", rows)
    answer_mib = (rows.nbytes + distances.nbytes) / 2**20
    report(spent, queries=len(queries), gallery=len(gallery), extra_MiB=peak[0] - answer_mib)


if __name__ == "__main__":
    faiss.omp_set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
