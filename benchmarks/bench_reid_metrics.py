"""Time, memory and agreement of CMC, mAP and mINP at the size of Market-1501, beside FastReID's.

The distances, 3,368 x 15,913, are there before the clock starts. Expected: the loop in Python
takes more than a minute of CPU time, its compiled twin some seconds, Sightline a part of one.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from interleave import PEERS_PYTHON, Contestant, interleave, needed, ratio, script
from record import Row, save, versions

SHARED = ("rank_1", "rank_10", "map", "minp")


def main() -> None:
    """Measure in turn and save what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15_913)
    parser.add_argument("--rounds", type=int, default=3, help="of all but the loop in Python")
    options = parser.parse_args()
    needed([PEERS_PYTHON])
    given = [str(options.queries), str(options.gallery)]
    results = _measured(given, options.rounds)
    rows = _rows(results, f"{options.queries:,} x {options.gallery:,}")
    details = results | {"peers": versions(PEERS_PYTHON, ("fastreid", "cython", "numpy"))}
    save("reid_metrics", rows, details)
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit}")


def _measured(given: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """On one core; vectors of 128 numbers where only their distances matter."""
    ours = [sys.executable, script("reid_metrics_sightline.py"), *given]
    peer = [str(PEERS_PYTHON), script("reid_metrics_fastreid.py"), *given, "128"]
    quick = [
        Contestant("sightline", [*ours, "128", "distances"]),
        Contestant("compiled", [*peer, "compiled"]),
        Contestant("vectors", [*ours, "2048", "vectors"]),
    ]
    slow = [Contestant("python", [*peer, "python"])]
    return interleave(quick, rounds=rounds, cores=1) | interleave(
        slow, rounds=1, cores=1, timeout=7200
    )


def _rows(results: dict[str, dict[str, Any]], size: str) -> list[Row]:
    found = {name: one["medians"] for name, one in results.items()}
    names = {
        "sightline": "Sightline",
        "compiled": "compiled evaluation of FastReID",
        "python": "the same in Python",
        "vectors": "Sightline, from vectors of 2048 numbers",
    }
    rows = []
    for name, called in names.items():
        note = "CPU time, the product included" if name == "vectors" else "CPU time"
        rows.append(Row(f"{called}, {size}", results[name]["median"], "s", note=note))
        goal = 64.0 if name == "sightline" else None
        extra = found[name]["extra_MiB"]
        rows.append(Row(f"{called}, {size}, extra memory", extra, "MiB", goal))
    rows += [
        Row("times faster than the loop in Python", ratio(results, "python", "sightline"), "x",
            80.0, "at least"),
        Row("times faster than the compiled one", ratio(results, "compiled", "sightline"), "x",
            1.0, "at least"),
    ]  # fmt: skip
    apart = max(
        abs(found["sightline"][name] - found[peer][name])
        for peer in ("compiled", "python")
        for name in SHARED
    )
    rows.append(Row("largest difference of rank-1, rank-10, mAP, mINP", apart, "", 1e-6))
    return rows


if __name__ == "__main__":
    main()
