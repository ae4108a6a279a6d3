"""The rows of metrics.jsonl as columns over epochs: what every curve is drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

from sightline.reports.cells import finite_or_none

NOT_MEASURES = frozenset({"time", "event", "fold", "epoch", "step", "split"})
_PARTS = "Parts of the loss"
KINDS = ("Loss", _PARTS, "Metric", "Learning rate", "Other measures")
FOLD_MEAN = "mean of folds"
_SCORES = frozenset({"accuracy", "f1", "precision", "recall", "map", "rank", "auroc", "iou"})
_WIDEST_SCALE = 30.0
"""Of two parts of the loss in one chart the larger is at most this many times the smaller."""
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
                cells.setdefault(column, {})[epoch] = finite_or_none(value)
    ordered = sorted(epochs)
    return History(ordered, {name: [c.get(e) for e in ordered] for name, c in cells.items()})


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: a title and its columns.

    ``by_measure``: one measure of several folds, a column for each, ``FOLD_MEAN`` the last.
    """

    title: str
    columns: dict[str, list[float | None]]
    by_measure: bool = False


def curve_panels(history: History) -> list[Panel]:
    """Return the charts of a history; measures without a value and resources are left out.

    Measures between 0 and 1 share a chart; those on another scale get their own, and so do parts
    of the loss that would press the others flat. With several folds every measure has a chart of
    its own, titled by its name: five folds of six measures in one chart could not be told apart.
    """
    groups: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for column, values in history.columns.items():
        if measure(column) not in RESOURCES:
            groups[_kind(measure(column), values)].append(column)
    panels = [
        panel
        for title, names in groups.items()
        for panel in _by_scale(title, history.only(names), split=title == _PARTS)
    ]
    if len(folds_of(history)) > 1:
        order = dict.fromkeys(measure(name) for panel in panels for name in panel.columns)
        panels = [fold_panel(history, name) for name in order]
    return [panel for panel in panels if panel.columns]


def fold_panel(history: History, name: str) -> Panel:
    """Return one measure of every fold, with the mean over folds where each of them has a value.

    Folds may stop at different epochs; a mean over those still running would jump there.
    """
    columns = history.only(c for c in history.columns if c.startswith(f"{name} (fold "))
    if len(columns) > 1:
        columns[FOLD_MEAN] = [
            fsum(values) / len(values) if None not in values else None
            for values in zip(*columns.values(), strict=True)
        ]
        columns = {k: v for k, v in columns.items() if any(x is not None for x in v)}
    return Panel(name, columns, by_measure=True)


def folds_of(history: History) -> list[int]:
    """Return the numbers of the folds that have a value, in ascending order."""
    return sorted({n for name in history.columns if (n := fold_number(name)) is not None})


def fold_number(column: str) -> int | None:
    """Return the fold of a column; None where it has none.

    >>> fold_number("valid_loss (fold 3)"), fold_number("lr")
    (3, None)
    """
    digits = column.rpartition(" (fold ")[2].removesuffix(")")
    return int(digits) if digits.isdigit() else None


def fold_title(column: str) -> str:
    """Return what a fold's curve is called where the measure is known: ``fold 3`` or ``mean``."""
    number = fold_number(column)
    return "mean" if number is None else f"fold {number}"


def measure(column: str) -> str:
    """Return the measure of a column without its fold.

    >>> measure("valid_loss (fold 3)"), measure("lr")
    ('valid_loss', 'lr')
    """
    return column.split(" (fold ", 1)[0]


def _by_scale(title: str, columns: dict[str, list[float | None]], *, split: bool) -> list[Panel]:
    """The columns as one panel or, split, as one for each scale, the smallest first."""
    if not split:
        return [Panel(title, columns)]
    peaks = {name: max(abs(v) for v in one if v is not None) for name, one in columns.items()}
    parts: list[dict[str, list[float | None]]] = []
    least = 0.0
    for name in sorted(columns, key=lambda one: peaks[one]):
        if not parts or peaks[name] > _WIDEST_SCALE * least > 0:
            parts.append({})
            least = peaks[name]
        least = least or peaks[name]
        parts[-1][name] = columns[name]
    return [Panel(title if not n else f"{title}, larger", one) for n, one in enumerate(parts)]


def _kind(name: str, values: list[float | None]) -> str:
    if name == "lr" or name.startswith("lr_"):
        return "Learning rate"
    if "loss" in name:
        return "Loss"
    # What a trainer logs of a batch beside its loss are parts of it, unless it is a score.
    if name.startswith("train_") and not _SCORES & set(name.split("_")):
        return _PARTS
    fraction = all(0 <= v <= 1 for v in values if v is not None)
    return "Metric" if fraction else "Other measures"
