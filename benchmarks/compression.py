"""Recall of neighbours at equal sizes: learned encoders beside PCA, and what `compress` returns.

On a table of vectors, for each seed of the split: an encoder of 64, 128, 256 and 512 numbers and
PCA with as many, recall@5 and recall@10 of the test rows with intervals and paired differences, in
pools of 3,000 rows, of all rows, and of held-out rows only; then `sightline compress` for some
targets, and what it returns beside the best other form of as many bytes. Written with a table to
results/compression.md. Expected: about three quarters of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import RESULTS, Row, machine, save

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parents[1] / "shared" / "data" / "vectors_grocery" / "embeddings_f16.npy"
SIZES, KS = (64, 128, 256, 512), (5, 10)
TARGETS = (0.7, 0.8, 0.9, 0.95)
POOLS = {
    "3,000 rows": ["eval.pool=3000"],
    "all rows": ["eval.pool=full"],
    "held-out rows only": [
        "eval.pool=held-out",
        "data.val_fraction=0.08",
        "data.test_fraction=0.58",
    ],
}


@dataclass(frozen=True)
class Place:
    """Where the runs of this benchmark are, and the table they compress."""

    work: Path
    vectors: Path

    def call(self, *words: object) -> str:
        """What a command of Sightline prints; its error is shown where it fails."""
        command = [sys.executable, "-m", "sightline", *map(str, words)]
        done = subprocess.run(command, cwd=self.work, capture_output=True, text=True)
        if done.returncode not in (0, 1) or not done.stdout:
            raise SystemExit(
                f"{' '.join(map(str, words))}\n{done.stdout[-800:]}{done.stderr[-800:]}"
            )
        return done.stdout


def main() -> None:
    """Train, search, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, default=VECTORS)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "compression")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--targets", type=float, nargs="*", default=list(TARGETS))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    place = Place(options.work, options.vectors.resolve())
    cells = [
        cell
        for seed in options.seeds
        for pool in POOLS
        for size in SIZES
        for cell in _cells(place, pool, size, seed)
    ]
    searches = [
        _searched(place, one, seed) for seed in options.seeds[:1] for one in options.targets
    ]
    write(cells, searches)


def _cells(place: Place, pool: str, size: int, seed: int) -> list[dict[str, Any]]:
    """One trained encoder, judged on test beside PCA; one cell for each k."""
    kept = place.work / f"{pool.replace(',', '').replace(' ', '-')}-{size}-{seed}.json"
    if not kept.exists():
        folder = place.work / "runs" / kept.stem
        start = time.perf_counter()
        settings = [f"model.latent_dim={size}", f"project.seed={seed}", f"output.exp_dir={folder}"]
        vectors = f"data.vectors={place.vectors}"
        place.call("train", "compress/neighbours", vectors, *settings, *POOLS[pool])
        seconds = time.perf_counter() - start
        found = json.loads(
            place.call("evaluate", "latest", "--exp-dir", folder, "--split", "test", "--json")
        )
        kept.write_text(json.dumps(found | {"seconds": seconds}), encoding="utf-8")
        print(kept.stem, f"{seconds:.0f} s", flush=True)
    found = json.loads(kept.read_text(encoding="utf-8"))
    (pca,) = found["baselines"]
    return [
        {
            "pool": pool,
            "rows": found["pool"],
            "numbers": size,
            "k": k,
            "seed": seed,
            "n": found["n"],
            "encoder": found["headline"][f"recall_at_{k}"],
            "pca": pca["scores"][f"recall_at_{k}"],
            "gain": pca["gains"][f"recall_at_{k}"],
            "seconds": round(found["seconds"], 1),
        }
        for k in KS
    ]


def _searched(place: Place, target: float, seed: int) -> dict[str, Any]:
    """What `compress` returns for a target, beside the best other form of as many bytes."""
    kept = place.work / f"compress-{target}-{seed}.json"
    if not kept.exists():
        start = time.perf_counter()
        keep = ("--keep", f"recall@10>={target}", "--json", f"project.seed={seed}")
        output = f"output.exp_dir={place.work / 'runs' / kept.stem}"
        found = json.loads(place.call("compress", place.vectors, *keep, output))
        seconds = time.perf_counter() - start
        kept.write_text(json.dumps(found | {"seconds": seconds}), encoding="utf-8")
        print(kept.stem, f"{seconds:.0f} s", found["says"], flush=True)
    found = json.loads(kept.read_text(encoding="utf-8"))
    rows = found["rows"]
    (chosen,) = [row for row in rows if row["chosen"]]
    plain = [row for row in rows if row["transform"] != "learned"]
    same = [row for row in plain if row["bytes"] == chosen["bytes"]]
    # The best on val of as many bytes, where val was asked about all of them; else on test.
    tried = {row["form"]: row["value"] for row in found["tried"]}
    known = all(row["form"] in tried for row in same)
    best = max(same, key=lambda row: tried[row["form"]] if known else _recall(row)["value"])
    return {
        "target": target,
        "seed": seed,
        "verdict": found["verdict"],
        "chosen": chosen,
        "best_other": best,
        "against": chosen.get("against"),
        "says": found["says"],
        "seconds": round(found["seconds"], 1),
    }


def write(cells: list[dict[str, Any]], searches: list[dict[str, Any]]) -> Path:
    """Write the page and the JSON file; the path of the latter."""
    above = [cell for cell in cells if cell["gain"]["low"] > 0]
    below = [cell for cell in cells if cell["gain"]["high"] < 0]
    least = min(cells, key=lambda cell: cell["gain"]["value"])
    computer = machine()
    lines = [
        "# Compression: recall of neighbours at equal sizes",
        "",
        "Written by `.venv/bin/python benchmarks/compression.py`; single values are in "
        f"`compression.json`. {computer['cores']} cores of {computer['cpu']}. Image embeddings, "
        "5,125 rows of 1,280 numbers; queries are test rows, which nothing was fitted to or "
        "chosen by. Recall falls with the number of rows that are searched, and rows that were "
        "learnt from flatter both methods: so three pools. Intervals of 95 % over queries.",
        "",
        "## An encoder beside PCA with as many float32 numbers",
        "",
    ]
    for pool in POOLS:
        lines += _table(pool, [cell for cell in cells if cell["pool"] == pool])
    lines += [
        f"Of {len(cells)} cells the encoder is above PCA, outside the interval of the paired "
        f"difference, in {len(above)}, and below it in {len(below)}. The least difference: "
        f"{least['numbers']} numbers, recall@{least['k']}, {least['pool']}: "
        f"{_gain(least['gain'])}.",
        "",
        "## What `sightline compress` returns",
        "",
        "| asked | returned | bytes | smaller | recall@10 on test "
        "| best other form of as many bytes | its recall@10 | difference | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(one) for one in searches]
    path = RESULTS / "compression.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [
        Row("cells where the encoder is above PCA, outside the interval",
            len(above) / len(cells), "of all", 0.5, "at least", f"{len(above)} of {len(cells)}"),
        Row("least difference of recall from PCA", least["gain"]["value"], "", 0.0, "at least",
            f"{least['numbers']} numbers, recall@{least['k']}, {least['pool']}"),
    ]  # fmt: skip
    rows += [
        Row(f"{one['target']:g} asked, {one['chosen']['form']}: recall@10 less the best other's",
            _difference(one), "", 0.0, "at least", one["best_other"]["form"])
        for one in searches
    ]  # fmt: skip
    return save("compression", rows, {"cells": cells, "searches": searches})


def _table(pool: str, cells: list[dict[str, Any]]) -> list[str]:
    rows = cells[0]["rows"]
    lines = [
        f"Pool: {pool} ({rows['rows']:,}, of which {rows['held_out']:,} held out; "
        f"{cells[0]['n']:,} queries).",
        "",
        "| numbers | k | seed | encoder | PCA | difference |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cell['numbers']} | {cell['k']} | {cell['seed']} | {_numbers(cell['encoder'])} "
        f"| {_numbers(cell['pca'])} | {_gain(cell['gain'])} |"
        for cell in sorted(cells, key=lambda one: (one["numbers"], one["k"], one["seed"]))
    ]
    return [*lines, ""]


def _line(one: dict[str, Any]) -> str:
    chosen, best = one["chosen"], one["best_other"]
    gain = _gain(one["against"]["difference"]) if one["against"] else "it is that one"
    if not one["against"] and chosen["form"] != best["form"]:
        gain = f"{_difference(one):+.4f}"
    return (
        f"| {one['target']:g} | {chosen['form']} | {chosen['bytes']} | {chosen['ratio']:.0f} x "
        f"| {_numbers(_recall(chosen))}, {one['verdict']} | {best['form']} "
        f"| {_numbers(_recall(best))} | {gain} | {one['seconds'] / 60:.1f} |"
    )


def _recall(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = row["recall"]["10"]
    return found


def _difference(one: dict[str, Any]) -> float:
    return float(_recall(one["chosen"])["value"] - _recall(one["best_other"])["value"])


def _numbers(one: dict[str, Any]) -> str:
    return f"{one['value']:.4f} [{one['low']:.4f}, {one['high']:.4f}]"


def _gain(one: dict[str, Any]) -> str:
    return f"{one['value']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"


if __name__ == "__main__":
    main()
