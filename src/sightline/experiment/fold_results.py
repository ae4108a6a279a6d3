"""fold_results.yaml: what came of each fold of a cross-validation, written as folds end."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sightline.config import read_yaml
from sightline.runs import RunFolder, write_atomically

FILE = "fold_results.yaml"


def read_fold_results(run: RunFolder) -> dict[int, dict[str, Any]]:
    """The finished folds of a run by their number; none where there is no file."""
    file = run.path / FILE
    if not file.is_file():
        return {}
    tree, _ = read_yaml(file.read_text(encoding="utf-8"), str(file))
    return {int(row["fold"]): row for row in tree["fold_results"]}


def write_fold_result(run: RunFolder, metric: str, row: Mapping[str, Any]) -> None:
    """Add a finished fold, or replace what an earlier training said of it."""
    folds = read_fold_results(run) | {int(row["fold"]): dict(row)}
    ordered = [folds[fold] for fold in sorted(folds)]
    _write(run, {"metric": metric, "fold_results": ordered, **_over_folds(ordered)})


def add_out_of_fold(run: RunFolder, scores: Mapping[str, Any]) -> None:
    """Add the scores over all folds' held-out rows together."""
    file = run.path / FILE
    tree, _ = read_yaml(file.read_text(encoding="utf-8"), str(file))
    _write(run, {**tree, "oof": dict(scores)})


def _over_folds(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean and standard deviation (n - 1) over the folds."""
    scores = [row["best_f1"] for row in rows if row.get("best_f1") is not None]
    spread = {"std_f1": statistics.stdev(scores)} if len(scores) > 1 else {}
    return {"average_f1": statistics.fmean(scores), **spread} if scores else {}


def _write(run: RunFolder, tree: Mapping[str, Any]) -> None:
    write_atomically(run.path / FILE, yaml.safe_dump(dict(tree), sort_keys=False))
