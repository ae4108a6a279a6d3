"""The ablation ladder of re-identification: one trick more on each rung, the same pictures.

Each (rung, seed) is one run of `sightline train --test` in a process of its own, in a folder under
benchmarks/work; those that are finished are not made again. Re-ranking needs no run: it ranks what
the rung before it learnt.

    python benchmarks/reid_ladder.py --images FOLDER --weights FILE [KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from interleave import WORK
from reid_table import write_page

RUNGS: dict[str, tuple[str, ...]] = {
    "cross-entropy only": ("loss.triplet.weight=0", "sampler.kind=shuffled"),
    "baseline: cross-entropy and triplets": (),
    "+ warm-up": ("train.warmup_epochs={warmup}", "train.warmup_factor=0.01"),
    "+ random erasing": ("data.augment.erase=0.5",),
    "+ label smoothing": ("loss.id.label_smoothing=0.1",),
    "+ last stride 1": ("model.last_stride=1",),
    "+ BNNeck": ("model.neck=bnneck",),
    "+ center loss": ("loss.center.weight=0.0005",),
}
"""What each rung adds to `reid/baseline`; from the second on a rung keeps what those before added,
the first is beside the ladder."""
BESIDE = "cross-entropy only"
RERANKED = "+ re-ranking"


def main() -> None:
    """Make the runs that are missing, then write the table of those there are."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=Path, help="train and test folders of identities")
    options.add_argument(
        "--weights", type=Path, help="state dict of the backbone; else from nothing"
    )
    options.add_argument("--model", default="mobilenetv2_100")
    options.add_argument("--camera-pattern", default=r"/(\d+)_(?:left|right)photo")
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--name", default="reid", help="of the page and the folder of runs")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--only", help="make the runs of the rungs whose names have this in them")
    options.add_argument("--threads", default="1")
    options.add_argument("--render", action="store_true", help="make nothing, write the table")
    options.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="for every run")
    given = options.parse_args()
    if not given.render:
        if given.images is None:
            options.error("--images is needed to make runs")
        for seed in given.seeds:
            for rung in RUNGS:
                if given.only is None or given.only in rung:
                    make(given, rung, seed)
    found = [cell for rung in RUNGS for seed in given.seeds for cell in read(given, rung, seed)]
    print(write_page(found, rungs=[*RUNGS, RERANKED], beside=BESIDE, name=given.name))


def settings_of(given: argparse.Namespace, rung: str) -> list[str]:
    """The settings of a rung: what all share, what it and those below it add, and the user's."""
    epochs, names = given.epochs, list(RUNGS)
    added = [*RUNGS[BESIDE]] if rung == BESIDE else []
    for below in names[1 : names.index(rung) + 1]:
        added += RUNGS[below]
    return [
        f"data.root={given.images}",
        f"data.camera_pattern={given.camera_pattern}",
        f"model.name={given.model}",
        f"model.weights={given.weights}" if given.weights else "model.pretrained=false",
        f"train.epochs={epochs}",
        # The same shares of training as 40 and 70 of 120 epochs.
        f"train.milestones=[{round(epochs / 3, 2)},{round(epochs * 7 / 12, 2)}]",
        *(one.format(warmup=round(epochs / 12, 2)) for one in added),
        *given.settings,
    ]


def folder_of(given: argparse.Namespace, rung: str, seed: int) -> Path:
    """Where a run of a rung lies."""
    return WORK / given.name / f"{list(RUNGS).index(rung)}-{seed}"


def make(given: argparse.Namespace, rung: str, seed: int) -> None:
    """Train and test one rung with one seed, unless that was done."""
    folder = folder_of(given, rung, seed)
    if (folder / "done.json").exists():
        return
    command = [sys.executable, "-m", "sightline", "train", "reid/baseline"]
    command += [*settings_of(given, rung), f"project.seed={seed}", f"output.exp_dir={folder}"]
    command += [f"output.logs_dir={folder / 'logs'}", "output.snapshots=false", "--test"]
    environment = {**os.environ, "OMP_NUM_THREADS": given.threads}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{rung}, seed {seed}:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    seconds = time.perf_counter() - started
    made = {"rung": rung, "seed": seed, "seconds": seconds, "settings": command[4:]}
    (folder / "done.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"{rung}, seed {seed}: {seconds:.0f} s", flush=True)


def read(given: argparse.Namespace, rung: str, seed: int) -> list[dict[str, Any]]:
    """What a run found: its scores, those of each query, and the same after re-ranking."""
    folder = folder_of(given, rung, seed)
    if not (folder / "done.json").exists():
        return []
    (run,) = {path.parent for path in folder.glob("*/*/run.json") if "latest" not in str(path)}
    scores = json.loads((run / "predictions" / "test.metrics.json").read_text(encoding="utf-8"))
    made = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    cell = {**made, "scores": scores, "queries": run / "predictions" / "test.csv"}
    cell["way"] = "plain"
    cells = [cell]
    if rung == list(RUNGS)[-1]:
        cells.append({**cell, "rung": RERANKED, "way": "reranked"})
    return cells


if __name__ == "__main__":
    main()
