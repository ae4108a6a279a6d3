"""Seconds of `sightline list` and `sightline compare` over a thousand runs, start-up included."""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from interleave import WORK
from record import Row, save
from sightline.runs.folder import RunFolder

SIGHTLINE = str(Path(sys.executable).with_name("sightline"))
RUNS, EPOCHS, ROUNDS = 1_000, 50, 7
CONFIG = """task: compress
project:
  name: {name}
  seed: {seed}
loss:
  kind: {loss}
  tau: 1.0
  lambda_rank: 1.0
  lambda_pairdist: {weight}
model:
  hidden_dims: [768]
  latent_dim: {size}
train:
  epochs: 50
  batch_size: 512
  lr: {rate}
  optimizer: adam
eval:
  bootstrap: 1000
output:
  exp_dir: experiments/train
  logs_dir: logs
"""


def main() -> None:
    """Measure the commands in turn and save the result as JSON and as a table."""
    folder = thousand_runs()
    every = ["compare", "--task", "compress", "--most", str(RUNS)]
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "list": [SIGHTLINE, "list"],
        "sorted list": [SIGHTLINE, "list", "--task", "compress", "--sort", "best"],
        "whole list": [SIGHTLINE, "list", "--most", str(RUNS), "--json"],
        "compare, table": [SIGHTLINE, *every, "--table"],
        "compare, JSON": [SIGHTLINE, *every, "--table", "--json"],
        "compare, files": [SIGHTLINE, *every, "--save", "comparison.png"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():  # once before the clock runs: bytecode and disk cache
        check(command, folder)
    for _ in range(ROUNDS):
        for name, command in commands.items():
            seconds[name].append(timed(command, folder))
    rows = [
        Row(f"{name} over {RUNS} runs", statistics.median(values), "s", 1.0)
        for name, values in seconds.items()
        if name != "python"
    ]
    save("looking", rows, {"seconds": seconds})
    write_table(seconds)


def thousand_runs() -> Path:
    """A working directory with RUNS finished runs of EPOCHS epochs; made on the first call."""
    folder = WORK / f"looking-{RUNS}"
    if not (folder / ".complete").exists():
        print(f"making {RUNS} runs", flush=True)
        generator = random.Random(0)
        for index in range(RUNS):
            make_run(folder / "experiments" / "train", index, generator)
        (folder / ".complete").touch()
    return folder


def make_run(exp_dir: Path, index: int, generator: random.Random) -> None:
    """A finished run with its own name, seed and rate, its rows and its scores."""
    name = f"bench-{index:04d}"
    settings = {
        "name": name,
        "seed": index,
        "loss": generator.choice(["DPLossV1", "DPLossV2", "DPLossV2Norm", "topk"]),
        "weight": generator.choice([0.0, 0.3, 1.0]),
        "size": generator.choice([64, 128, 256]),
        "rate": round(10 ** generator.uniform(-4, -2), 6),
    }
    run = RunFolder.create(
        exp_dir,
        name=name,
        task="compress",
        command=["sightline", "train", "compress/basic"],
        config_text=CONFIG.format(**settings),
        seeds={"seed": index},
        now=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=2 * index),
    )
    level = generator.uniform(0.7, 0.9)
    lines = [epoch_row(epoch, level) for epoch in range(1, EPOCHS + 1)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run.metrics_file.write_text(text, encoding="utf-8")
    best = {"metric": "recall_at_10", "value": level, "epoch": EPOCHS}
    run.set_status("running")
    run.set_status("finished")
    run.update(best=best, epochs=EPOCHS)
    scores = {
        f"recall_at_{k}": {"value": level, "low": level - 0.01, "high": level + 0.01, "n": 3000}
        for k in (5, 10)
    }
    content = {"split": "val", "task": "compress", "pool": {"rows": 3000}, "headline": scores}
    file = run.predictions / "val.metrics.json"
    file.write_text(json.dumps(content), encoding="utf-8")


def epoch_row(epoch: int, level: float) -> dict[str, object]:
    """The row of an epoch as training writes it."""
    loss = (1.5 - level) * math.exp(-epoch / 12) + 0.05
    row = {"event": "epoch", "epoch": epoch, "step": 100 * epoch, "split": "val", "lr": 1e-3}
    row |= {"train_loss": loss, "train_rank": loss * 0.8, "train_pairdist": loss * 0.2}
    row |= {"valid_loss": loss * 1.1, "recall_at_10": level * (1 - math.exp(-epoch / 8))}
    return row | {"time_s": 1.25, "time": "2026-01-01T00:00:00+00:00"}


def check(command: list[str], folder: Path) -> None:
    """Stop when a command fails or says nothing: an error would be measured as a fast answer."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or (command[0] == SIGHTLINE and "bench-" not in done.stdout):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")


def timed(command: list[str], folder: Path) -> float:
    """Seconds from start to end of a command."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def write_table(seconds: dict[str, list[float]]) -> None:
    """Print the table and write it to results/looking.md."""
    lines = [
        f"# Looking at {RUNS} runs",
        "",
        "`python benchmarks/bench_looking.py`: whole processes, start-up included, in turn, "
        f"{ROUNDS} rounds; each run has {EPOCHS} epochs, a configuration of its own and scores.",
        "",
        "| command | median s | fastest s | slowest s |",
        "|---|---|---|---|",
    ]
    for name, values in seconds.items():
        low, high = min(values), max(values)
        lines.append(f"| {name} | {statistics.median(values):.3f} | {low:.3f} | {high:.3f} |")
    text = "\n".join(lines) + "\n"
    file = Path(__file__).resolve().parent / "results" / "looking.md"
    file.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
