"""Exact search against Faiss's flat indexes: time, memory, and who is right where they differ."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import numpy.typing as npt

from interleave import PEERS_PYTHON, WORK, Contestant, interleave, needed, ratio, script
from record import Row, save, versions

FOLDER = WORK / "search"
CENTRES = 2000
SPREAD = 1.2
BLOCK = 50_000


def main() -> None:
    """Give both the same vectors, take turns, and compare times and answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=512, help="numbers of each vector")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--memory-mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    needed([PEERS_PYTHON])
    write_problem(options.queries, options.gallery, options.size)
    what = f"{options.k} of {options.gallery} x {options.size}, {options.queries} queries"
    limit, k = str(options.memory_mib), str(options.k)
    rows, details = [], {}
    for metric, index in (("dot", "IndexFlatIP"), ("euclidean", "IndexFlatL2")):
        ours = [sys.executable, script("search_sightline.py"), str(FOLDER), metric, k, limit]
        theirs = [str(PEERS_PYTHON), script("search_faiss.py"), str(FOLDER), metric, k]
        results = interleave(
            [Contestant("sightline", ours), Contestant(index, theirs)],
            rounds=options.rounds,
            cores=1,
            timeout=7200,
        )
        for name, found in results.items():
            per_second = options.queries / found["median"]
            rows.append(Row(f"{name}, {what}", per_second, "queries/s", note=f"{metric}, CPU time"))
        times = ratio(results, index, "sightline")
        rows.append(Row(f"times as fast as {index}", times, "x", 0.9, "at least"))
        extra = results["sightline"]["medians"]["extra_MiB"]
        rows.append(Row(f"memory beside the answer, {metric}", extra, "MiB", options.memory_mib))
        verdict = differences(metric)
        rows.append(Row(f"neighbours that differ, {metric}", verdict["neighbours that differ"], ""))
        wrong = verdict["ranks where ours is not that of float64"]
        rows.append(Row(f"ranks not those of float64, {metric}", wrong, "", note="ours"))
        wrong = verdict["ranks where theirs is not that of float64"]
        rows.append(Row(f"ranks not those of float64, {metric}", wrong, "", note=index))
        details[metric] = results | {"answers": verdict}
    details["peer"] = versions(PEERS_PYTHON, ("faiss-cpu", "numpy"))
    details["threads"] = "one each, on one core"
    save("search", rows, details)
    for row in rows:
        print(f"{row.what}: {row.value:.6g} {row.unit} {row.note}")


def write_problem(queries: int, gallery: int, size: int) -> None:
    """Unit vectors around 2,000 centres, in no order; written a block at a time."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    centres = random.standard_normal((CENTRES, size), dtype=np.float32)
    for name, count in (("gallery", gallery), ("queries", queries)):
        table = np.lib.format.open_memmap(
            FOLDER / f"{name}.npy", mode="w+", dtype=np.float32, shape=(count, size)
        )
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            vectors = centres[random.integers(0, CENTRES, stop - start)]
            vectors += SPREAD * random.standard_normal(vectors.shape, dtype=np.float32)
            table[start:stop] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        table.flush()


def differences(metric: str) -> dict[str, int]:
    """Where the answers differ, and whose neighbours float64 puts in that place.

    The true order is that of the neighbours that either found; of equal ones, the smaller row.
    """
    ours, theirs = (np.load(FOLDER / f"{name}_{metric}.npy") for name in ("sightline", "faiss"))
    gallery = np.load(FOLDER / "gallery.npy", mmap_mode="r")
    queries = np.load(FOLDER / "queries.npy", mmap_mode="r")
    apart = wrong_ours = wrong_theirs = ties = 0
    for query in np.flatnonzero((ours != theirs).any(axis=1)):
        found = np.union1d(ours[query], theirs[query])
        distances = true_distances(queries[query], gallery[found], metric)
        order = np.argsort(distances, kind="stable")
        true = found[order][: ours.shape[1]]
        apart += len(found) - ours.shape[1]
        wrong_ours += int((ours[query] != true).sum())
        wrong_theirs += int((theirs[query] != true).sum())
        ties += int((np.diff(distances[order]) == 0).sum())
    return {
        "ranks": int(ours.size),
        "ranks that differ": int((ours != theirs).sum()),
        "neighbours that differ": apart,
        "ranks where ours is not that of float64": wrong_ours,
        "ranks where theirs is not that of float64": wrong_theirs,
        "exact ties among those": ties,
    }


def true_distances(
    query: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], metric: str
) -> npt.NDArray[np.float64]:
    """Distances (P,) in float64; squared for euclidean."""
    one, others = query.astype(np.float64), vectors.astype(np.float64)
    return -(others @ one) if metric == "dot" else ((others - one) ** 2).sum(axis=1)


if __name__ == "__main__":
    main()
