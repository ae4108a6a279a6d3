"""Runs every benchmark, or those named: `python benchmarks/run.py trainer loader`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def main(chosen: list[str]) -> int:
    """Run the benchmarks one after the other; 1 when one of them failed."""
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
        return 2
    failed = []
    for name in chosen or NAMES:
        print(f"== {name}", flush=True)
        started = time.perf_counter()
        done = subprocess.run([sys.executable, str(HERE / f"bench_{name}.py")], check=False)
        print(f"== {name} took {time.perf_counter() - started:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    print("Table: benchmarks/results/README.md")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
