"""`sightline evaluate`: the scores of one split of a run, written into its folder."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Manifest
from sightline.errors import DataError
from sightline.experiment import images_for, loader_for, read_dataset
from sightline.recording import fold_of
from sightline.runs import History, RunFolder, write_atomically
from sightline.tasks.config import TaskConfig
from sightline.tasks.task import Result
from sightline.trained import TrainedModel, load_trained


def evaluate_run(
    run: RunFolder,
    split: str,
    *,
    command: Sequence[str],
    checkpoint: str = "best_model.pth",
    device: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Evaluate a split (val or test) and write predictions/SPLIT.csv and SPLIT.metrics.json.

    Every reading of the test split is recorded in run.json. Raises DataError for an empty split.
    """
    trained = load_trained(run, checkpoint=checkpoint, device=device)
    config = trained.config
    dataset = read_dataset(run, config)
    if not len(dataset.part(split)):
        raise DataError(
            f"The run has no {split} samples.",
            expected="a split that has some",
            where=run.path / "splits.csv",
            remedy=f"train with data.{split}_fraction above 0, or name the split in the data",
        )
    (images,), _ = images_for(dataset, config, [split])
    loader = loader_for(images, config, device=trained.device, training=False)
    outputs = trained.outputs(loader, progress)
    if split == "test":
        run.record_test_read(checkpoint, command)
    result = trained.task.evaluate(
        outputs,
        ids=[str(one) for one in images.manifest.id],
        groups=_units(images.manifest, config),
        class_names=trained.class_names,
        config=config,
    )
    _write(run, split, result, trained, paths=_paths(images.manifest, run))
    return result


def _paths(manifest: Manifest, run: RunFolder) -> dict[str, str]:
    """Where each image lies: below the root of the run's data where it does, else in full."""
    # splits.csv leads to the images from the run folder; people know them from their data's root.
    root = Path(run.info["data"].get("root", manifest.root))
    paths = {}
    for one, path in zip(manifest.id, manifest.path, strict=True):
        full = Path(os.path.normpath(manifest.root / str(path)))
        paths[str(one)] = str(full.relative_to(root) if full.is_relative_to(root) else full)
    return paths


def _units(manifest: Manifest, config: TaskConfig) -> npt.NDArray[np.int64] | None:
    """Codes (N,) of the groups that bootstrap intervals resample; None: images."""
    data = config.data
    grouped = data.group_col or data.group_pattern or data.manifest
    if not grouped or (manifest.group.codes < 0).all():
        return None
    codes = manifest.group.codes.astype(np.int64)
    alone = codes < 0
    # A picture without group is a group of its own.
    codes[alone] = len(manifest.group.names) + np.flatnonzero(alone)
    return codes


def _write(
    run: RunFolder, split: str, result: Result, trained: TrainedModel, *, paths: dict[str, str]
) -> None:
    columns, rows = result.rows()
    with_paths = [[row[0], paths[str(row[0])], *row[1:]] for row in rows]
    table = [[columns[0], "path", *columns[1:]], *with_paths]
    write_atomically(run.predictions / f"{split}.csv", as_csv(table))
    scores = {
        "split": split,
        "epoch": trained.epoch,
        "checkpoint": trained.checkpoint,
        **result.as_dict(),
    }
    write_atomically(run.predictions / f"{split}.metrics.json", json.dumps(scores, indent=1) + "\n")
    headline = {name: one["value"] for name, one in scores["headline"].items()}
    History(run.metrics_file).append(
        {
            "event": "evaluate",
            "fold": fold_of(trained.config),
            "epoch": trained.epoch,
            "split": split,
            "n": scores["n"],
            **headline,
        }
    )


def as_csv(rows: Sequence[Sequence[Any]]) -> str:
    """The rows as CSV text with newline ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
