"""Resident memory after reading a large table into a manifest, in MiB."""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path

from sightline.data.csv_reader import read_csv
from sightline.data.settings import DataConfig


def main(table: str) -> None:
    """Read the table without looking for its pictures, and report the process's memory."""
    config = DataConfig(train_csv=Path(table), group_col="group", camera_col="camera")
    gc.collect()
    before, started = resident(), time.perf_counter()
    manifest = read_csv(config, require_files=False)
    seconds = time.perf_counter() - started
    gc.collect()
    after = resident()
    report = {
        "value": after,
        "before_MiB": before,
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": seconds,
        "rows": len(manifest.id),
    }
    print(json.dumps(report))


def resident() -> float:
    """Resident memory of this process in MiB (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("no VmRSS in /proc/self/status")


if __name__ == "__main__":
    main(sys.argv[1])
