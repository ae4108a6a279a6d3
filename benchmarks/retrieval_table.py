"""Writes results/retrieval.md: all contestants of retrieval.py side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from record import RESULTS, machine
from retrieval_comparison import FROZEN, OURS, SCORES

NAMES = {
    "pml-arcface": "pytorch-metric-learning, ArcFace",
    "pml-triplet": "pytorch-metric-learning, triplets",
    FROZEN: "backbone without training",
    OURS: "Sightline",
}
SCORE_NAMES = {"recall_at_1": "Recall@1", "recall_at_5": "Recall@5", "map_at_r": "mAP@R"}
PROTOCOL = (
    "All learn from all of train and are judged by their last epoch; no validation chooses one. "
    "BatchNorm of the backbone is frozen in both, Sightline's sampler is the peer's (shuffled "
    "batches of 32). Test pictures are embedded once.",
    "The rates, sampler and schedule of `retrieve/basic` were chosen on the same held-out parts of "
    "train as the peers' rates, among 20 settings and with seed 0; the peers' among four. There "
    "it reached Recall@1 0.901 and mAP@R 0.712 on the products (peer 0.852 and 0.670), 0.202 and "
    "0.075 on the animals (peer 0.226 and 0.077).",
    "The peers' losses, miner, sampler, optimizers, batch size and augmentation are those of "
    "pytorch-metric-learning's examples (paths in `contestants/retrieval_pml.py`). Their learning "
    "rates are for epochs of thousands of steps, and here an epoch has about 30: the examples' "
    "own (x1) and ten times those (x10) were tried, ten and thirty times also with the trunk's "
    "BatchNorm frozen, an option of its trainer, as the statistics in the weights file are rebuilt "
    "ones; a blank in the table was not tried. Used is what has the highest Recall@1 plus mAP@R "
    "on a held-out part of train (a fifth of the animals, a quarter of each product's pictures, "
    "seed 0).",
    "One script in plain NumPy scores every contestant's embeddings, by cosine, equal scores "
    "counted against the query.",
    "open-metric-learning is not beside them: version 4.0.0 asks for NumPy below 2, which the "
    "versions pinned for this project and its other peers exclude; the newest version that fits "
    "them is 2.1.5 of 2023, which replaces a package of anomalib's.",
)


def write_page(
    comparisons: list[dict[str, Any]],
    cells: list[dict[str, Any]],
    tuning: dict[str, dict[str, float]],
) -> Path:
    """Write the page; its path."""
    lines = ["# Retrieval: side by side", ""]
    lines += ["Written by `benchmarks/retrieval.py`; single values are in `retrieval.json`.", ""]
    for one in comparisons:
        lines += _comparison(one)
    lines += ["## How it was done", "", *(f"- {sentence}" for sentence in PROTOCOL)]
    lines += [*_conditions(cells), "", *_tuning(tuning), *_settings(cells), *_seconds(cells)]
    path = RESULTS / "retrieval.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _comparison(one: dict[str, Any]) -> list[str]:
    n = one["n"]
    left_out = f"; {n['left_out']} queries have no match and are left out" if n["left_out"] else ""
    lines = [
        f"## {one['set']}: {one['what']}",
        "",
        f"{n['queries']} queries of {n['classes']} classes, {n['gallery']} pictures in the "
        f"gallery{left_out}. Mean of the seeds, deviation in brackets:",
        "",
        f"| contestant | Recall@1 of each seed | {' | '.join(SCORE_NAMES.values())} |",
        "|---|---|---|---|---|",
    ]
    lines += [_system(one["systems"].get(system), name) for system, name in NAMES.items()]
    found = one.get("differences")
    if found:
        lines += ["", "| score | Sightline less | difference | 95% interval | at least 0 |"]
        lines += ["|---|---|---|---|---|", *(_difference(key, found[key]) for key in SCORES)]
    return [*lines, ""]


def _system(found: dict[str, Any] | None, name: str) -> str:
    if found is None:
        return f"| {name} | not run | | | |"
    seeds = ", ".join(f"{value:.4f}" for value in found["recall_at_1"]["seeds"].values())
    shown = []
    for key in SCORE_NAMES:
        mean, deviation = found[key]["mean"], found[key]["deviation"]
        shown.append(f"{mean:.4f}" + ("" if deviation is None else f" ({deviation:.4f})"))
    return f"| {name} | {seeds} | {' | '.join(shown)} |"


def _difference(key: str, found: dict[str, Any]) -> str:
    low, high = found["interval"]
    reached = "yes" if found["value"] >= 0 else "**no**"
    return (
        f"| {SCORE_NAMES[key]} | {NAMES[found['peer']]} | {found['value']:+.4f} | "
        f"{low:+.4f} to {high:+.4f} | {reached} |"
    )


def _conditions(cells: list[dict[str, Any]]) -> list[str]:
    if not cells:
        return []
    sizes, digests, threads = (
        " and ".join(sorted({str(cell["settings"][key])[:12] for cell in cells}))
        for key in ("size", "weights_sha256", "threads")
    )
    return [
        f"- Picture size {sizes}, backbone mobilenetv2_100 of timm, weights file with SHA-256 "
        f"{digests}..., {threads} thread(s) on {machine()['cpu']}.",
        "- The interval is over classes drawn anew with all their queries, the same for both; that "
        "seeds differ is not in it.",
    ]


def _tuning(tuning: dict[str, dict[str, float]]) -> list[str]:
    """What the choice of the peers' variants was made from."""
    if not tuning:
        return []
    variants = list(dict.fromkeys(variant for found in tuning.values() for variant in found))
    lines = [
        "Recall@1 plus mAP@R of the held-out part of train (for the products the mean over both "
        "galleries):",
        "",
        f"| contestant and set | {' | '.join(variants)} |",
        "|---" * (len(variants) + 1) + "|",
    ]
    for name, found in tuning.items():
        shown = " | ".join(f"{found[one]:.4f}" if one in found else "" for one in variants)
        lines.append(f"| {name} | {shown} |")
    return [*lines, ""]


def _settings(cells: list[dict[str, Any]]) -> list[str]:
    """One line for each contestant and set: what was set."""
    lines = ["## Settings", ""]
    for cell in _first_of_each(cells):
        settings = cell["settings"]
        words = f"{settings['recipe']}, {settings['epochs']} epochs"
        if cell["contestant"] == OURS:
            words = f"`sightline train {settings['recipe']} {' '.join(settings['overrides'])}`"
        elif cell["contestant"] != FROZEN:
            rates = ", ".join(f"{name} {rate:g}" for name, rate in settings["rates"].items())
            words += f", batches of {settings['batch_size']}, {cell['steps']} steps, Adam: {rates}"
            words += f", BatchNorm {settings['batchnorm']}"
        versions = ", ".join(f"{name} {number}" for name, number in cell["versions"].items())
        lines.append(f"- {NAMES[cell['contestant']]}, {cell['set']}: {words} ({versions})")
    return [*lines, ""]


def _seconds(cells: list[dict[str, Any]]) -> list[str]:
    """Mean seconds of each contestant on each set, for orientation."""
    lines = [
        "Seconds of training and of embedding, other work on the machine; Sightline's are whole "
        "commands with start, figures and report:",
        "",
    ]
    for one in _first_of_each(cells):
        same = [cell for cell in cells if _key(cell) == _key(one)]
        train, embed = (
            sum(cell["seconds"][part] for cell in same) / len(same) for part in ("train", "embed")
        )
        lines.append(f"- {NAMES[one['contestant']]}, {one['set']}: {train:.0f} and {embed:.0f}")
    return lines


def _first_of_each(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        found.setdefault(_key(cell), cell)
    return list(found.values())


def _key(cell: dict[str, Any]) -> tuple[str, str]:
    return cell["contestant"], cell["set"]


if __name__ == "__main__":
    raise SystemExit("run benchmarks/retrieval.py --render")
