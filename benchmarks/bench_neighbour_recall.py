"""Time, memory and agreement of recall@10 between a space and its projection.

100,000 vectors of 1,024 numbers, float32, and 128 random projections of them: each vector asks for
its 10 nearest among all the others in both. Beside faiss.IndexFlatL2 and blocks of torch.cdist on
the first 10,000 queries, and float64 brute force on 1,000. The groups of equal rows that compress
makes first are timed at 1,000,000 x 64 against numpy.unique. Expected: eight minutes, 2 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interleave import HERE, Contestant, interleave, ratio
from record import RESULTS, Row, machine, save, versions

sys.path.append(str(HERE / "contestants"))
from retrieval_metrics_vectors import PeakMemory

from sightline.data.vector_rows import duplicate_groups
from sightline.metrics.distance_blocks import Space
from sightline.tasks.neighbour_judging import judge_neighbours

K, CLUSTERS, RANK, SHORT, PIECE = 10, 1000, 64, 128, 10_000
SAMPLE, EQUAL, UNLIKE = 1000, 1e-6, 1e-9
REPEATED_ROWS, REPEATED_NUMBERS = 1_000_000, 64
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")


def main() -> None:
    """Measure in turn and save what was found, or be a contestant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--numbers", type=int, default=1024)
    parser.add_argument("--queries", type=int, default=10_000, help="those that the peers ask")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--contestant", nargs=2, metavar=("METHOD", "FILE"))
    options = parser.parse_args()
    if options.contestant:
        measure(options, *options.contestant)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Run all contestants and write the results."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        found = {}
        for names, queries, rounds in (
            (("all", "sample"), options.rows, 1),
            (("ours", "faiss", "cdist"), options.queries, options.rounds),
            (("digests", "unique"), 0, 3),
        ):
            some = [_contestant(options, name, kept, queries) for name in names]
            found |= interleave(some, rounds=rounds, cores=2)
        answers = {path.stem: np.load(path) for path in kept.glob("*.npy")}
    rows = _rows(options, found) + _agreement(answers)
    save("neighbour_recall", rows, found | {"peers": versions(packages=("faiss-cpu", "torch"))})
    _write_table(rows)


def measure(options: argparse.Namespace, method: str, kept: str) -> None:
    """Do one thing, keep its answer in a file; print its seconds and memory as JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if method in ("digests", "unique"):
        does: Callable[..., Any] = duplicate_groups if method == "digests" else _unique
        arguments: tuple[Any, ...] = (_repeated_rows(),)
    else:
        does = {"faiss": _by_faiss, "cdist": _by_cdist, "sample": _brute}.get(method, _ours)
        x, z = _vectors(2000, 32)
        does(x, z, np.arange(100))
        x, z = _vectors(options.rows, options.numbers)
        queries = _sample(options.rows) if method == "sample" else np.arange(options.queries)
        arguments = (x, z, queries)
    with PeakMemory() as memory:
        started = time.process_time(), time.perf_counter()
        answer = does(*arguments)
        seconds, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    np.save(kept, answer)
    report = {"value": seconds, "wall_seconds": wall, "extra_MiB": memory.extra_mib}
    print(json.dumps(report | {"mean": float(answer.mean())}))


def _vectors(rows: int, numbers: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters in RANK dimensions with noise in all (rows, numbers), and SHORT projections."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLUSTERS, RANK), dtype=np.float32)
    spread = random.standard_normal((RANK, numbers), dtype=np.float32) / RANK**0.5
    shorten = random.standard_normal((numbers, SHORT), dtype=np.float32) / SHORT**0.5
    x = np.empty((rows, numbers), dtype=np.float32)
    z = np.empty((rows, SHORT), dtype=np.float32)
    for at in range(0, rows, PIECE):
        part = x[at : at + PIECE]
        place = centres[random.integers(CLUSTERS, size=len(part))]
        place += 0.5 * random.standard_normal(place.shape, dtype=np.float32)
        part[:] = random.standard_normal(part.shape, dtype=np.float32)
        part *= 0.1
        part += place @ spread
        z[at : at + PIECE] = part @ shorten
    return x, z


def _sample(rows: int) -> np.ndarray:
    return np.sort(np.random.default_rng(1).choice(rows, size=min(SAMPLE, rows), replace=False))


def _ours(x: np.ndarray, z: np.ndarray, queries: np.ndarray) -> np.ndarray:
    # A view of the first rows: a list of rows would copy them.
    spaces = [Space(one[: len(queries)], one) for one in (x, z)]
    return np.asarray(judge_neighbours(*spaces, ks=(K,), self_rows=queries)[K])


def _by_faiss(x: np.ndarray, z: np.ndarray, queries: np.ndarray) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    rows = []
    for vectors in (x, z):
        index = faiss.IndexFlatL2(vectors.shape[1])
        index.add(vectors)
        rows.append(index.search(vectors[: len(queries)], K + 1)[1])
    return _shared(*rows, queries)


def _by_cdist(x: np.ndarray, z: np.ndarray, queries: np.ndarray) -> np.ndarray:
    rows = []
    for vectors in map(torch.from_numpy, (x, z)):
        blocks = vectors[: len(queries)].split(500)
        found = [torch.cdist(block, vectors).topk(K + 1, largest=False).indices for block in blocks]
        rows.append(torch.cat(found).numpy())
    return _shared(*rows, queries)


def _shared(of_x: np.ndarray, of_z: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Share of each query's K rows besides itself that are in both lists of K + 1."""
    both = zip(of_x.tolist(), of_z.tolist(), queries.tolist(), strict=True)
    kept = (([row for row in one if row != own][:K] for one in (a, b)) for a, b, own in both)
    return np.array([len(set(a) & set(b)) / K for a, b in kept])


def _brute(x: np.ndarray, z: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Recall by the definition, and by sets of rows (2, Q): every distance, in float64."""
    recalls = []
    for some in np.array_split(queries, max(1, len(queries) // 100)):
        far = _distances(x, some), _distances(z, some)
        nearest = [np.argsort(one, axis=1)[:, :K] for one in far]
        of_found = np.take_along_axis(far[0], nearest[1], axis=1)
        farthest = np.take_along_axis(far[0], nearest[0][:, -1:], axis=1)
        right = (of_found <= farthest * (1 + EQUAL)).mean(axis=1)
        recalls.append([right, _shared(*nearest, some)])
    return np.concatenate(recalls, axis=1)


def _distances(vectors: np.ndarray, some: np.ndarray) -> np.ndarray:
    """From some rows to all, infinite from a row to itself."""
    found = np.empty((len(some), len(vectors)))
    asked = vectors[some].astype(np.float64)
    for at in range(0, len(vectors), PIECE):
        held = vectors[at : at + PIECE].astype(np.float64)
        squares = np.square(asked).sum(1)[:, None] + np.square(held).sum(1)
        found[:, at : at + PIECE] = np.sqrt(np.maximum(squares - 2 * (asked @ held.T), 0))
    found[np.arange(len(some)), some] = np.inf
    return found


def _repeated_rows() -> np.ndarray:
    """Of a million rows every tenth is a copy of another."""
    random = np.random.default_rng(2)
    values = random.standard_normal((REPEATED_ROWS, REPEATED_NUMBERS), dtype=np.float32)
    copies = np.arange(0, REPEATED_ROWS, 10)
    values[copies] = values[random.integers(REPEATED_ROWS, size=len(copies))]
    return values


def _unique(values: np.ndarray) -> np.ndarray:
    """The groups by sorting whole rows, numbered by their first rows."""
    lines = values.view(np.dtype((np.void, values.shape[1] * values.itemsize))).ravel()
    _, first, groups = np.unique(lines, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[groups])


def _contestant(options: argparse.Namespace, name: str, kept: Path, queries: int) -> Contestant:
    given = {"rows": options.rows, "numbers": options.numbers, "queries": queries}
    command = [sys.executable, str(HERE / "bench_neighbour_recall.py")]
    command += [f"--{key}={value}" for key, value in given.items()]
    command += ["--contestant", name, str(kept / f"{name}.npy")]
    return Contestant(name, command, THREADS)


def _rows(options: argparse.Namespace, found: dict[str, dict[str, Any]]) -> list[Row]:
    """Seconds and memory of each, and how often faster than the peers."""
    some, groups = f"{options.queries:,} queries", f"{REPEATED_ROWS:,} x {REPEATED_NUMBERS}"
    names = {
        "all": f"{options.rows:,} queries in {options.rows:,} x {options.numbers:,}",
        "ours": some,
        "faiss": f"{some}, faiss.IndexFlatL2",
        "cdist": f"{some}, torch.cdist in blocks of 500",
        "digests": f"groups of equal rows, {groups}",
        "unique": f"groups of equal rows by numpy.unique, {groups}",
    }
    rows = []
    for name, what in names.items():
        seen, goal = found[name]["medians"], 2048.0 if name == "all" else None
        rows += [
            Row(what, found[name]["median"], "s", note="CPU time"),
            Row(f"{what}, wall-clock", seen["wall_seconds"], "s"),
            Row(f"{what}, extra memory", seen["extra_MiB"], "MiB", goal),
        ]
    rows += [Row(f"mean recall@{K} of all queries", found["all"]["medians"]["mean"], "")]
    for peer in ("faiss", "cdist"):
        times = ratio(found, peer, "ours")
        rows.append(Row(f"times faster than {names[peer]}", times, "x", note="CPU time"))
    return rows


def _agreement(answers: dict[str, np.ndarray]) -> list[Row]:
    """How many queries have another recall than by float64, by sets of rows and by the peers."""
    ours, first = answers["all"], answers["ours"]
    sampled = ours[_sample(len(ours))]
    by_definition, by_sets = answers["sample"]
    pairs = [
        ("by float64 brute force", sampled, by_definition, 0.0),
        ("by float64 brute force and sets of rows", sampled, by_sets, None),
        ("when only they ask", ours[: len(first)], first, 0.0),
        ("by faiss.IndexFlatL2 in float32", first, answers["faiss"], None),
        ("by torch.cdist in float32", first, answers["cdist"], None),
    ]
    rows = []
    for how, one, other, goal in pairs:
        apart = float((np.abs(one - other) > UNLIKE).sum())
        rows.append(Row(f"of {len(one):,}, with another recall {how}", apart, "queries", goal))
    apart = float((answers["digests"] != answers["unique"]).sum())
    return [*rows, Row("in another group than by numpy.unique", apart, "rows", 0.0)]


def _write_table(rows: list[Row]) -> None:
    lines = [
        "# Recall of neighbours between two spaces",
        "",
        "Written by `.venv/bin/python benchmarks/bench_neighbour_recall.py`: two threads of "
        f"{machine()['cpu']}, torch {torch.__version__}. Clustered vectors and {SHORT} random "
        "projections of them; a query is not its own neighbour. Memory is beside the vectors.",
        "",
        "| what | value | goal |",
        "|---|---|---|",
    ]
    for row in rows:
        goal = "" if row.goal is None else f"{row.goal_is} {row.goal:g} {row.unit}"
        note = f" ({row.note})" if row.note else ""
        value = f"{row.value:.3g}" if abs(row.value) < 1000 else f"{row.value:.0f}"
        lines.append(f"| {row.what}{note} | {value} {row.unit} | {goal} |")
    path = RESULTS / "neighbour_recall.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
