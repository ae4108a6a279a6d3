"""`sightline train ... data.category=all`: a detector for every category, and one page of all."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sightline.data.defect_categories import ALL, chosen_categories
from sightline.data.defect_settings import AnomalyDataConfig
from sightline.errors import Interrupted, SightlineError, TrainingError, UsageError
from sightline.pipeline import Request, run_pipeline
from sightline.reports.category_page import write_category_report
from sightline.runs import RunFolder, write_atomically

CATEGORIES_FILE = "categories.json"


@dataclass
class _Row:
    """What became of one category; paths are relative to the folder of the page."""

    category: str
    status: str = "waiting"
    run: str | None = None
    report: str | None = None
    metrics_file: str | None = None
    error: str | None = None


def run_training(request: Request) -> None:
    """Do what was asked for; with data.category=all once for each category."""
    data = None if request.source is None else request.load(None).data
    if isinstance(data, AnomalyDataConfig) and data.category == ALL and data.root is not None:
        train_categories(request, data)
    else:
        run_pipeline(request)


def train_categories(request: Request, data: AnomalyDataConfig) -> Path:
    """Train each category alone, in a run of its own, and return the folder of their page.

    A category that fails is recorded as failed, with its error, and the next one is trained; at
    the end TrainingError says how many failed. The page and its table are renewed after each.
    """
    if request.resume is not None or request.say is None:
        raise UsageError(
            "Every category has a run of its own, so they cannot be resumed as one, nor be trained "
            "by torchrun.",
            got="data.category=all",
            remedy="resume the one that was stopped: sightline train --resume RUN; then train "
            "those that are left with data.category=NAME",
        )
    if request.plan.optimize:
        raise UsageError(
            "A search is for the settings of one category, and all of them are named.",
            got="data.category=all with --optimize",
            remedy="search for one with data.category=NAME, then train all with what it found",
        )
    names = chosen_categories(data)
    project = request.load(None).project.name
    folder = _new_folder(request.exp_dir, project)
    rows = [_Row(name) for name in names]
    for row in rows:
        request.say(f"category {row.category} ({names.index(row.category) + 1} of {len(names)})")
        _train_one(request, row, project=project, folder=folder)
        _write(folder, rows, project, request)
    failed = [row for row in rows if row.status == "failed"]
    request.say(f"{len(rows) - len(failed)} of {len(rows)} categories finished")
    request.say(f"table {folder / 'summary.csv'}")
    request.say(f"report {folder / 'report.html'}")
    if failed:
        raise TrainingError(
            f"{len(failed)} of {len(rows)} categories failed.",
            got="; ".join(f"{row.category}: {(row.error or '').splitlines()[0]}" for row in failed),
            where=folder / CATEGORIES_FILE,
            remedy="train these again with data.category=NAME; the others are finished",
        )
    return folder


def _train_one(request: Request, row: _Row, *, project: str, folder: Path) -> None:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", row.category).strip("._-") or "category"
    settings = [
        *request.overrides,
        f"data.category={json.dumps(row.category, ensure_ascii=False)}",
        f"project.name={f'{project}-{slug}'[:80]}",
    ]
    try:
        run = run_pipeline(replace(request, overrides=settings))
    except SightlineError as error:
        if isinstance(error, Interrupted) or type(error) is UsageError:
            raise  # A wrong command is as wrong for the others.
        row.status, row.error = "failed", str(error)
        return
    assert isinstance(run, RunFolder)
    row.status, row.run = "finished", run.id
    row.report = _from(folder, run.path / "report.html")
    scores = run.predictions / "test.metrics.json"
    row.metrics_file = _from(folder, scores) if scores.is_file() else None


def _write(folder: Path, rows: list[_Row], project: str, request: Request) -> None:
    content: dict[str, Any] = {
        "name": project,
        "task": "anomaly",
        "command": list(request.command),
        "rows": [vars(row) for row in rows if row.status != "waiting"],
    }
    write_atomically(folder / CATEGORIES_FILE, json.dumps(content, indent=1) + "\n")
    write_category_report(folder)


def _new_folder(exp_dir: Path, project: str) -> Path:
    """A folder of this second, numbered if another command took it."""
    now, number = datetime.now(), 1
    stem = f"{project}-categories_{now:%Y%m%d_%H%M%S}"
    folder = exp_dir / f"{now:%Y%m%d}" / stem
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{stem}-{number}")
    folder.mkdir(parents=True)
    return folder


def _from(folder: Path, target: Path) -> str:
    return Path(os.path.relpath(target, folder)).as_posix()
