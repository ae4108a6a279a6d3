"""Recall of embeddings that Sightline and pytorch-metric-learning learn, on the same pictures.

Same backbone and weights, picture size, epochs and seeds. Each (contestant, set, seed) is a cell:
embeddings in a file of their own, made in their own process; those that are there are not made
again. All are scored by retrieval_protocol.py. Some three hours on one core.

    python benchmarks/retrieval.py --images FOLDER --weights FILE [--only sightline] [--render]
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
from pathlib import Path
from typing import Any

import numpy as np

from interleave import PEERS_PYTHON, WORK, script
from record import save
from retrieval_comparison import FROZEN, OURS, SCORES, TRAINED_PEERS, Cells, compare, rows_of
from retrieval_protocol import COMPARISONS, TUNING, read_embed, score, write_tables
from retrieval_table import write_page

RECIPES = {"pml-arcface": "arcface", "pml-triplet": "triplet", FROZEN: "none"}
"""What retrieval_pml.py calls the recipe of each contestant but ours."""
CONTESTANTS = [*RECIPES, OURS]
SEEDS = (0, 1, 2)
SIZE, EPOCHS = 128, 6
VARIANTS = {
    "x1": ("--rates", "1"),
    "x10": ("--rates", "10"),
    "x10-frozen": ("--rates", "10", "--freeze-batchnorm"),
    "x30-frozen": ("--rates", "30", "--freeze-batchnorm"),
}
"""What of the peers is chosen for each set, on a part of train that is held out: the rates of their
examples are for epochs of thousands of steps, and whether BatchNorm learns is an option there."""
# Freed memory is kept by the process, as Sightline's command does itself: less time, same numbers.
PEER_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
}


def main() -> None:
    """Make the cells that are missing, then write the table of those there are."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=Path, help="the folder that holds the sets")
    options.add_argument("--weights", type=Path, help="state dict of mobilenetv2_100")
    options.add_argument("--cells", type=Path, default=WORK / "retrieval")
    options.add_argument("--only", choices=CONTESTANTS, help="make the cells of one contestant")
    options.add_argument("--set", choices=sorted(COMPARISONS), help="make the cells of one set")
    options.add_argument("--threads", default="1")
    options.add_argument("--tune", action="store_true", help="make what the peers' variants need")
    options.add_argument("--variant", choices=sorted(VARIANTS), help="with --tune: only this one")
    options.add_argument("--render", action="store_true", help="make nothing, write the table")
    options.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="for Sightline's command")
    given = options.parse_args()
    if not given.render:
        if given.images is None or given.weights is None:
            options.error("--images and --weights are needed to make cells")
        for name in [*COMPARISONS, *TUNING]:
            write_tables(given.images, name, given.cells / name)
        for target, contestant, name, more in wanted(given):
            make(given, target, contestant, name, more)
    if not given.tune:
        write(given.cells)


def wanted(given: argparse.Namespace) -> Iterator[tuple[Path, str, str, list[str]]]:
    """File, contestant, set and options of the cells asked for, seed by seed."""
    contestants = [given.only] if given.only else CONTESTANTS
    names = [given.set] if given.set else [*COMPARISONS]
    variants = [given.variant] if given.variant else [*VARIANTS]
    if given.tune:
        for name in (f"{one}.tuning" for one in names):
            for contestant in contestants:
                for variant in variants if contestant in TRAINED_PEERS else ():
                    target = tuning_file(given.cells, contestant, name, variant)
                    yield target, contestant, name, ["--seed", "0", *VARIANTS[variant]]
        return
    for seed in SEEDS:
        for name in names:
            for contestant in contestants:
                more = ["--seed", str(seed)]
                if contestant in TRAINED_PEERS:
                    more += VARIANTS[best_variant(given.cells, contestant, name)]
                if contestant != FROZEN or seed == SEEDS[0]:
                    yield path_of(given.cells, contestant, name, seed), contestant, name, more


def make(
    given: argparse.Namespace, target: Path, contestant: str, name: str, more: list[str]
) -> None:
    """Run one cell in a process of its own, unless its file is there."""
    if target.with_suffix(".json").exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    python, file = (
        (sys.executable, "retrieval_sightline.py")
        if contestant == OURS
        else (str(PEERS_PYTHON), "retrieval_pml.py")
    )
    command = [python, "-W", "ignore", script(file), "--tables", str(given.cells / name)]
    command += ["--data", str(given.images / TUNING.get(name, name))]
    command += ["--weights", str(given.weights), "--threads", given.threads]
    command += ["--size", str(SIZE), "--epochs", str(EPOCHS), "--out", str(target), *more]
    command += given.settings if contestant == OURS else ["--recipe", RECIPES[contestant]]
    environment = {**os.environ, "OMP_NUM_THREADS": given.threads}
    environment |= {} if contestant == OURS else PEER_MEMORY
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    found = scores_of(given.cells, target, name)
    shown = ", ".join(f"{key} {one['recall_at_1']:.4f}" for key, one in found.items())
    print(f"{target.stem}: {shown}, {time.perf_counter() - started:.0f} s", flush=True)


def path_of(folder: Path, contestant: str, name: str, seed: int) -> Path:
    """The embeddings of one cell; what was done lies beside them."""
    return folder / f"{contestant}-{name}-{seed}.npy"


def tuning_file(folder: Path, contestant: str, name: str, variant: str) -> Path:
    """The embeddings of one variant, trained on a part of train."""
    return folder / "tuning" / f"{contestant}-{name}-{variant}.npy"


def scores_of(folder: Path, target: Path, name: str) -> dict[str, dict[str, Any]]:
    """Scores of one file of embeddings in each comparison of its set."""
    rows, embeddings = read_embed(folder / name), np.load(target)
    return {one.name: score(embeddings, rows, one) for one in COMPARISONS[TUNING.get(name, name)]}


def tuning_of(folder: Path, contestant: str, name: str) -> dict[str, float]:
    """For each variant Recall@1 plus mAP@R of the held-out part, the mean of its galleries."""
    found = {}
    for variant in VARIANTS:
        path = tuning_file(folder, contestant, f"{name}.tuning", variant)
        if path.with_suffix(".json").exists():
            scores = scores_of(folder, path, f"{name}.tuning").values()
            found[variant] = statistics.fmean(sum(one[key] for key in SCORES) for one in scores)
    return found


def best_variant(folder: Path, contestant: str, name: str) -> str:
    """The variant with the best sum among those that were tried, at least two."""
    found = tuning_of(folder, contestant, name)
    if len(found) < 2:
        sys.exit(f"{contestant}'s variant for {name} is not chosen yet: run with --tune first")
    return max(found, key=lambda variant: found[variant])


def write(folder: Path) -> None:
    """Write results/retrieval.json and results/retrieval.md from the cells there are."""
    cells: Cells = {}
    for contestant in CONTESTANTS:
        for name in COMPARISONS:
            for seed in SEEDS:
                path = path_of(folder, contestant, name, seed)
                if path.with_suffix(".json").exists():
                    facts = json.loads(path.with_suffix(".json").read_text())
                    cells[contestant, name, seed] = facts | {
                        "contestant": contestant,
                        "set": name,
                        "seed": seed,
                        "scores": scores_of(folder, path, name),
                    }
    tuning = {
        f"{contestant} {name}": found
        for contestant in TRAINED_PEERS
        for name in COMPARISONS
        if (found := tuning_of(folder, contestant, name))
    }
    found = [compare(cells, name, one) for name in COMPARISONS for one in COMPARISONS[name]]
    comparisons = [one for one in found if one["systems"]]
    rows = [row for one in comparisons for row in rows_of(one)]
    kept = [{**cell, "scores": short(cell["scores"])} for cell in cells.values()]
    save("retrieval", rows, {"comparisons": comparisons, "tuning": tuning, "cells": kept})
    print(write_page(comparisons, kept, tuning))


def short(scores: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Scores without those of each query."""
    return {
        name: {key: value for key, value in one.items() if not isinstance(value, list)}
        for name, one in scores.items()
    }


if __name__ == "__main__":
    main()
