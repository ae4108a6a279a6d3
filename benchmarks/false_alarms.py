"""Realised false alarms of `sightline train anomaly/patchcore` on sealed normal pictures.

For each set, seed and way of holding out: train once, set the threshold from the held-out normal
pictures for several budgets, and count the normal test pictures above it. The test of a set may be
of another day than its training pictures (the tiles' is: every number in it is higher), which no
threshold can know. So the tiles' normal pictures are also pooled and divided anew, by piece: then
held-out and test pictures are alike, and the promise can be held to its word.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from interleave import WORK
from record import RESULTS, Row, save
from sightline.metrics.conformal import (
    conformal_threshold,
    expected_false_alarms,
    needed_normals,
)

SIGHTLINE = Path(sys.executable).with_name("sightline")
FOLDER = WORK / "false-alarms"
SETS = {"anomaly_cookie": 0.65, "anomaly_magtile": 0.2}
"""Set -> share of the normal training pictures that is held out; the cookies have 31 in all."""
SEEDS = (1, 2, 3)
BUDGETS = (0.05, 0.1, 0.2)
LEAP = 300
"""Numbers of one piece's pictures are closer than this; those of the next are not."""
# 0.1 of the patches takes minutes to score with; which share is remembered does not matter here.
SETTINGS = ("model.coreset_ratio=0.02", "eval.pixels=false", "eval.bootstrap=100")


def main() -> None:
    """Train, count, and save the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=Path, required=True, help="the folder of the sets")
    options.add_argument("--weights", type=Path, required=True, help="ResNet-18 up to layer3")
    given = options.parse_args()
    found = [
        row
        for name in SETS
        for how in ("series", "single", "pooled")[: 2 + (name == "anomaly_magtile")]
        for seed in SEEDS
        for row in counted(given, name, how, seed)
    ]
    text = [
        "# Realised false alarms",
        "",
        f"`python benchmarks/false_alarms.py`, {' '.join(SETTINGS)}",
        "",
    ]
    keys = list(found[0])
    text += [
        "| " + " | ".join(key.replace("_", " ") for key in keys) + " |",
        "|---" * len(keys) + "|",
    ]
    text += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in found]
    (RESULTS / "false_alarms.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    rows = []
    for name, how in dict.fromkeys((row["set"], row["held_out"]) for row in found):
        mine = [row for row in found if (row["set"], row["held_out"]) == (name, how)]
        inside = sum(row["alarms"] <= row["expected_high"] for row in mine) / len(mine)
        what = f"{name}, held out {how}: share of seeds and budgets within the promised range"
        rows.append(Row(what, inside, "", 1.0, "at least", f"n={len(mine)}"))
    save("false_alarms", rows, {"rows": found})


def counted(given: argparse.Namespace, name: str, how: str, seed: int) -> list[dict[str, Any]]:
    """One row for each budget that the held-out pictures can keep."""
    place = FOLDER / f"{name}-{how}-{seed}"
    command = [SIGHTLINE, "train", "anomaly/patchcore", f"data.val_fraction={SETS[name]}"]
    command += [f"model.weights={given.weights}", f"project.seed={seed}"]
    command += [f"output.exp_dir={place}", *SETTINGS]
    if how == "pooled":
        command += [f"data.train_csv={pooled(given.images / name)}", "data.group_col=piece"]
        command += [f"data.image_dir_train={given.images / name}", "data.test_fraction=0.3"]
    else:
        command += [f"data.root={given.images / name}", f"data.hold_out={how}"]
    command += [f"output.logs_dir={place / 'logs'}", "--test"]
    if not (place / "latest-train").exists():
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name} {how} {seed} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    run = place / "latest-train"
    normal = scores(run / "predictions" / "val.csv")
    test = scores(run / "predictions" / "test.csv")
    headline = json.loads((run / "predictions" / "test.metrics.json").read_text())["headline"]
    auroc = headline.get("image_auroc")
    rows = []
    for budget in BUDGETS:
        if len(normal) < needed_normals(budget):
            continue
        limit = conformal_threshold(normal, budget)
        low, high = expected_false_alarms(len(normal), limit.rank, len(test))
        rows.append(
            {
                "set": name,
                "held_out": how,
                "seed": seed,
                "n_held_out": len(normal),
                "budget": budget,
                "alarms": sum(score > limit.value for score in test),
                "n_test": len(test),
                "expected_low": low,
                "expected_high": high,
                "image_auroc": None if auroc is None else round(auroc["value"], 3),
            }
        )
        print(rows[-1], flush=True)
    return rows


def pooled(folder: Path) -> Path:
    """A table of all normal pictures with the piece each shows: numbers leap between pieces."""
    files = [*folder.glob("train/good/*"), *folder.glob("test/good/*")]
    numbers = {file: int(re.search(r"num_(\d+)", file.name)[1]) for file in files}
    files.sort(key=numbers.__getitem__)
    piece, rows = 0, []
    for before, file in zip([files[0], *files], files, strict=False):
        piece += numbers[file] - numbers[before] > LEAP
        rows.append(f"{file.relative_to(folder).as_posix()},good,piece {piece}")
    target = FOLDER / f"{folder.name}-normal.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(["ID,target,piece", *rows]) + "\n", encoding="utf-8")
    return target


def scores(file: Path) -> list[float]:
    """The scores of the normal pictures of a predictions file."""
    with file.open(encoding="utf-8", newline="") as handle:
        return [float(row["score"]) for row in csv.DictReader(handle) if row["target"] == "good"]


if __name__ == "__main__":
    main()
