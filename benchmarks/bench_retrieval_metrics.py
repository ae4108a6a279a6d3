"""Time and memory of retrieval metrics: 100,000 queries in 100,000, and 10,000 beside others.

At full size a quarter of an hour on two idle cores; expected: the memory that was asked for
(256 MiB) and little more. The vectors are clustered.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from interleave import PEERS_PYTHON, Contestant, interleave, needed, ratio, script
from record import Row, save, versions

SHARED = ("recall_at_1", "r_precision", "ap_at_r")


def main() -> None:
    """Measure in turn and save what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="queries, and gallery items")
    parser.add_argument("--small", type=int, default=10_000, help="the same, beside others")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison")
    options = parser.parse_args()
    needed([PEERS_PYTHON])
    rows, details = _large(options.count)
    more, compared = _compared(options.small, options.rounds)
    details |= compared
    details["peers"] = versions(PEERS_PYTHON, ("pytorch-metric-learning", "faiss-cpu", "torch"))
    save("retrieval_metrics", rows + more, details)
    for row in rows + more:
        print(f"{row.what}: {row.value:.4g} {row.unit}")


def _large(count: int) -> tuple[list[Row], dict[str, Any]]:
    """One round each, on two cores: many small classes, and ten that share the gallery."""
    ours = [sys.executable, script("retrieval_metrics_sightline.py"), str(count)]
    cases = {
        "128 numbers, 10 of a class": ["128", str(count // 10)],
        "512 numbers, 10 of a class": ["512", str(count // 10)],
        "128 numbers, 10 classes": ["128", "10"],
    }
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
    results = interleave(
        [Contestant(name, [*ours, *case], environment=threads) for name, case in cases.items()],
        rounds=1,
        cores=2,
        timeout=3600,
    )
    rows = []
    for name, found in results.items():
        what = f"scores of {count:,} x {count:,}, {name}"
        extra = found["medians"]["extra_MiB"]
        rows.append(Row(what, found["median"], "s", note="CPU time"))
        wall = found["medians"]["wall_seconds"]
        rows.append(Row(f"{what}, wall-clock", wall, "s", note="two threads"))
        rows.append(Row(f"{what}, extra memory", extra, "MiB", 2048.0))
    return rows, results


def _compared(count: int, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Beside the whole table in PyTorch, and pytorch-metric-learning, on one core."""
    given = [str(count), "128", str(count // 10)]
    peers = str(PEERS_PYTHON)
    results = interleave(
        [
            Contestant(
                "sightline", [sys.executable, script("retrieval_metrics_sightline.py"), *given]
            ),
            Contestant("dense", [sys.executable, script("retrieval_metrics_dense.py"), *given]),
            Contestant("pml", [peers, script("retrieval_metrics_pml.py"), *given]),
        ],
        rounds=rounds,
        cores=1,
    )
    size = f"{count:,} x {count:,}, 128 numbers"
    found = {name: one["medians"] for name, one in results.items()}
    names = {
        "sightline": "Sightline",
        "dense": "the whole table in PyTorch",
        "pml": "AccuracyCalculator of pytorch-metric-learning",
    }
    rows = []
    for name, called in names.items():
        rows.append(Row(f"{called}, {size}", results[name]["median"], "s", note="CPU time"))
        rows.append(Row(f"{called}, {size}, extra memory", found[name]["extra_MiB"], "MiB"))
    rows.append(
        Row("times faster than the whole table", ratio(results, "dense", "sightline"), "x", 1.0,
            "at least")
    )  # fmt: skip
    rows.append(
        Row("times faster than AccuracyCalculator", ratio(results, "pml", "sightline"), "x",
            note="it looks at the nearest of a class's size only, so has no MRR and no mAP")
    )  # fmt: skip
    apart = max(
        abs(found["sightline"][name] - found[peer][name])
        for peer in ("dense", "pml")
        for name in SHARED
    )
    rows.append(Row("largest difference of Recall@1, R-precision, MAP@R", apart, "", 1e-6))
    return rows, results


if __name__ == "__main__":
    main()
