"""Seconds until `sightline --help` has answered, and `sightline list` over a thousand runs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from interleave import WORK
from record import Row, save
from sightline.runs.folder import RunFolder

SIGHTLINE = Path(sys.executable).with_name("sightline")
RUNS = 1_000


def main() -> None:
    """Measure both commands in turn with a Python that does nothing, and save the result."""
    folder = thousand_runs()
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "help": [str(SIGHTLINE), "--help"],
        "list": [str(SIGHTLINE), "list"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for name, command in commands.items():  # once before the clock runs: bytecode and disk cache
        check(name, command, folder)
    for _ in range(20):
        for name, command in commands.items():
            seconds[name].append(timed(command, folder))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        Row("python -c pass", median["python"], "s"),
        Row("sightline --help", median["help"], "s", 0.3),
        Row(f"sightline list over {RUNS} runs", median["list"], "s", 1.0),
    ]
    save("help", rows, {"seconds": seconds})
    for row in rows:
        print(f"{row.what}: {row.value:.3f} {row.unit}")


def thousand_runs() -> Path:
    """A working directory with RUNS finished runs in the default place; made on the first call."""
    folder = WORK / f"runs-{RUNS}"
    if not (folder / ".complete").exists():
        print(f"making {RUNS} runs", flush=True)
        first = datetime(2026, 1, 1, tzinfo=UTC)
        for index in range(RUNS):
            make_run(folder / "experiments" / "train", index, first + timedelta(hours=2 * index))
        (folder / ".complete").touch()
    return folder


def make_run(exp_dir: Path, index: int, now: datetime) -> None:
    """A finished run of ten epochs."""
    run = RunFolder.create(
        exp_dir,
        name=f"bench-{index:04d}",
        task="classify",
        command=["sightline", "train", "classify/basic"],
        config_text="task: classify\n",
        seeds={"seed": index},
        now=now,
    )
    lines = [
        {"event": "epoch", "epoch": epoch, "step": 100 * epoch, "split": "val", "macro_f1": 0.9}
        for epoch in range(1, 11)
    ]
    text = "".join(json.dumps({"time": now.isoformat(), **line}) + "\n" for line in lines)
    run.metrics_file.write_text(text, encoding="utf-8")
    run.update(best={"metric": "macro_f1", "value": 0.9, "epoch": 1 + index % 10})
    run.set_status("finished")


def check(name: str, command: list[str], folder: Path) -> None:
    """Stop when a command fails or lists nothing: an error would be measured as a fast answer."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    if name == "list" and "bench-" not in done.stdout:
        sys.exit(f"sightline list shows none of the {RUNS} runs:\n{done.stdout[:2000]}")


def timed(command: list[str], folder: Path) -> float:
    """Seconds from start to end of a command."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
