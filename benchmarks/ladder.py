"""The ladder of the recipes: basic < highperf < optimized, and calibration, on two public sets.

Each rung is trained with three seeds on splits that are the same for all rungs of a seed; the
search of `optimized` sees fit and val alone; test is read at the end of each rung. Needs the
pictures and ImageNet weights that the options name; small backbone and pictures, for two CPU cores.

    python benchmarks/ladder.py trashnet --images FOLDER --weights FILE [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interleave import WORK
from record import Row, save

SIGHTLINE = Path(sys.executable).with_name("sightline")
SEEDS = (1, 2, 3)
RUNGS = ("basic", "highperf", "optimized")
SPACE = Path(__file__).with_name("ladder_space.yaml")
RECEIPTS = (
    *("train.img_size=208", "train.batch_size=16", "train.lr=1e-3", "data.fit=pad"),
    # The scans are upright.
    *("data.augment.preset=document", "data.augment.quarter_turns=0"),
)
MODEL = ("model.name=mobilenetv2_100", "model.drop_path_rate=0", "train.layer_decay=null")


@dataclass(frozen=True)
class Ladder:
    """How the recipes are made small enough for one set of pictures."""

    split: tuple[str, ...]
    rungs: dict[str, tuple[str, ...]]
    trials: int
    trial_epochs: int
    one_search: bool
    """One search, on the first seed's fit and val, whose split all seeds share."""


LADDERS = {
    "trashnet": Ladder(
        split=(),
        rungs={
            "basic": ("train.img_size=96", "train.epochs=6"),
            "highperf": ("train.img_size=128", "train.epochs=10", "train.lr=5e-4"),
            "optimized": ("train.img_size=128", "train.epochs=14", "train.lr=5e-4"),
        },
        trials=8,
        trial_epochs=4,
        one_search=True,
    ),
    "docs_receipts": Ladder(
        split=("data.val_fraction=0.2", "data.test_fraction=0.2"),
        rungs={
            "basic": ("train.img_size=160", "train.batch_size=16", "train.epochs=12"),
            "highperf": (*RECEIPTS, "train.epochs=24"),
            "optimized": (*RECEIPTS, "train.epochs=30", "infer.tta=none"),
        },
        trials=8,
        trial_epochs=10,
        one_search=False,
    ),
}


def main() -> None:
    """Climb one ladder with every seed, and save the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("name", choices=sorted(LADDERS))
    options.add_argument("--images", type=Path, required=True)
    options.add_argument("--weights", type=Path, required=True)
    options.add_argument("--threads", default="2")
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = given.threads
    climb = Climb(given.name, LADDERS[given.name], given.images, given.weights)
    scores = [climb.rung(rung, seed) for seed in SEEDS for rung in RUNGS]
    rows = rows_of(given.name, scores)
    details = {"ladder": LADDERS[given.name].rungs, "scores": scores, "seeds": SEEDS}
    save(f"ladder_{given.name}", rows, details)
    for row in rows:
        print(f"{row.what}: {row.value:.4f} {row.note}")


@dataclass(frozen=True)
class Climb:
    """One set of pictures, and where its runs go."""

    name: str
    ladder: Ladder
    images: Path
    weights: Path

    @property
    def place(self) -> Path:
        """The folder of everything this benchmark writes."""
        return WORK / "ladder" / self.name

    def rung(self, rung: str, seed: int) -> dict[str, Any]:
        """Train one rung with one seed, or take what an interrupted climb left; its scores."""
        saved = self.place / f"{rung}-{seed}.json"
        if saved.exists():
            return dict(json.loads(saved.read_text()))
        started = time.perf_counter()
        source = f"classify/{rung}"
        settings = [*self._settings(rung, seed)]
        if rung == "optimized":
            epochs = [one for one in settings if one.startswith("train.epochs=")]
            source = str(self._searched(settings, seed))
            settings = [f"project.seed={seed}", *epochs]
        runs = self.place / "runs" / f"{rung}-{seed}"
        settings += [f"output.exp_dir={runs}", f"output.logs_dir={self.place / 'logs'}"]
        self._call("train", source, *settings)
        run = ["latest", "--exp-dir", runs]
        plain = self._call("evaluate", *run, "--split", "test", "--no-calibration", "--json")
        self._call("evaluate", *run, "--no-calibration", "--tta", "none")
        calibration = self._call("calibrate", *run, "--json")
        after = self._call("evaluate", *run, "--split", "test", "--use-calibration", "--json")
        scores = {
            "rung": rung,
            "seed": seed,
            "minutes": (time.perf_counter() - started) / 60,
            "before": _scores(plain),
            "after": _scores(after),
            "calibration": {key: calibration[key] for key in ("before", "after", "members")},
        }
        saved.write_text(json.dumps(scores, indent=1))
        print(f"{rung} seed {seed}: {scores['before']} -> {scores['after']}", flush=True)
        return scores

    def _settings(self, rung: str, seed: int) -> list[str]:
        """The data, the model and the size of one rung."""
        splits = self.place / f"splits-{1 if self.ladder.one_search else seed}.csv"
        if not splits.exists():
            splits.parent.mkdir(parents=True, exist_ok=True)
            first = f"project.seed={1 if self.ladder.one_search else seed}"
            self._call("split", self.images, "--out", splits, first, *self.ladder.split)
        settings = [f"data.manifest={splits}", f"model.weights={self.weights}", *MODEL]
        settings += [*self.ladder.rungs[rung], f"project.seed={seed}"]
        return settings if rung == "basic" else [*settings, "data.folds=0"]

    def _searched(self, settings: list[str], seed: int) -> Path:
        """The configuration that a search on fit and val found best."""
        number = SEEDS[0] if self.ladder.one_search else seed
        folder = self.place / f"search-{number}"
        if not (folder / "outcome.json").exists():
            settings += [f"project.seed={number}", f"train.epochs={self.ladder.trial_epochs}"]
            settings += [f"output.exp_dir={folder / 'runs'}"]
            found = self._call("tune", "classify/optimized", *settings, "--space", SPACE,
                               "--n-trials", self.ladder.trials, "--json")  # fmt: skip
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "outcome.json").write_text(json.dumps(found, indent=1))
        return Path(json.loads((folder / "outcome.json").read_text())["best"]["config"])

    def _call(self, *arguments: object) -> Any:
        """One command; what it printed as JSON, where it was asked for."""
        command = [str(SIGHTLINE), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=WORK, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout) if "--json" in command else None


def _scores(result: dict[str, Any]) -> dict[str, float]:
    found = {name: result["headline"][name]["value"] for name in ("macro_f1", "accuracy")}
    found |= {name: result["calibration"][name]["value"] for name in ("ece", "nll", "brier")}
    return {**found, "n": result["n"]}


def rows_of(name: str, scores: list[dict[str, Any]]) -> list[Row]:
    """Mean and spread of every rung, and whether each is above the one before."""

    def of(rung: str, when: str, score: str) -> list[float]:
        return [one[when][score] for one in scores if one["rung"] == rung]

    rows, means = [], []
    for rung in RUNGS:
        values = of(rung, "before", "macro_f1")
        means.append(statistics.fmean(values))
        note = f"standard deviation {statistics.stdev(values):.4f} of {len(values)} seeds"
        rows.append(Row(f"{name}: {rung}, test macro-F1", means[-1], "", note=note))
    for lower, upper, first, second in zip(RUNGS, RUNGS[1:], means, means[1:], strict=False):
        rows.append(Row(f"{name}: {upper} above {lower}", second - first, "", 0, "at least"))
    for rung in RUNGS:
        before, after = (statistics.fmean(of(rung, when, "ece")) for when in ("before", "after"))
        note = f"{before:.4f} before, {after:.4f} after"
        rows.append(Row(f"{name}: {rung}, test ECE after calibration", after - before, "", 0,
                        note=note))  # fmt: skip
        moved = [
            abs(a - b)
            for a, b in zip(
                of(rung, "before", "accuracy"), of(rung, "after", "accuracy"), strict=True
            )
        ]
        rows.append(Row(f"{name}: {rung}, accuracy moved by calibration", max(moved), "", 0))
    return rows


if __name__ == "__main__":
    main()
