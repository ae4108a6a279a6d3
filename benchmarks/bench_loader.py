"""Images per second on one core, against timm's default create_loader, on photos of two sizes."""

from __future__ import annotations

import argparse
import sys

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
    for size in SIZES:
        folder = str(photo_folder(size))
        ours = [sys.executable, script("loader_sightline.py"), folder]
        contestants = [
            Contestant("timm", [sys.executable, script("loader_timm.py"), folder]),
            Contestant("first epoch", [*ours, "first"]),
            Contestant("cached epochs", [*ours, "cached"]),
        ]
        results = details[size] = interleave(contestants, rounds=options.rounds, cores=1)
        rows.append(Row(f"timm create_loader, {size}", results["timm"]["median"], "images/s"))
        for name, goal in (("first epoch", 1.8), ("cached epochs", 8.0)):
            rows.append(Row(f"Sightline {name}, {size}", results[name]["median"], "images/s"))
            times = ratio(results, name, "timm")
            rows.append(Row(f"{name} against timm, {size}", times, "x", goal, "at least"))
    save("loader", rows, details)
    for row in rows:
        print(f"{row.what}: {row.value:.3g} {row.unit}")


if __name__ == "__main__":
    main()
