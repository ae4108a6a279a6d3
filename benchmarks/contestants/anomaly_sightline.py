"""Image AUROC of `sightline train anomaly/stfpm` or `anomaly/patchcore` on an MVTec-style folder.

Runs the command as a user would, with the published protocol, and reads the files it leaves: the
same JSON as `anomaly_anomalib.py` writes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIGHTLINE = Path(sys.executable).with_name("sightline")
BATCH_SIZE = 32
PACKAGES = ("sightline", "torch", "torchvision", "timm", "numpy")
PROTOCOL = (
    "eval.protocol published: trains on all of train/good, last epoch, all of test/ read once; "
    "images squeezed to a square; pixel scores at the masks' own resolution"
)


def main() -> None:
    """Train and test one model with one seed, and write what came out as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", choices=("patchcore", "stfpm"), required=True)
    options.add_argument("--data", type=Path, required=True, help="train/good, test/*, ...")
    options.add_argument("--weights", type=Path, required=True, help="state dict of the backbone")
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--epochs", type=int, default=1, help="of STFPM; PatchCore has none")
    options.add_argument("--ratio", type=float, default=0.1, help="of PatchCore's coreset")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="more, for the command")
    given = options.parse_args()
    given.out = given.out.resolve()
    place = given.out.with_suffix("")  # a folder beside the result
    if place.exists():
        shutil.rmtree(place)  # of a run that was interrupted
    place.mkdir(parents=True)
    command = command_of(given, place)
    # The command sets its own threads where this is not given.
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    started = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=place, env=environment, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    result = {
        "system": "sightline",
        "model": given.model,
        "set": given.data.name,
        "seed": given.seed,
        **scores_of(place),
        "seconds": {"command": seconds},
        "peak_MiB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "settings": {
            "size": given.size,
            "epochs": given.epochs if given.model == "stfpm" else 0,
            "batch_size": BATCH_SIZE,
            "coreset_ratio": given.ratio if given.model == "patchcore" else None,
            "weights_sha256": hashlib.sha256(given.weights.read_bytes()).hexdigest(),
            "threads": given.threads,
            "overrides": settings_of(given),
        },
        "protocol": PROTOCOL,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "images": images_of(place),
    }
    beside = given.out.with_suffix(".partial")
    beside.write_text(json.dumps(result, indent=1) + "\n")
    beside.replace(given.out)
    print(json.dumps({key: value for key, value in result.items() if key != "images"}))


def command_of(given: argparse.Namespace, place: Path) -> list[str]:
    """The whole command line."""
    places = [
        f"data.root={given.data.resolve()}",
        f"model.weights={given.weights.resolve()}",
        f"output.exp_dir={place / 'runs'}",
        f"output.logs_dir={place / 'logs'}",
    ]
    recipe = f"anomaly/{given.model}"
    return [str(SIGHTLINE), "train", recipe, *places, *settings_of(given), "--test"]


def settings_of(given: argparse.Namespace) -> list[str]:
    """What is set beside the places of files; all else is the recipe's."""
    settings = [
        "model.name=resnet18",
        f"project.seed={given.seed}",
        f"train.img_size={given.size}",
        f"train.batch_size={BATCH_SIZE}",
        "eval.protocol=published",
    ]
    if given.model == "stfpm":
        settings.append(f"train.epochs={given.epochs}")
    else:
        settings.append(f"model.coreset_ratio={given.ratio}")
    return [*settings, *given.settings]


def scores_of(place: Path) -> dict[str, Any]:
    """Image and pixel scores of the test split, with their intervals over images."""
    found = json.loads(only_file(place, "predictions/test.metrics.json").read_text())
    headline = found["headline"]
    pixel = {
        f"own_{name}": headline[name]["value"]
        for name in ("pixel_auroc", "pixel_aupro")
        if name in headline
    }
    counts = found["counts"]
    return {
        "image_auroc": headline["image_auroc"]["value"],
        "own_image_auroc": headline["image_auroc"]["value"],
        **pixel,
        "n": {"normal": counts["normal"], "anomalous": counts["anomalous"]},
        "headline": headline,
    }


def images_of(place: Path) -> list[dict[str, Any]]:
    """Name (defect type and file), label (1 is anomalous) and score of every test image."""
    with only_file(place, "predictions/test.csv").open(newline="", encoding="utf-8") as table:
        return [
            {
                "id": "/".join(Path(row.get("path") or row["id"]).parts[-2:]),
                "label": int(row["target"] != "good"),
                "score": float(row["score"]),
            }
            for row in csv.DictReader(table)
        ]


def only_file(place: Path, name: str) -> Path:
    """The one file of that name among the runs."""
    found = sorted((place / "runs").glob(f"**/{name}"))
    if len(found) != 1:
        sys.exit(f"expected one {name} below {place / 'runs'}, found {len(found)}")
    return found[0]


if __name__ == "__main__":
    main()
