"""Images per second on one core, against timm's default create_loader, on photos of two sizes."""

from __future__ import annotations

import argparse
import sys
from itertools import product

from interleave import Contestant, interleave, ratio, script
from photos import SIZES, photo_folder
from record import Row, save


def main() -> None:
    """Measure timm, our first epoch and our cached epochs in turn for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows: list[Row] = []
    details = {}
    for size, kind in product(SIZES, ("bytes", "floats")):
        folder = str(photo_folder(size))
        ours = [sys.executable, script("loader_sightline.py"), folder]
        contestants = [
            Contestant("timm", [sys.executable, script("loader_timm.py"), folder, kind]),
            Contestant("first epoch", [*ours, "first", kind]),
            Contestant("cached epochs", [*ours, "cached", kind]),
        ]
        what = f"{size}, {'uint8 for the device' if kind == 'bytes' else 'normalised on the CPU'}"
        results = details[what] = interleave(contestants, rounds=options.rounds, cores=1)
        rows.append(Row(f"timm create_loader, {what}", results["timm"]["median"], "images/s"))
        for name, goal in (("first epoch", 1.8), ("cached epochs", 8.0)):
            rows.append(Row(f"Sightline {name}, {what}", results[name]["median"], "images/s"))
            times = ratio(results, name, "timm")
            # The goals are for what a loader does; on a GPU the rest is the GPU's work.
            goals = (goal, "at least") if kind == "bytes" else ()
            rows.append(Row(f"{name} against timm, {what}", times, "x", *goals))
    save("loader", rows, details)
    for row in rows:
        print(f"{row.what}: {row.value:.3g} {row.unit}")


if __name__ == "__main__":
    main()
