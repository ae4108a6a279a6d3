"""The scores of the folds of one run, as fold_results.yaml holds them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from sightline.reports.wording import metric_title

_COLUMNS = {
    "fold": "fold",
    "f1": "best_f1",
    "accuracy": "best_accuracy",
    "best_epoch": "best_epoch",
    "epochs": "epochs",
    "n_fit": "n_fit",
    "n_val": "n_val",
    "seconds": "seconds",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """One measure over the folds that have it: K values, and the score of all predictions pooled.

    ``std`` is the sample standard deviation, divisor K - 1; None for one fold. ``oof`` is computed
    once from the predictions of all folds together, so it is not the mean of the folds.
    """

    title: str
    folds: list[int]
    values: list[float]
    mean: float
    std: float | None
    oof: float | None
    low: float | None
    high: float | None
    level: str


@dataclass(frozen=True, slots=True)
class FoldScores:
    """``folds``: one dict for each fold with the keys of ``table``; a missing value is None.

    ``metric`` is what chose the epochs; f1 is macro F1, whatever chose them.
    """

    metric: str
    folds: list[dict[str, Any]]
    oof: Mapping[str, Mapping[str, Any]]

    def table(self) -> dict[str, list[Any]]:
        """Return the folds as columns."""
        return {name: [fold[name] for fold in self.folds] for name in _COLUMNS}

    def spreads(self) -> list[Spread]:
        """Return F1 and accuracy over the folds, each only where a fold has it."""
        found = (self._spread("f1", "macro_f1"), self._spread("accuracy", "accuracy"))
        return [spread for spread in found if spread]

    def statistics(self) -> dict[str, list[Any]]:
        """Return mean, standard deviation, extremes and out-of-fold score, a row per measure."""
        rows = [
            {
                "measure": spread.title,
                "folds": len(spread.values),
                "mean": spread.mean,
                "std": spread.std,
                "min": min(spread.values),
                "max": max(spread.values),
                "out_of_fold": spread.oof,
                "low": spread.low,
                "high": spread.high,
            }
            for spread in self.spreads()
        ]
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {"measure": []}

    def _spread(self, key: str, metric: str) -> Spread | None:
        pairs = [(fold["fold"], fold[key]) for fold in self.folds if fold[key] is not None]
        if not pairs:
            return None
        values = [float(value) for _, value in pairs]
        pooled = self.oof.get(metric)
        pooled = pooled if isinstance(pooled, Mapping) else {}
        level = 100 * (_number(pooled.get("confidence")) or 0.95)
        return Spread(
            title=metric_title(metric),
            folds=[fold for fold, _ in pairs],
            values=values,
            mean=statistics.fmean(values),
            std=statistics.stdev(values) if len(values) > 1 else None,
            oof=_number(pooled.get("value")),
            low=_number(pooled.get("low")),
            high=_number(pooled.get("high")),
            level=f"{level:g} %",
        )


def read_fold_scores(tree: Any) -> FoldScores | None:
    """Return the scores in the parsed fold_results.yaml; None where it holds no list of folds.

    >>> read_fold_scores({"fold_results": [{"fold": 0, "best_f1": 0.5}]}).folds[0]["accuracy"]
    """
    results = tree.get("fold_results") if isinstance(tree, Mapping) else None
    if not isinstance(results, list) or not all(isinstance(one, Mapping) for one in results):
        return None
    folds = [{name: _plain(one.get(key)) for name, key in _COLUMNS.items()} for one in results]
    oof = tree.get("oof")
    return FoldScores(
        metric=str(tree.get("metric") or "macro_f1"),
        folds=[fold for fold in folds if fold["fold"] is not None],
        oof=oof if isinstance(oof, Mapping) else {},
    )


def _plain(value: Any) -> int | float | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else _number(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)
