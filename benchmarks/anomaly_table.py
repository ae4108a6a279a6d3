"""Writes results/anomaly.md: both systems side by side, and the ledger of published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from record import RESULTS, machine

LEDGER = Path(__file__).with_name("ledger_anomaly.yaml")
NAMES = {"stfpm": "STFPM", "patchcore": "PatchCore"}
# Of the same page of published figures; there is no command for them.
NOT_BUILT = (
    "PaDiM ResNet-18 .891 (.968), Wide ResNet-50-2 .950 (.979); Reverse Distillation Wide "
    "ResNet-50-2 .985 (.969); FastFlow ResNet-18 .907 (.968), Wide ResNet-50-2 .963 (.979); "
    "EfficientAD-S .982, -M .975"
)


def write_page(comparisons: list[dict[str, Any]], cells: list[dict[str, Any]]) -> Path:
    """Write the page; its path."""
    lines = ["# Anomaly detection: side by side, and published figures", ""]
    lines += ["Written by `benchmarks/anomaly.py`; single values are in `anomaly.json`.", ""]
    for name in dict.fromkeys(one["set"] for one in comparisons):
        lines += _set(name, [one for one in comparisons if one["set"] == name], cells)
    lines += _conditions(cells)
    lines += _ledger(yaml.safe_load(LEDGER.read_text(encoding="utf-8")))
    path = RESULTS / "anomaly.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _set(name: str, comparisons: list[dict[str, Any]], cells: list[dict[str, Any]]) -> list[str]:
    here = [cell for cell in cells if cell["set"] == name]
    trained = next((cell["n"]["train"] for cell in here if "train" in cell["n"]), None)
    n = here[0]["n"]
    seeds = sorted({seed for one in comparisons for seed in one["seeds"]})
    columns = [f"seed {seed}" for seed in seeds]
    lines = [
        f"## {name}",
        "",
        f"{trained or 'all'} normal images for training; test {n['normal']} normal and "
        f"{n['anomalous']} anomalous. Image AUROC on test:",
        "",
        f"| model | system | {' | '.join(columns)} | mean | deviation | seconds a run |",
        "|---" * (len(seeds) + 5) + "|",
    ]
    lines += [
        _system(one, system, seeds) for one in comparisons for system in ("anomalib", "sightline")
    ]
    lines += ["", "| model | Sightline - anomalib | 95% interval over images | at least 0 |"]
    lines.append("|---|---|---|---|")
    lines += [_difference(one) for one in comparisons]
    return [*lines, "", *_settings(here), *_pixels(here)]


def _system(one: dict[str, Any], system: str, seeds: list[int]) -> str:
    found, model = one[system], NAMES[one["model"]]
    if found is None:
        return f"| {model} | {system} | {' | '.join('not run' for _ in seeds)} | | | |"
    scores = [found["scores"].get(str(seed)) for seed in seeds]
    shown = " | ".join("not run" if score is None else f"{score:.4f}" for score in scores)
    deviation = "" if found["deviation"] is None else f"{found['deviation']:.4f}"
    mean, seconds = f"{found['mean']:.4f}", f"{found['seconds']:.0f}"
    return f"| {model} | {system} | {shown} | {mean} | {deviation} | {seconds} |"


def _difference(one: dict[str, Any]) -> str:
    model = NAMES[one["model"]]
    if one["difference"] is None:
        return f"| {model} | not run | | |"
    low, high = one["interval"]
    reached = "yes" if one["difference"] >= 0 else "**no**"
    return f"| {model} | {one['difference']:+.4f} | {low:+.4f} to {high:+.4f} | {reached} |"


def _settings(cells: list[dict[str, Any]]) -> list[str]:
    """One line for each model and system: what was set."""
    lines, seen = [], set()
    for cell in cells:
        model, system, settings = NAMES[cell["model"]], cell["system"], cell["settings"]
        if (model, system) in seen:
            continue
        seen.add((model, system))
        if model == "STFPM":
            words = f"{settings['epochs']} epochs, batches of {settings['batch_size']}"
            if "lr" in settings:
                words += f", SGD {settings['lr']}, momentum {settings['momentum']}"
                words += f", weight decay {settings['weight_decay']}"
        else:
            words = f"coreset ratio {settings['coreset_ratio']}"
            if "memory_bank" in settings:
                words += f" ({settings['memory_bank'][0]} patches)"
            if "neighbors" in settings:
                words += f", {settings['neighbors']} neighbours"
        more = " ".join(settings.get("overrides", []))
        words += f": `sightline train anomaly/{cell['model']} {more} --test`" if more else ""
        lines.append(f"- {model}, {system}: {words}")
    return lines


def _pixels(cells: list[dict[str, Any]]) -> list[str]:
    lines = ["", "Pixel AUROC, each system by its own measure (see below), mean over seeds:", ""]
    groups: dict[str, list[float]] = {}
    for cell in cells:
        if "own_pixel_auroc" in cell:
            place = f"{NAMES[cell['model']]}, {cell['system']}"
            groups.setdefault(place, []).append(cell["own_pixel_auroc"])
    lines += [f"- {place}: {sum(found) / len(found):.4f}" for place, found in groups.items()]
    return [*lines, ""]


def _conditions(cells: list[dict[str, Any]]) -> list[str]:
    lines = ["## Conditions", ""]
    if not cells:
        return lines
    sizes, digests, threads = (
        " and ".join(sorted({str(cell["settings"][key])[:12] for cell in cells}))
        for key in ("size", "weights_sha256", "threads")
    )
    lines += [
        f"- image size {sizes}, backbone ResNet-18, weights file with SHA-256 {digests}..., the "
        "teacher or backbone takes all 90 tensors of it, the student starts at random",
        f"- {threads} thread(s) on {machine()['cpu']}, other work on the machine: seconds are "
        "for orientation, not a claim of speed; anomalib's are training and test, Sightline's the "
        "whole command with start, figures and report",
        "- the interval is over test images drawn anew, the same for both systems; that seeds "
        "differ is not in it",
    ]
    for system in dict.fromkeys(cell["system"] for cell in cells):
        cell = next(cell for cell in cells if cell["system"] == system)
        versions = ", ".join(f"{name} {number}" for name, number in cell["versions"].items())
        lines += [f"- {system}: {cell['protocol']}", f"- {system}: {versions}"]
    return [*lines, ""]


def _ledger(entries: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Ledger of published figures",
        "",
        "MVTEC is a folder with the MVTec AD data set; the backbone needs its ImageNet weights.",
        "",
        "| figure | source | expected | tolerance | status | command |",
        "|---|---|---|---|---|---|",
    ]
    for one in entries:
        sign = "at least " if one["is"] == "at least" else ""
        expected = ", ".join(f"{name} {sign}{value}" for name, value in one["expected"].items())
        lines.append(
            f"| {one['what']} | {one['source']} | {expected} | {one['tolerance']} | "
            f"{one['status']} | `{one['command']}` |"
        )
    return [*lines, "", f"Not run, as the methods are not built: {NOT_BUILT}."]


if __name__ == "__main__":
    raise SystemExit("run benchmarks/anomaly.py --render")
