"""The rows of metrics.jsonl as columns over epochs: what every curve is drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

NOT_MEASURES = frozenset({"time", "event", "fold", "epoch", "step", "split"})
RESOURCES = frozenset({"time_s", "images_per_s", "mem_MiB", "gpu_mem_MiB"})


@dataclass(frozen=True, slots=True)
class History:
    """E epochs in ascending order, and for each measure its E values, None where there is none.

    With folds each measure has one column for each fold, named ``measure (fold 0)``.
    """

    epochs: list[int]
    columns: dict[str, list[float | None]]

    def table(self) -> dict[str, list[Any]]:
        """Return the columns with the epoch in front, as the CSV behind a figure holds them."""
        return {"epoch": self.epochs, **self.columns}

    def only(self, names: Iterable[str]) -> dict[str, list[float | None]]:
        """Return the named columns that exist and hold at least one value."""
        kept = {name: self.columns[name] for name in names if name in self.columns}
        return {name: v for name, v in kept.items() if any(x is not None for x in v)}


def collect_history(rows: Iterable[Mapping[str, Any]]) -> History:
    """Return the epoch rows as columns; of an epoch repeated after a resume the last one counts.

    A value that is no finite number becomes None. Rows of other events are passed over.
    """
    cells: dict[str, dict[int, float | None]] = {}
    epochs: set[int] = set()
    for row in rows:
        epoch = row.get("epoch")
        if row.get("event", "epoch") != "epoch" or not isinstance(epoch, int):
            continue
        epochs.add(epoch)
        fold = row.get("fold")
        for name, value in row.items():
            if name not in NOT_MEASURES:
                column = name if fold is None else f"{name} (fold {fold})"
                cells.setdefault(column, {})[epoch] = _number(value)
    ordered = sorted(epochs)
    return History(ordered, {name: [c.get(e) for e in ordered] for name, c in cells.items()})


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: a title and its columns."""

    title: str
    columns: dict[str, list[float | None]]


def curve_panels(history: History) -> list[Panel]:
    """Return the charts of a history; measures without a value and resources are left out.

    Measures between 0 and 1 share a chart; those on another scale get their own.
    """
    titles = ("Loss", "Metric", "Learning rate", "Other measures")
    groups: dict[str, list[str]] = {title: [] for title in titles}
    for column, values in history.columns.items():
        name = measure(column)
        if name in RESOURCES:
            continue
        if name == "lr" or name.startswith("lr_"):
            groups["Learning rate"].append(column)
        elif "loss" in name:
            groups["Loss"].append(column)
        else:
            fraction = all(0 <= v <= 1 for v in values if v is not None)
            groups["Metric" if fraction else "Other measures"].append(column)
    panels = [Panel(title, history.only(names)) for title, names in groups.items()]
    return [panel for panel in panels if panel.columns]


def measure(column: str) -> str:
    """Return the measure of a column without its fold.

    >>> measure("valid_loss (fold 3)"), measure("lr")
    ('valid_loss', 'lr')
    """
    return column.split(" (fold ", 1)[0]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isfinite(value) else None
