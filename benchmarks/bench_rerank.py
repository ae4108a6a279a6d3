"""Time, memory and agreement of k-reciprocal re-ranking at the size of Market-1501.

Beside FastReID's, which is the dense method of its authors in float32. Expected: minutes and
8 GiB for the dense one, a quarter of a minute and half a GiB for Sightline. `--large` adds the
size of MSMT17 for Sightline alone, on two cores: a quarter of an hour.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from interleave import PEERS_PYTHON, Contestant, interleave, needed, ratio, script
from record import Row, save, versions

SIZE = "2048"
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
APART = 1e-5


def main() -> None:
    """Measure in turn and save what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15_913)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="11,659 x 82,161 too")
    options = parser.parse_args()
    needed([PEERS_PYTHON])
    given = [str(options.queries), str(options.gallery), SIZE]
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: Path(folder) / f"{name}.npy" for name in ("sightline", "dense")}
        results = _compared(given, kept, options.rounds)
        rows = _rows(results, f"{options.queries:,} x {options.gallery:,}")
        rows += _agreement(kept)
    if options.large:
        more, large = _large()
        rows, results = rows + more, results | large
    peers = versions(PEERS_PYTHON, ("fastreid", "numpy", "torch"))
    save("rerank", rows, results | {"peers": peers})
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit}")


def _compared(given: list[str], kept: dict[str, Path], rounds: int) -> dict[str, dict[str, Any]]:
    ours = [sys.executable, script("rerank_sightline.py"), *given, str(kept["sightline"])]
    peer = [str(PEERS_PYTHON), script("rerank_fastreid.py"), *given, str(kept["dense"])]
    return interleave(
        [Contestant("sightline", ours), Contestant("dense", peer)],
        rounds=rounds,
        cores=1,
        timeout=7200,
    )


def _rows(results: dict[str, dict[str, Any]], size: str) -> list[Row]:
    found = {name: one["medians"] for name, one in results.items()}
    rows = []
    for name, called in (("sightline", "Sightline"), ("dense", "the dense method of FastReID")):
        what = f"{called}, {size}, {SIZE} numbers"
        rows += [
            Row(what, results[name]["median"], "s", note="CPU time"),
            Row(f"{what}, extra memory", found[name]["extra_MiB"], "MiB"),
        ]
    extra = {name: {"median": one["extra_MiB"]} for name, one in found.items()}
    rows += [
        Row("times faster than the dense method", ratio(results, "dense", "sightline"), "x",
            5.0, "at least"),
        Row("share of the dense method's memory", ratio(extra, "sightline", "dense"), "", 0.1),
    ]  # fmt: skip
    return rows


def _agreement(kept: dict[str, Path]) -> list[Row]:
    """Where neighbours are a near tie float32 decides, in one method as in the other."""
    ours, dense = (np.load(kept[name], mmap_mode="r") for name in ("sightline", "dense"))
    far = [np.abs(one - other) for one, other in zip(ours, dense, strict=True)]
    beyond = sum(int((one > APART).sum()) for one in far) / ours.size
    rows = sum(bool((one > APART).any()) for one in far) / len(ours)
    middle = float(np.median([one.max() for one in far]))
    note = "near ties of neighbours, which float32 decides"
    return [
        Row("largest difference of a query's distances, its median", middle, "", APART),
        Row(f"share of distances that differ by more than {APART:g}", beyond, "", note=note),
        Row("share of queries with such a distance", rows, "", note=note),
    ]


def _large() -> tuple[list[Row], dict[str, dict[str, Any]]]:
    command = [sys.executable, script("rerank_sightline.py"), "11659", "82161", SIZE, ""]
    results = interleave([Contestant("large", command, THREADS)], rounds=1, cores=2, timeout=14400)
    found = results["large"]["medians"]
    vectors = (11_659 + 82_161) * int(SIZE) * 4 / 2**20
    what = f"Sightline, 11,659 x 82,161, {SIZE} numbers"
    return [
        Row(what, results["large"]["median"], "s", note="CPU time"),
        Row(f"{what}, wall-clock", found["wall_seconds"], "s", note="two threads"),
        Row(f"{what}, memory and vectors", found["extra_MiB"] + vectors, "MiB", 8192.0),
    ], results


if __name__ == "__main__":
    main()
