"""`sightline plot`: a run's figures as PNG files, each with the CSV of its numbers beside it."""

from __future__ import annotations

from pathlib import Path

from sightline.errors import RunError
from sightline.reports.figures import (
    confusion_columns,
    confusion_figure,
    per_class_figure,
    save_figure,
    training_curves,
)
from sightline.reports.history import collect_history
from sightline.reports.record import read_run_record


def write_run_figures(run_folder: Path) -> list[Path]:
    """Write the curves and each evaluated split's confusions and class scores; the files' paths."""
    record, folder = read_run_record(run_folder), run_folder / "figures"
    files: list[Path] = []
    if any(row.get("event") == "epoch" for row in record.rows):
        table = collect_history(record.rows).table()
        files += save_figure(training_curves(record.rows), folder / "curves", table)
    for split, scores in record.evaluations.items():
        names, matrix = scores.get("class_names"), scores.get("confusion")
        if names and matrix:
            figure = confusion_figure(matrix, names)
            columns = confusion_columns(matrix, names)
            files += save_figure(figure, folder / f"confusion_{split}", columns)
        rows = scores.get("per_class")
        if rows:
            columns = {key: [row[key] for row in rows] for key in rows[0]}
            files += save_figure(per_class_figure(rows), folder / f"classes_{split}", columns)
    if not files:
        raise RunError(
            "The run has nothing to draw yet.",
            expected="at least one finished epoch",
            where=run_folder,
        )
    return files
