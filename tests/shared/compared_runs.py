"""Run folders made by the code that makes them in training, with rows and tables as tasks write."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sightline.runs import RunFolder

FIRST = datetime(2026, 9, 1, 10, 0, tzinfo=UTC)


def make_run(
    exp_dir: Path,
    name: str,
    task: str = "classify",
    *,
    config: str = "train:\n  lr: 0.001\n",
    order: int = 0,
    **fields: Any,
) -> RunFolder:
    """A run that was made `order` hours after the first and took order + 1 minutes."""
    run = RunFolder.create(
        exp_dir,
        name=name,
        task=task,
        command=["sightline", "train"],
        config_text=f"task: {task}\nproject:\n  name: {name}\n{config}",
        seeds={"seed": 42},
        now=FIRST + timedelta(hours=order),
    )
    run.set_status("running")
    run.set_status("finished")
    times = {
        "created": run.info["times"]["created"],
        "started": FIRST.isoformat(),
        "ended": (FIRST + timedelta(minutes=order + 1)).isoformat(),
    }
    run.update(times=times, **fields)
    return run


def write_epochs(run: RunFolder, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows of epochs 1, 2, ..."""
    lines = [{"event": "epoch", "epoch": n, **row} for n, row in enumerate(rows, start=1)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run.metrics_file.write_text(text, encoding="utf-8")


def write_scores(run: RunFolder, split: str = "val", *, more: Any = None, **values: float) -> None:
    """The metrics file of a split: each value 0.02 wide, over 40 images."""
    headline = {
        name: {
            "value": value, "low": value - 0.01, "high": value + 0.01, "n": 40, "unit": "image",
            "confidence": 0.95,
        }
        for name, value in values.items()
    }  # fmt: skip
    content = {"split": split, "task": run.info["task"], "headline": headline, **(more or {})}
    file = run.predictions / f"{split}.metrics.json"
    file.write_text(json.dumps(content), encoding="utf-8")


def write_table(
    run: RunFolder, columns: Sequence[str], rows: Sequence[Sequence[object]], split: str = "val"
) -> None:
    """The table of predictions of a split."""
    file = run.predictions / f"{split}.csv"
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(rows)
