"""Embeddings by `sightline train` and `sightline index`, called as a user would.

Writes the same two files as `retrieval_pml.py`: embeddings of all rows of embed.csv, in their
order, and beside them what was done.
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

import numpy as np

SIGHTLINE = Path(sys.executable).with_name("sightline")
BACKBONE = "mobilenetv2_100"
DIMENSION = 512
PACKAGES = ("sightline", "torch", "torchvision", "timm", "numpy")
# As the peers: all pictures are learnt from, no validation chooses an epoch, and BatchNorm keeps
# the statistics that came with the weights.
SETTINGS = ("data.val_fraction=0", "data.test_fraction=0", "train.freeze_norm_statistics=true")


def main() -> None:
    """Train with one seed; write the embeddings, and beside them what was done."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="the folder of the pictures")
    options.add_argument("--tables", type=Path, required=True, help="holds train.csv, embed.csv")
    options.add_argument("--weights", type=Path, required=True, help="state dict of the backbone")
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--recipe", default="retrieve/basic")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--out", type=Path, required=True, help="the .npy to write")
    options.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="more, for the command")
    given = options.parse_args()
    given.out = given.out.resolve()
    place = given.out.with_suffix("")  # a folder beside the result
    if place.exists():
        shutil.rmtree(place)  # of a run that was interrupted
    place.mkdir(parents=True)
    started = time.perf_counter()
    run(train_command(given, place), place, given.threads)
    trained = time.perf_counter()
    embed(given, place)
    facts = {
        "seconds": {"train": trained - started, "embed": time.perf_counter() - trained},
        "peak_MiB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "settings": {
            "recipe": given.recipe,
            "size": given.size,
            "epochs": given.epochs,
            "overrides": settings_of(given),
            "weights_sha256": hashlib.sha256(given.weights.read_bytes()).hexdigest(),
            "threads": given.threads,
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }
    given.out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(place / "cache", ignore_errors=True)


def train_command(given: argparse.Namespace, place: Path) -> list[str]:
    """The whole command line of the training."""
    places = [
        f"data.train_csv={(given.tables / 'train.csv').resolve()}",
        f"data.image_dir_train={given.data.resolve()}",
        f"data.cache_dir={place / 'cache'}",
        f"model.weights={given.weights.resolve()}",
        f"output.exp_dir={place / 'runs'}",
        f"output.logs_dir={place / 'logs'}",
    ]
    return [str(SIGHTLINE), "train", given.recipe, *places, *settings_of(given)]


def settings_of(given: argparse.Namespace) -> list[str]:
    """What is set beside the places of files; all else is the recipe's."""
    return [
        "data.group_col=group",
        "data.split_col=split",
        "data.min_image_size=0",
        *SETTINGS,
        f"model.name={BACKBONE}",
        f"model.embedding_dim={DIMENSION}",
        f"project.seed={given.seed}",
        f"train.img_size={given.size}",
        f"train.epochs={given.epochs}",
        *given.settings,
    ]


def embed(given: argparse.Namespace, place: Path) -> None:
    """Embed the pictures of embed.csv with the run's best checkpoint, as an index of their own."""
    table, index = (given.tables / "embed.csv").resolve(), place / "index"
    where = [f"data.image_dir_train={given.data.resolve()}", "--out", str(index)]
    run([str(SIGHTLINE), "index", str(only_run(place)), str(table), *where], place, given.threads)
    ids = column(index / "rows.csv", "id")
    wanted = column(table, "ID")
    if sorted(ids) != sorted(wanted):
        sys.exit(f"expected embeddings of the {len(wanted)} pictures of {table}, got {len(ids)}")
    places = {name: row for row, name in enumerate(ids)}
    np.save(given.out, np.load(index / "embeddings.npy")[[places[name] for name in wanted]])


def column(table: Path, name: str) -> list[str]:
    """A column of a CSV."""
    with table.open(newline="", encoding="utf-8") as lines:
        return [row[name] for row in csv.DictReader(lines)]


def only_run(place: Path) -> Path:
    """The folder of the one run there is."""
    found = [path.parent for path in (place / "runs").glob("**/run.json")]
    if len(found) != 1:
        sys.exit(f"expected one run below {place / 'runs'}, found {len(found)}")
    return found[0]


def run(command: list[str], place: Path, threads: int) -> None:
    """Run a command to its end; its standard error is shown when it fails."""
    # The command sets its own threads where this is not given.
    environment: dict[str, Any] = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=place, env=environment, check=False
    )
    if done.returncode:
        shown = " ".join(command[:12])
        sys.exit(f"{shown} ... ended with {done.returncode}:\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    main()
