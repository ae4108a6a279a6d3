"""STFPM and PatchCore of Sightline and of anomalib on the same pictures, weights and image size.

Each (system, model, set, seed) is a cell, a JSON file of its own, made in its own process; those
that are there are not made again. Needs the pictures and ImageNet weights that the options name
and, for anomalib's cells, the peers' environment; some hours on one core.

    python benchmarks/anomaly.py --images FOLDER --weights FILE [--only sightline] [--render]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomaly_table import write_page
from interleave import PEERS_PYTHON, WORK, script
from record import Row, save
from sightline.metrics.auroc import compute_auroc

SYSTEMS = ("anomalib", "sightline")
MODELS = {"stfpm": "STFPM", "patchcore": "PatchCore"}
SEEDS = (1, 2, 3)
SIZE = 256
RESAMPLES = 1000
# Greedy selection holds a temporary of 20 to 30 MB in each step; with glibc's growing threshold
# for mmap these fragment the heap by as much in each of thousands of steps (22 GB after 900 on the
# cookies). Large pages halve the time of such temporaries.
PEER_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1048576", "THP_MEM_ALLOC_ENABLE": "1"}


@dataclass(frozen=True)
class Settings:
    """What both systems are given on one set."""

    epochs: int
    """Of STFPM: as many as three seeds of both systems can have in about two hours of one core."""
    ratio: float
    """Of PatchCore's coreset; 0.1 of 204,800 patches takes anomalib over an hour for one seed."""


SETS = {"anomaly_cookie": Settings(60, 0.1), "anomaly_magtile": Settings(12, 0.01)}
Key = tuple[str, str, str, int]


def main() -> None:
    """Make the cells that are missing, then write the table of those there are."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=Path, help="the folder that holds the sets")
    options.add_argument("--weights", type=Path, help="ResNet-18 up to layer3, a state dict")
    options.add_argument("--cells", type=Path, default=WORK / "anomaly")
    options.add_argument("--only", choices=SYSTEMS, help="make the cells of one system")
    options.add_argument("--set", choices=sorted(SETS), help="make the cells of one set")
    options.add_argument("--model", choices=sorted(MODELS), help="make the cells of one model")
    options.add_argument("--threads", default="1")
    options.add_argument("--render", action="store_true", help="make nothing, write the table")
    given = options.parse_args()
    if not given.render:
        if given.images is None or given.weights is None:
            options.error("--images and --weights are needed to make cells")
        for key in cells(given):
            make(key, given)
    write(given.cells)


def cells(given: argparse.Namespace) -> Iterator[Key]:
    """The cells that were asked for, seed by seed, so that an early stop leaves whole seeds."""
    for seed in SEEDS:
        for name in [given.set] if given.set else SETS:
            for model in [given.model] if given.model else MODELS:
                for system in [given.only] if given.only else SYSTEMS:
                    yield system, model, name, seed


def make(key: Key, given: argparse.Namespace) -> None:
    """Run one cell in a process of its own, unless its file is there."""
    system, model, name, seed = key
    target = path_of(given.cells, key)
    if target.exists():
        return
    python = PEERS_PYTHON if system == "anomalib" else Path(sys.executable)
    command = [str(python), "-W", "ignore", script(f"anomaly_{system}.py"), "--model", model]
    command += ["--data", str(given.images / name), "--weights", str(given.weights)]
    command += ["--size", str(SIZE), "--seed", str(seed), "--threads", given.threads]
    command += ["--epochs", str(SETS[name].epochs), "--ratio", str(SETS[name].ratio)]
    command += ["--out", str(target)]
    memory = PEER_MEMORY if system == "anomalib" else {}
    environment = {**os.environ, "OMP_NUM_THREADS": given.threads, **memory}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    auroc = json.loads(target.read_text())["image_auroc"]
    print(f"{target.stem}: {auroc:.4f} in {time.perf_counter() - started:.0f} s", flush=True)


def path_of(folder: Path, key: Key) -> Path:
    """The file of one cell."""
    return folder / "{}-{}-{}-{}.json".format(*key)


def write(folder: Path) -> None:
    """Write results/anomaly.json and results/anomaly.md from the cells there are."""
    found = {
        (system, model, name, seed): json.loads(path.read_text())
        for system in SYSTEMS
        for model in MODELS
        for name in SETS
        for seed in SEEDS
        if (path := path_of(folder, (system, model, name, seed))).exists()
    }
    comparisons = [
        one for name in SETS for model in MODELS if (one := compare(found, model, name))["seeds"]
    ]
    rows = [row_of(one) for one in comparisons if one["difference"] is not None]
    without_images = [
        {key: value for key, value in cell.items() if key not in ("images", "headline")}
        for cell in found.values()
    ]
    save("anomaly", rows, {"comparisons": comparisons, "cells": without_images})
    print(write_page(comparisons, list(found.values())))


def compare(found: dict[Key, dict[str, Any]], model: str, name: str) -> dict[str, Any]:
    """Both systems on one set: the scores of each seed, their means, and the difference.

    A seed counts for the difference when both systems have it.
    """
    of = {
        system: {
            seed: found[key] for seed in SEEDS if (key := (system, model, name, seed)) in found
        }
        for system in SYSTEMS
    }
    both = [seed for seed in SEEDS if all(seed in of[system] for system in SYSTEMS)]
    result: dict[str, Any] = {
        "set": name,
        "model": model,
        "seeds": sorted(set(of["anomalib"]) | set(of["sightline"])),
        "seeds_of_both": both,
        "difference": None,
        **{system: summary(of[system]) for system in SYSTEMS},
    }
    if both:
        pairs = [tuple(of[system][seed] for system in SYSTEMS) for seed in both]
        differences = [ours["image_auroc"] - peer["image_auroc"] for peer, ours in pairs]
        result["difference"] = statistics.fmean(differences)
        result["interval"] = interval(pairs)
    return result


def summary(of: dict[int, dict[str, Any]]) -> dict[str, Any] | None:
    """Scores of the seeds in order, with mean, deviation and seconds; None without any."""
    if not of:
        return None
    scores = [cell["image_auroc"] for cell in of.values()]
    return {
        "scores": {str(seed): cell["image_auroc"] for seed, cell in of.items()},
        "mean": statistics.fmean(scores),
        "deviation": statistics.stdev(scores) if len(scores) > 1 else None,
        "seconds": statistics.fmean([sum(cell["seconds"].values()) for cell in of.values()]),
    }


def interval(pairs: list[tuple[Any, ...]]) -> list[float]:
    """95% interval of the mean difference over test images drawn anew, normal and defect apart.

    The same images for both systems and all seeds (paired); how much seeds differ is not in it.
    """
    tables = [[scores_by_name(cell) for cell in pair] for pair in pairs]
    names = sorted(tables[0][0])
    if any(sorted(table) != names for pair in tables for table in pair):
        sys.exit("the systems were not tested on the same images")
    labels = np.array([tables[0][0][one][0] for one in names])
    scores = np.array([[[table[one][1] for one in names] for table in pair] for pair in tables])
    groups = [np.flatnonzero(labels == label) for label in (0, 1)]
    random = np.random.default_rng(0)
    differences = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([random.choice(group, len(group)) for group in groups])
        peers, ours = (
            np.mean([compute_auroc(one[drawn], labels[drawn]) for one in scores[:, place]])
            for place in (0, 1)
        )
        differences.append(ours - peers)
    return [float(one) for one in np.quantile(differences, (0.025, 0.975))]


def scores_by_name(cell: dict[str, Any]) -> dict[str, tuple[int, float]]:
    """Label and score of each image, by defect type and file name without its ending."""
    return {one["id"].rsplit(".", 1)[0]: (one["label"], one["score"]) for one in cell["images"]}


def row_of(one: dict[str, Any]) -> Row:
    """A line of the table of all benchmarks."""
    means = [statistics.fmean(one[system]["scores"][str(seed)] for seed in one["seeds_of_both"])
             for system in reversed(SYSTEMS)]  # fmt: skip
    note = f"{means[0]:.4f} against {means[1]:.4f}, {len(one['seeds_of_both'])} seeds"
    what = f"{one['set']}: {MODELS[one['model']]}, image AUROC above anomalib's"
    return Row(what, one["difference"], "", 0, "at least", note=note)


if __name__ == "__main__":
    main()
