"""`sightline plot`: a run's figures as PNG files, each with the CSV of its numbers beside it."""

from __future__ import annotations

from pathlib import Path

from sightline.errors import RunError
from sightline.reports.canvas import save_figure
from sightline.reports.compress_figures import forms_figure, write_compress_figures
from sightline.reports.figures import (
    confusion_columns,
    confusion_figure,
    per_class_figure,
    training_curves,
)
from sightline.reports.fold_figures import write_fold_figures
from sightline.reports.heat_map_figure import write_anomaly_figures
from sightline.reports.history import collect_history
from sightline.reports.inference_figures import write_inference_figures
from sightline.reports.prediction_table import is_prediction_table
from sightline.reports.record import RunRecord, read_run_record
from sightline.reports.reid_figures import write_reid_figures
from sightline.reports.reliability import write_reliability_figures
from sightline.reports.retrieval_figures import write_retrieval_figures

_WRITERS = {
    "anomaly": write_anomaly_figures,
    "compress": write_compress_figures,
    "retrieve": write_retrieval_figures,
    "reid": write_reid_figures,
}
"""Task -> what writes the figures that only it has, of one split."""


def write_run_figures(run_folder: Path) -> list[Path]:
    """Write every figure that the run's files have data for and return the files' paths.

    Those are the curves, the figures of folds, the confusions and class scores of each evaluated
    split, reliability diagrams, scores, ROC, PRO and heat maps of anomaly detection, map,
    neighbours and classes of retrieval, CMC, distances, pairs of cameras and matches of
    re-identification, and the figures of each table of predictions with a confidence
    (``predictions_SPLIT/``). RunError where there is nothing to draw.
    """
    record, folder = read_run_record(run_folder), run_folder / "figures"
    files: list[Path] = []
    if any(row.get("event") == "epoch" for row in record.rows) and not record.computed:
        table = collect_history(record.rows).table()
        files += save_figure(training_curves(record.rows), folder / "curves", table)
    files += write_fold_figures(folder, record.folds, record.rows)
    for split in record.evaluations:
        files += _write_split_figures(folder, record, split)
    files += write_reliability_figures(folder, record.calibration, record.evaluations)
    tried = (record.search or {}).get("tried") or []
    if record.search and tried:
        columns = {key: [one.get(key) for one in tried] for key in tried[0]}
        files += save_figure(forms_figure(record.search), folder / "forms", columns)
    for file in sorted((run_folder / "predictions").glob("*.csv")):
        if is_prediction_table(file):
            files += write_inference_figures(folder / f"predictions_{file.stem}", file)
    if not files:
        raise RunError(
            "The run has nothing to draw yet.",
            expected="at least one finished epoch, or an evaluated split",
            where=run_folder,
        )
    return files


def _write_split_figures(folder: Path, record: RunRecord, split: str) -> list[Path]:
    files: list[Path] = []
    scores = record.evaluations[split]
    names, matrix = scores.get("class_names"), scores.get("confusion")
    if names and matrix:
        columns = confusion_columns(matrix, names)
        figure = confusion_figure(matrix, names)
        files += save_figure(figure, folder / f"confusion_{split}", columns)
    rows = scores.get("per_class")
    if rows:
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        files += save_figure(per_class_figure(rows), folder / f"classes_{split}", columns)
    write = _WRITERS.get(str(scores.get("task")))
    return [*files, *write(folder, record, split)] if write else files
