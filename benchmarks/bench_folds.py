"""Five folds in one run against five runs of one fold each: wall-clock, and whether they agree.

The separate runs are timed twice: sharing one store of decoded images, as they do by default on one
machine, and each with an empty one, as on five machines.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from interleave import WORK
from photos import photo_folder
from record import Row, save

SIGHTLINE = Path(sys.executable).with_name("sightline")
FOLDS, PHOTOS = 5, "500x375"
GOAL = 0.75
SETTINGS = (
    *("classify/basic", "model.pretrained=false", "model.name=resnet10t", "train.img_size=96"),
    *("train.epochs=2", "train.warmup_epochs=0.2", "data.test_fraction=0", f"data.folds={FOLDS}"),
)


def main() -> None:
    """Time the three ways in turn, two rounds, and compare the weights."""
    folder = photo_folder(PHOTOS)
    rounds = [one_round(folder, number) for number in range(2)]
    best = {way: min(one[way] for one in rounds) for way in rounds[0]}
    agree = same_weights()
    rows = [
        Row("five folds in one run", best["together"], "s"),
        Row("five runs of one fold, one store", best["shared"], "s"),
        Row("five runs of one fold, a store each", best["apart"], "s"),
        Row("one run against five, one store", best["together"] / best["shared"], "x", GOAL),
        Row("one run against five, a store each", best["together"] / best["apart"], "x", GOAL),
        Row("folds whose weights differ", FOLDS - agree, "folds", 0),
    ]
    save("folds", rows, {"rounds": rounds, "settings": SETTINGS, "photos": PHOTOS})
    for row in rows:
        print(f"{row.what}: {row.value:.3g} {row.unit}")


def one_round(folder: Path, number: int) -> dict[str, float]:
    """Seconds of each way, from empty stores; the order turns with the round."""
    ways: dict[str, Any] = {
        "together": lambda: [("all", "store-together")],
        "shared": lambda: [(fold, "store-shared") for fold in range(FOLDS)],
        "apart": lambda: [(fold, f"store-{fold}") for fold in range(FOLDS)],
    }
    names = list(ways)[number:] + list(ways)[:number]
    seconds = {}
    for way in names:
        for old in ("runs", "stores"):
            shutil.rmtree(WORK / "folds" / way / old, ignore_errors=True)
        started = time.perf_counter()
        for fold, store in ways[way]():
            train(folder, WORK / "folds" / way, fold=fold, store=store)
        seconds[way] = time.perf_counter() - started
        print(f"round {number + 1}: {way} {seconds[way]:.1f} s", flush=True)
    return seconds


def train(folder: Path, place: Path, *, fold: object, store: str) -> None:
    """One `sightline train`, with its start, its scores and its report."""
    command = [
        *(str(SIGHTLINE), "train", *SETTINGS, f"data.root={folder}", f"data.valid_fold={fold}"),
        *(f"output.exp_dir={place / 'runs'}", f"output.logs_dir={place / 'logs'}"),
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "stores" / store)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")


def same_weights() -> int:
    """How many folds ended with the same bits in one run and alone."""
    same = 0
    for fold in range(FOLDS):
        name = f"best_fold{fold}.pth"
        found = [sorted((WORK / "folds" / way).glob(f"runs/*/*/ckpt/{name}")) for way in
                 ("together", "shared")]  # fmt: skip
        one, other = (torch.load(files[0], weights_only=True)["model"] for files in found)
        same += all(torch.equal(one[key], other[key]) for key in one)
    return same


if __name__ == "__main__":
    main()
