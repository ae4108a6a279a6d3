"""What a tracker costs a training: steps per second with W&B offline beside none, in turn."""

from __future__ import annotations

import argparse
import sys

from interleave import WORK, Contestant, interleave, ratio, script
from record import Row, save


def main() -> None:
    """Measure both on one core and on all, and save the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows, details = [], {}
    for cores, name in ((None, "all cores"), (1, "one core")):
        contestants = [
            Contestant(
                to,
                [sys.executable, script("tracking_training.py"), to, str(options.epochs),
                 str(WORK / "digits")],
            )
            for to in ("none", "wandb")
        ]  # fmt: skip
        print(name, flush=True)
        results = interleave(contestants, rounds=options.rounds, cores=cores)
        losses = {one["last"]["last_loss"] for one in results.values()}
        if len(losses) > 1:
            sys.exit(f"the trackers changed the training: {losses}")
        details[name] = results
        rows += _rows(results, name)
    save("tracking", rows, {"epochs": options.epochs, "contestants": details})
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit}")


def _rows(results: dict[str, dict[str, object]], name: str) -> list[Row]:
    plain, followed = (results[one]["medians"] for one in ("none", "wandb"))
    assert isinstance(plain, dict)
    assert isinstance(followed, dict)
    later = followed["steps_per_second_later"] / plain["steps_per_second_later"]
    busy = followed["processor_seconds"] / plain["processor_seconds"]
    return [
        Row(f"{name}: training without a tracker", plain["value"], "steps/s"),
        Row(
            f"{name}: with W&B offline, from its start on",
            ratio(results, "wandb", "none"),
            "x",
            0.99,
            "at least",
        ),
        Row(f"{name}: with W&B offline, second half", later, "x", 0.99, "at least"),
        # Not disturbed by what else runs on the machine.
        Row(f"{name}: processor time of the training process", busy, "x", 1.01),
        Row(f"{name}: processor time of the follower", followed["follower_processor_seconds"], "s"),
    ]


if __name__ == "__main__":
    main()
