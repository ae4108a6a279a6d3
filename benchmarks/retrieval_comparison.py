"""Puts the scores of all contestants of retrieval.py side by side."""

from __future__ import annotations

import statistics
import sys
from typing import Any

import numpy as np

from record import Row
from retrieval_protocol import Comparison

OURS = "sightline"
TRAINED_PEERS = ("pml-arcface", "pml-triplet")
FROZEN = "frozen"
"""The backbone's features without any training."""
RESAMPLES = 2000
SCORES = ("recall_at_1", "map_at_r")
Cells = dict[tuple[str, str, int], dict[str, Any]]
"""What was done and scored, by contestant, set and seed."""


def compare(cells: Cells, name: str, one: Comparison) -> dict[str, Any]:
    """All contestants in one comparison, and Sightline less the best peer where both have seeds."""
    systems: dict[str, Any] = {}
    queries: dict[str, Any] = {}
    for contestant in [*TRAINED_PEERS, FROZEN, OURS]:
        found = {key[2]: cell["scores"][one.name] for key, cell in cells.items()
                 if key[:2] == (contestant, name)}  # fmt: skip
        if found:
            systems[contestant] = summary(found)
            queries[contestant] = found
    result: dict[str, Any] = {"set": name, "name": one.name, "what": one.what, "systems": systems}
    result["n"] = next((one["n"] for found in queries.values() for one in found.values()), None)
    peers = [peer for peer in systems if peer in TRAINED_PEERS]
    if OURS in systems and peers:
        result["differences"] = {
            key: difference(queries, max(peers, key=lambda peer: systems[peer][key]["mean"]), key)
            for key in SCORES
        }
    return result


def summary(found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Each score by seed, with mean and deviation."""
    result: dict[str, Any] = {}
    for key in ("recall_at_1", "recall_at_5", "map_at_r"):
        values = [one[key] for one in found.values()]
        result[key] = {
            "seeds": {str(seed): one[key] for seed, one in found.items()},
            "mean": statistics.fmean(values),
            "deviation": statistics.stdev(values) if len(values) > 1 else None,
        }
    return result


def difference(queries: dict[str, Any], peer: str, key: str) -> dict[str, Any]:
    """Sightline's mean less the peer's, with a 95% interval over classes drawn anew.

    A class comes with all its queries, the same for both and for all seeds (paired); how much
    seeds differ is not in it.
    """
    field = {"recall_at_1": "hit", "map_at_r": "precision"}[key]
    both = [seed for seed in queries[OURS] if seed in queries[peer]]
    if not both:
        sys.exit(f"{OURS} and {peer} have no seed in common")
    labels = np.array(queries[peer][both[0]]["label"])
    ours, theirs = (
        np.mean([queries[system][seed][field] for seed in both], axis=0) for system in (OURS, peer)
    )
    _, codes = np.unique(labels, return_inverse=True)
    sums, sizes = np.bincount(codes, ours - theirs), np.bincount(codes)
    random = np.random.default_rng(0)
    drawn = random.integers(len(sizes), size=(RESAMPLES, len(sizes)))
    values = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return {
        "peer": peer,
        "value": float(np.mean(ours - theirs)),
        "interval": [float(one) for one in np.quantile(values, (0.025, 0.975))],
    }


def rows_of(one: dict[str, Any]) -> list[Row]:
    """Lines of the table of all benchmarks."""
    names = {"recall_at_1": "Recall@1", "map_at_r": "mAP@R"}
    rows = []
    for key, found in one.get("differences", {}).items():
        ours, peer = (one["systems"][system][key]["mean"] for system in (OURS, found["peer"]))
        what = f"{one['set']}, {one['name']}: {names[key]} above {found['peer']}'s"
        note = f"{ours:.4f} against {peer:.4f}, {len(one['systems'][OURS][key]['seeds'])} seeds"
        rows.append(Row(what, found["value"], "", 0, "at least", note=note))
    return rows
