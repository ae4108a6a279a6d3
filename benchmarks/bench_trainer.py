"""What a trainer adds to each optimizer step, in microseconds over a bare PyTorch loop."""

from __future__ import annotations

import argparse
import sys

from interleave import PEERS_PYTHON, Contestant, interleave, needed, script
from record import Row, save, versions


def main() -> None:
    """Measure the bare loop, Sightline and Lightning in turn and save the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    needed([PEERS_PYTHON])
    steps = [str(options.steps)]
    contestants = [
        Contestant("bare", [sys.executable, script("trainer_bare.py"), *steps]),
        Contestant(
            "sightline", [sys.executable, script("trainer_sightline.py"), *steps], terminal=True
        ),
        Contestant(
            "lightning", [str(PEERS_PYTHON), script("trainer_lightning.py"), *steps], terminal=True
        ),
    ]
    results = interleave(contestants, rounds=options.rounds, cores=1)
    losses = {name: found["last"]["last_loss"] for name, found in results.items()}
    if max(losses.values()) - min(losses.values()) > 1e-5:
        sys.exit(f"the contestants did not train alike: {losses}")
    bare, ours, theirs = (results[name]["median"] for name in ("bare", "sightline", "lightning"))
    busy = {name: found["medians"]["processor_time"] for name, found in results.items()}
    rows = [
        Row("bare loop, one step", bare, "us"),
        Row("Sightline's overhead per step", ours - bare, "us", 15.0),
        Row("Lightning's overhead per step", theirs - bare, "us"),
        Row(
            "Sightline's overhead as a part of Lightning's",
            (ours - bare) / (theirs - bare),
            "x",
            0.1,
        ),
        # Not disturbed by what else runs on the machine: if it disagrees, the machine was busy.
        Row("Sightline's overhead in processor time", busy["sightline"] - busy["bare"], "us"),
        Row("Lightning's overhead in processor time", busy["lightning"] - busy["bare"], "us"),
    ]
    peer = versions(PEERS_PYTHON, ("lightning", "torch"))
    save("trainer", rows, {"steps": options.steps, "peer": peer, "contestants": results})
    for row in rows:
        print(f"{row.what}: {row.value:.3g} {row.unit}")


if __name__ == "__main__":
    main()
