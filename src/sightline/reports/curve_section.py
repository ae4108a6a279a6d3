"""The section of curves: one chart for each kind of measure, or for each measure over folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.reports.history import (
    FOLD_MEAN,
    History,
    Panel,
    collect_history,
    curve_panels,
    fold_number,
    fold_title,
    folds_of,
    measure,
)
from sightline.reports.record import RunRecord
from sightline.reports.sections import PageSection
from sightline.reports.wording import metric_title

MEASURE_ROWS = 300


def curves_section(record: RunRecord) -> PageSection | None:
    """Return the charts of the run and the same numbers as a table.

    With several folds each measure is a chart with a line for each fold, and the table has a row
    for each epoch of each fold. A model computed without an epoch has no chart, only its numbers.
    """
    history = collect_history(record.rows)
    if record.computed:
        return PageSection("computed", "Training", {"facts": _facts(history)})
    panels = curve_panels(history)
    if not panels:
        return None
    folds = folds_of(history)
    several = len(folds) > 1
    best = record.info.get("best")
    epoch = best.get("epoch") if isinstance(best, Mapping) and not several else None
    columns, rows = _fold_rows(history, folds) if several else _rows(history)
    best_epochs = _best_epochs(record) if several else {(None, epoch)}
    data = {
        "charts": [_chart(panel, history) for panel in panels],
        "best_epoch": epoch if isinstance(epoch, int) else None,
        "folds": len(folds) if several else 0,
        "columns": columns,
        "rows": [{**row, "best": (row["fold"], row["epoch"]) in best_epochs} for row in rows],
        "epochs": len(history.epochs),
    }
    return PageSection("curves", "Training", data)


def _facts(history: History) -> list[dict[str, Any]]:
    """The numbers of the only row, those that are there."""
    names = {"time_s": "Seconds", "images_per_s": "Images per second", "mem_MiB": "Memory, MiB"}
    return [
        {
            "title": names.get(name, metric_title(name)),
            "value": int(one) if one == int(one) else one,
        }
        for name, values in history.columns.items()
        if (one := values[0]) is not None
    ]


def _chart(panel: Panel, history: History) -> dict[str, Any]:
    names = list(panel.columns)
    titles = [
        fold_title(one).capitalize() if panel.by_measure else metric_title(one) for one in names
    ]
    return {
        "title": metric_title(panel.title) if panel.by_measure else panel.title,
        "names": titles,
        "bold": names.index(FOLD_MEAN) if FOLD_MEAN in names else None,
        "data": [history.epochs, *panel.columns.values()],
    }


def _rows(history: History) -> tuple[list[str], list[dict[str, Any]]]:
    rows = zip(history.epochs, *history.columns.values(), strict=True)
    cells = [{"epoch": epoch, "fold": None, "values": values} for epoch, *values in rows]
    return [metric_title(name) for name in history.columns], cells[-MEASURE_ROWS:]


def _fold_rows(history: History, folds: list[int]) -> tuple[list[str], list[dict[str, Any]]]:
    names = list(dict.fromkeys(measure(c) for c in history.columns if fold_number(c) is not None))
    cells = []
    for fold in folds:
        columns = [history.columns.get(f"{name} (fold {fold})") for name in names]
        for place, epoch in enumerate(history.epochs):
            values = [column[place] if column else None for column in columns]
            if any(value is not None for value in values):
                cells.append({"epoch": epoch, "fold": fold, "values": values})
    return [metric_title(name) for name in names], cells[-MEASURE_ROWS:]


def _best_epochs(record: RunRecord) -> set[tuple[int | None, int | None]]:
    folds = record.folds.folds if record.folds else []
    return {(fold["fold"], fold["best_epoch"]) for fold in folds}
