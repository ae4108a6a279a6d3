"""Time, memory and agreement of the V2 loss with soft ranks on a grid.

Against the cubic method of the original: the table of all triples N x N x N, its sigmoid and sum,
with autograd. Both forward and backward, Gaussian vectors of 256 numbers against codes of 64.
Expected: one or two minutes, and 3 GiB for the cubic method at a batch of 512.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

from interleave import HERE, Contestant, interleave, ratio
from record import RESULTS, Row, machine, save

sys.path.append(str(HERE / "contestants"))
from retrieval_metrics_vectors import PeakMemory

from sightline.losses.rank_distance import DPLossV2
from sightline.losses.rank_geometry import euclidean_distances, others

BATCHES, LARGE = (128, 256, 512), (1024, 2048, 4096)
TAUS = (0.01, 0.1, 1.0, 5.0)


def main() -> None:
    """Measure in turn and save what was found, or be a contestant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", nargs=3, metavar=("METHOD", "BATCH", "TAU"))
    options = parser.parse_args()
    if options.contestant:
        method, batch, tau = options.contestant
        measure(method, int(batch), float(tau))
    else:
        compare(options.rounds)


def compare(rounds: int) -> None:
    """Run all contestants and write the results."""
    rows: list[Row] = []
    details: dict[str, Any] = {}
    for batch in BATCHES:
        more, found = _compared(batch, rounds)
        rows, details = rows + more, details | {str(batch): found}
    rows += _agreement()
    alone = [_contestant("grid", batch, tau) for batch in LARGE for tau in (1.0, 0.01)]
    found = interleave(alone, rounds=1, cores=1)
    for one in alone:
        extra = found[one.name]["medians"]["extra_MiB"]
        rows += [
            Row(f"on a grid, {one.name}", found[one.name]["median"], "s", note="CPU time"),
            Row(f"on a grid, {one.name}, extra memory", extra, "MiB", 2048.0),
        ]
    save("soft_rank", rows, details | {"large": found})
    _write_table(rows)


def measure(method: str, batch: int, tau: float) -> None:
    """Print the seconds of a forward and backward pass, and the memory it takes, as JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    _pass(method, 64, tau)
    seconds = []
    with PeakMemory() as memory:
        for _ in range(3 if method == "cubic" or batch > max(BATCHES) else 30):
            started = time.process_time()
            value, _ = _pass(method, batch, tau)
            seconds.append(time.process_time() - started)
    report = {"value": statistics.median(seconds), "extra_MiB": memory.extra_mib}
    print(json.dumps(report | {"loss": value.item()}))


def _pass(method: str, batch: int, tau: float) -> tuple[Tensor, Tensor]:
    """The rank loss and its gradient by the codes."""
    random = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, 256, generator=random)
    z = x[:, :64] + 0.3 * torch.randn(batch, 64, generator=random)
    z.requires_grad_()
    spread = float(others(euclidean_distances(z.detach())).std(1).mean())
    loss = DPLossV2(tau=tau * spread, tau_scale="absolute")(x, z)[0] if method == "grid" else (
        _cubic_loss(x, z, tau * spread, torch.float32 if method == "cubic" else torch.float64)
    )  # fmt: skip
    loss.backward()
    assert z.grad is not None
    return loss.detach(), z.grad


def _cubic_loss(x: Tensor, z: Tensor, tau: float, number: torch.dtype) -> Tensor:
    rows = [others(torch.cdist(vectors.to(number), vectors.to(number))) for vectors in (x, z)]
    of_x, of_z = (
        torch.sigmoid((one[:, :, None] - one[:, None, :]) / tau).sum(2) + 0.5 for one in rows
    )
    return (of_z - of_x).square().mean()


def _contestant(method: str, batch: int, tau: float) -> Contestant:
    command = [sys.executable, str(HERE / "bench_soft_rank.py"), "--contestant", method]
    return Contestant(f"batch {batch}, tau {tau:g} spreads", [*command, str(batch), str(tau)])


def _compared(batch: int, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    pair = [
        Contestant(method, _contestant(method, batch, 1.0).command) for method in ("grid", "cubic")
    ]
    results = interleave(pair, rounds=rounds, cores=1)
    found = {name: one["medians"]["extra_MiB"] for name, one in results.items()}
    largest = batch == max(BATCHES)
    rows = [
        Row(f"{called}, batch {batch}", results[name]["median"], "s", note="CPU time")
        for name, called in (("grid", "on a grid"), ("cubic", "cubic"))
    ]
    rows += [
        Row(f"{name}, batch {batch}, extra memory", extra, "MiB") for name, extra in found.items()
    ]
    faster = Row(f"times faster than cubic, batch {batch}", ratio(results, "cubic", "grid"), "x",
                 10.0 if largest else None, "at least")  # fmt: skip
    smaller = Row(f"share of the cubic method's memory, batch {batch}",
                  found["grid"] / found["cubic"], "", 0.1 if largest else None)  # fmt: skip
    return [*rows, faster, smaller], results


def _agreement() -> list[Row]:
    """How far loss and gradient are from the cubic method in float64."""
    rows = []
    for tau in TAUS:
        (loss, gradient), (true, slope) = _pass("grid", 200, tau), _pass("float64", 200, tau)
        wrong = (gradient - slope).norm() / slope.norm()
        name = f"relative error, tau {tau:g} spreads, batch 200"
        rows += [
            Row(f"{name}, loss", abs(loss.item() / true.item() - 1), "", 1e-4),
            Row(f"{name}, gradient", wrong.item(), "", 1e-4),
        ]
    return rows


def _write_table(rows: list[Row]) -> None:
    found = machine()
    lines = [
        "# Soft ranks on a grid",
        "",
        "Written by `.venv/bin/python benchmarks/bench_soft_rank.py`: one core of "
        f"{found['cpu']}, torch {torch.__version__}. A forward and backward pass of the V2 loss.",
        "",
        "| what | value | goal |",
        "|---|---|---|",
    ]
    for row in rows:
        goal = "" if row.goal is None else f"{row.goal_is} {row.goal:g} {row.unit}"
        lines.append(f"| {row.what} | {row.value:.3g} {row.unit} | {goal} |")
    path = RESULTS / "soft_rank.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
