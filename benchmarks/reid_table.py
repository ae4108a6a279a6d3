"""Writes results/reid.md and reid.json: the ladder of reid_ladder.py, and what its top gains."""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from record import RESULTS, Row, machine, save
from sightline.metrics.grouped_means import mean_estimate

SCORES = {"map": "mAP", "rank_1": "rank-1", "rank_5": "rank-5", "minp": "mINP"}


def write_page(cells: list[dict[str, Any]], *, rungs: list[str], beside: str, name: str) -> Path:
    """Write the page; its path."""
    by_rung: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for cell in cells:
        by_rung[cell["rung"]].append(cell)
    shown = [rung for rung in rungs if by_rung[rung]]
    first = cells[0]["scores"]
    lines = ["# Re-identification: the ablation ladder", ""]
    lines += [f"Written by `benchmarks/reid_ladder.py`; single values are in `{name}.json`.", ""]
    said = first["protocol"]["said"]
    lines += [f"{said[0].upper()}{said[1:]}.", ""]
    lines += _ladder(by_rung, shown)
    learnt = [one for one in shown if not one.endswith("re-ranking")]
    comparison = _gain(by_rung, beside, learnt[-1])
    order = _order(by_rung, [one for one in shown if one != beside])
    lines += ["", *comparison["said"], "", *order, "", *_conditions(by_rung, shown), ""]
    path = RESULTS / f"{name}.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    rows = [
        Row(
            f"mAP of the whole recipe less that of {beside}, {comparison['identities']} identities",
            comparison["gain"],
            "",
            goal=0.0,
            goal_is="at least",
            note=f"95 % {comparison['low']:+.3f} to {comparison['high']:+.3f}",
        )
    ]
    details = {
        "cells": [
            {
                "rung": cell["rung"],
                "seed": cell["seed"],
                "seconds": round(cell["seconds"], 1),
                **{name: _value(cell, name) for name in SCORES},
            }
            for cell in cells
        ],
    }
    save(name, rows, details)
    return path


def _value(cell: dict[str, Any], name: str) -> float:
    if cell["way"] == "plain":
        return float(cell["scores"]["headline"][name]["value"])
    return float(cell["scores"]["more"][f"{name}_{cell['way']}"]["value"])


def _mean(cells: list[dict[str, Any]], name: str) -> float:
    return statistics.mean(_value(cell, name) for cell in cells)


def _ladder(by_rung: dict[str, list[dict[str, Any]]], shown: list[str]) -> list[str]:
    heads = [*SCORES.values(), "mAP of each seed"]
    lines = [f"| rung | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for rung in shown:
        cells = by_rung[rung]
        numbers = [f"{_mean(cells, name):.3f}" for name in SCORES]
        seeds = ", ".join(f"{_value(cell, 'map'):.3f}" for cell in cells)
        lines.append(f"| {rung} | {' | '.join(numbers)} | {seeds} |")
    return lines


def _precisions(cells: list[dict[str, Any]]) -> dict[str, tuple[str, float]]:
    """Query -> its identity and its average precision, the mean over the seeds."""
    found: dict[str, list[float]] = defaultdict(list)
    identity = {}
    for cell in cells:
        with open(cell["queries"], newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                if row["average_precision"]:
                    found[row["id"]].append(float(row["average_precision"]))
                    identity[row["id"]] = row["identity"]
    return {one: (identity[one], statistics.mean(values)) for one, values in found.items()}


def _gain(by_rung: dict[str, list[dict[str, Any]]], beside: str, top: str) -> dict[str, Any]:
    """The paired difference in average precision, drawn by whole identities."""
    one, other = _precisions(by_rung[top]), _precisions(by_rung[beside])
    asked = sorted(one.keys() & other.keys())
    found = mean_estimate(
        [one[name][1] - other[name][1] for name in asked],
        groups=np.array([one[name][0] for name in asked]),
    )
    said = (
        f"The rung {top!r} less {beside!r}, the same {len(asked)} queries of {found.n} identities: "
        f"mAP {found.value:+.3f}, 95 % {found.low:+.3f} to {found.high:+.3f} "
        "(identities drawn with replacement; each query's mean over the seeds)."
    )
    return {
        "said": [said],
        "gain": found.value,
        "low": found.low,
        "high": found.high,
        "identities": found.n,
    }


def _order(by_rung: dict[str, list[dict[str, Any]]], ladder: list[str]) -> list[str]:
    """A sentence for each step of the ladder that does not go up."""
    means = [_mean(by_rung[rung], "map") for rung in ladder]
    pairs = zip(ladder[1:], means[1:], means, strict=False)
    down = [f"`{rung}` ({now - before:+.3f})" for rung, now, before in pairs if now <= before]
    if not down:
        return ["Every rung is above the one before it in mAP."]
    return [f"Not above the rung before it in mAP: {', '.join(down)}."]


def _conditions(by_rung: dict[str, list[dict[str, Any]]], shown: list[str]) -> list[str]:
    first = by_rung[shown[-1]][0]
    seconds = statistics.mean(cell["seconds"] for rung in shown for cell in by_rung[rung])
    shared = [one for one in first["settings"] if not one.startswith(("data.root", "output.", "-"))]
    shared = [one for one in shared if not one.startswith(("model.weights", "project.seed"))]
    return [
        "## How it was done",
        "",
        f"- Settings of the last rung: `{' '.join(shared)}`.",
        "- The epoch is chosen by mAP on identities carved from train; test is read once, at the "
        "end of each run.",
        f"- {seconds:.0f} s for a run on one core of {machine()['cpu']}.",
    ]
