"""`sightline evaluate`: the scores of one split of a run, written into its folder."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Manifest
from sightline.errors import DataError
from sightline.experiment import open_samples, read_dataset
from sightline.experiment.samples import Samples
from sightline.runs import History, RunFolder, write_atomically
from sightline.tasks.config import PictureTaskConfig, TaskConfig
from sightline.tasks.task import Result, Truth
from sightline.trained.out_of_fold import write_array, write_out_of_fold
from sightline.trained.predictor import Predictor, create_predictor
from sightline.trained.saved_logits import files_behind


def evaluate_run(  # noqa: PLR0913 (what may be said on the command line)
    run: RunFolder,
    split: str,
    *,
    command: Sequence[str],
    checkpoint: str | None = None,
    tta: str | None = None,
    use_calibration: bool | None = None,
    device: str = "auto",
) -> Result:
    """Evaluate a split (val or test) and write predictions/SPLIT.csv and SPLIT.metrics.json.

    A run of all folds judges val out of fold: each sample by the model that did not learn from it.
    Every reading of the test split is recorded in run.json. Raises DataError for an empty split.
    """
    predictor = create_predictor(
        run, checkpoint=checkpoint, tta=tta, use_calibration=use_calibration, device=device
    )
    config = predictor.config
    dataset = read_dataset(run, config)
    out_of_fold = split == "val" and config.data.trains_every_fold
    parts = predictor.task.test_splits if split == "test" else (split,)
    samples = dataset.part(*(("fit",) if out_of_fold else parts))
    if not len(samples):
        raise DataError(
            f"The run has no {split} samples.",
            expected="a split that has some",
            where=run.path / "splits.csv",
            remedy=f"train with data.{split}_fraction above 0, or name the split in the data",
        )
    used, raw = predictor.answer(samples, _opened, held_out=split == "val")
    companions = predictor.task.companions(dataset, parts, config)
    outputs = [used]
    if companions is not None and len(companions):
        outputs.append(predictor.answer(companions, _opened)[0])
    if split == "test":
        run.record_test_read(predictor.describe()["checkpoint"], command)
    truth = Truth(
        samples, dataset.class_names, _units(samples, config), predictor.decision, companions
    )
    result = predictor.task.evaluate(outputs, truth, config)
    _write(run, split, result, predictor, samples)
    if "logits" in raw:
        write_array(run.predictions / f"{split}.logits.npy", raw["logits"])
    if out_of_fold and not predictor.is_ensemble:
        write_out_of_fold(run, samples, raw, result.as_dict()["headline"])
    return result


def _opened(samples: Manifest, config: TaskConfig) -> Samples:
    return open_samples(samples, config)[0]


def shown_paths(manifest: Manifest, run: RunFolder) -> list[str]:
    """Where each image lies: below the root of the run's data where it does, else in full."""
    # splits.csv leads to the images from the run folder; people know them from their data's root.
    root = Path(run.info["data"].get("root", manifest.root))
    full = [Path(os.path.normpath(manifest.root / str(path))) for path in manifest.path]
    return [str(one.relative_to(root) if one.is_relative_to(root) else one) for one in full]


def _units(manifest: Manifest, config: TaskConfig) -> npt.NDArray[np.int64] | None:
    """Codes (N,) of the groups that bootstrap intervals resample; None: images."""
    if not config.data.names_groups or (manifest.group.codes < 0).all():
        return None
    codes = manifest.group.codes.astype(np.int64)
    alone = codes < 0
    # A picture without group is a group of its own.
    codes[alone] = len(manifest.group.names) + np.flatnonzero(alone)
    return codes


def _write(
    run: RunFolder, split: str, result: Result, predictor: Predictor, samples: Manifest
) -> None:
    columns, rows = result.rows()
    table = [columns, *rows]
    if isinstance(predictor.config, PictureTaskConfig):
        paths = dict(zip(map(str, samples.id), shown_paths(samples, run), strict=True))
        with_paths = [[row[0], paths[str(row[0])], *row[1:]] for row in rows]
        table = [[columns[0], "path", *columns[1:]], *with_paths]
    write_atomically(run.predictions / f"{split}.csv", as_csv(table))
    if arrays := result.arrays():
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        write_atomically(run.predictions / f"{split}.maps.npz", content.getvalue())
    about = predictor.describe()
    epoch = (run.info["best"] or {}).get("epoch")
    scores = {"task": predictor.config.task, "split": split, "epoch": epoch, **about}
    scores |= result.as_dict()
    scores["files"] = files_behind(predictor)
    write_atomically(run.predictions / f"{split}.metrics.json", json.dumps(scores, indent=1) + "\n")
    headline = {name: one["value"] for name, one in scores["headline"].items()}
    History(run.metrics_file).append(
        {
            "event": "evaluate",
            "fold": predictor.config.data.held_out_fold,
            "split": split,
            "epoch": epoch,
            "n": scores["n"],
            **about,
            **headline,
        }
    )


def as_csv(rows: Sequence[Sequence[Any]]) -> str:
    """The rows as CSV text with newline ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
