"""The files of `sightline plot`: the picture of a training as PNG with its CSV, or as a page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from sightline.reports.canvas import figure_uri, save_figure
from sightline.reports.history import collect_history
from sightline.reports.record import RunRecord
from sightline.reports.rendering import render_page
from sightline.reports.training_panels import (
    Recall,
    epochs_in_words,
    summary_facts,
    training_figure,
)
from sightline.runs.files import write_atomically

_EXPECTED = ("id", "name", "task", "status", "times", "best")


def write_training_curves(record: RunRecord, target: Path, *, recall: Recall) -> list[Path]:
    """Write the picture of a training to ``target`` and return the files' paths.

    A .png has 300 dots per inch and the CSV of its numbers beside it; a .html is one page that
    needs nothing else.
    """
    figure = training_figure(record, recall=recall)
    history = collect_history(record.rows)
    if target.suffix.lower() == ".png":
        return save_figure(figure, target.with_suffix(""), history.table())
    page = {
        "name": str(record.info.get("name") or record.folder.name),
        "task": str(record.info.get("task") or "run"),
        "run_id": str(record.info.get("id") or record.folder.name),
        "epochs": epochs_in_words(len(history.epochs)),
        "notes": notes_on(record),
        "picture": figure_uri(figure),
        "facts": summary_facts(record),
        "columns": list(history.table()),
        "rows": list(zip(*history.table().values(), strict=True)),
    }
    write_atomically(target, render_page("training_curves.html.j2", page))
    return [target]


def notes_on(record: RunRecord) -> list[str]:
    """Return what could not be read of a run, what it lacks, and whether another version wrote it.

    A run of another version may have keys that this one does not know, and lack some that it does.
    """
    notes = list(record.notes)
    if missing := [key for key in _EXPECTED if key not in record.info]:
        notes.append(f"run.json has no {', '.join(missing)}; what depends on it is not shown.")
    versions, own = record.info.get("versions"), version("sightline")
    wrote = versions.get("sightline") if isinstance(versions, Mapping) else None
    if wrote not in (None, own):
        notes.append(f"The run was written by Sightline {wrote}, and this is {own}.")
    return notes
