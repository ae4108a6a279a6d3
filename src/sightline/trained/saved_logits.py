"""The logits that evaluations saved, joined to their truth and groups: what calibration reads."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.splits_file import read_splits
from sightline.errors import DataError, RunError
from sightline.experiment import SPLITS_FILE
from sightline.runs import RunFolder
from sightline.trained.calibrated import CALIBRATION_FILE
from sightline.trained.predictor import ENSEMBLE_FILE


@dataclass(frozen=True)
class Rows:
    """What one model says of images it was not trained on: logits (N, C) and truth (N,)."""

    logits: npt.NDArray[np.floating[Any]]
    targets: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64] | None = None
    """(N,) codes of what belongs together; None: every image by itself."""

    def select(self, rows: npt.NDArray[Any]) -> Rows:
        """The given rows, in the order given."""
        groups = None if self.groups is None else self.groups[rows]
        return Rows(self.logits[rows], self.targets[rows], groups)


@dataclass(frozen=True)
class SavedLogits:
    """The rows of each checkpoint of a run, or of an ensemble's mean."""

    members: Mapping[str, Rows]
    ensemble: Rows | None
    split: str
    class_names: Sequence[str]


def read_saved_logits(run: RunFolder) -> SavedLogits:
    """Read predictions/val, or oof/ where a run has trained every fold.

    Raises DataError for files that are missing, do not belong together, or are older than what
    they were made with.
    """
    about = _about(run)
    names = [str(name) for name in about["class_names"]]
    if (run.path / "oof" / "oof_logits.npy").is_file():
        return _out_of_fold(run, names)
    file = run.predictions / "val.logits.npy"
    table = _table(run.predictions / "val.csv", run)
    place = {name: code for code, name in enumerate(names)}
    if not all(row["id"] and row["target"] in place for row in table):
        raise _missing(run, run.predictions / "val.csv")
    targets = np.array([place[row["target"]] for row in table], np.int64)
    rows = _joined(run, file, targets, ids=[row["id"] for row in table])
    if (run.path / ENSEMBLE_FILE).is_file():
        _require_current_members(run, file, calibrated=bool(about.get("calibrated")))
        return SavedLogits({}, rows, "val", names)
    checkpoint = str(about["checkpoint"])
    _require_newer(run, file, run.ckpt / checkpoint)
    return SavedLogits({checkpoint: rows}, None, "val", names)


def _out_of_fold(run: RunFolder, names: Sequence[str]) -> SavedLogits:
    folder = run.path / "oof"
    file = folder / "oof_logits.npy"
    table = _table(folder / "oof_ids.csv", run)
    targets = _array(folder / "oof_targets.npy", run).astype(np.int64)
    rows = _joined(run, file, targets, ids=[row["id"] for row in table])
    folds = np.array([int(row["fold"]) for row in table], np.int64)
    members = {}
    for fold in sorted(set(folds.tolist())):
        name = f"best_fold{fold}.pth"
        _require_newer(run, file, run.ckpt / name)
        members[name] = rows.select(np.flatnonzero(folds == fold))
    return SavedLogits(members, None, "oof", names)


def _joined(
    run: RunFolder, file: Path, targets: npt.NDArray[np.int64], *, ids: Sequence[str]
) -> Rows:
    logits = _array(file, run)
    if logits.ndim != 2 or not len(logits) == len(targets) == len(ids):
        raise DataError(
            "The saved logits do not belong to the saved rows.",
            expected=f"{len(ids)} rows",
            got=f"logits of shape {logits.shape}, {len(targets)} targets",
            where=file,
            remedy=f"sightline evaluate {run.id}",
        )
    return Rows(logits, targets, _groups(run, ids))


def _groups(run: RunFolder, ids: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Codes of the groups of the samples; None where no group has two of them."""
    splits = read_splits(run.path / SPLITS_FILE, verify=False)
    of = {str(one): int(c) for one, c in zip(splits.id, splits.group.codes, strict=True)}
    codes = np.array([of.get(one, -1) for one in ids], np.int64)
    alone = codes < 0
    codes[alone] = len(splits.group.names) + np.flatnonzero(alone)
    return codes if len(set(codes.tolist())) < len(codes) else None


def _about(run: RunFolder) -> dict[str, Any]:
    file = run.predictions / "val.metrics.json"
    try:
        about: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise _missing(run, file) from error
    if not about.get("class_names"):
        raise DataError(
            "Only classifiers can be calibrated.", got=f"a {run.info['task']} run", where=run.path
        )
    return about


def _table(file: Path, run: RunFolder) -> list[dict[str, str]]:
    try:
        with open(file, newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))
    except OSError as error:
        raise _missing(run, file) from error


def _array(file: Path, run: RunFolder) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _missing(run, file) from error
    return array


def _missing(run: RunFolder, file: Path) -> DataError:
    return DataError(
        "The run has no validation logits that can be read.",
        expected="what an evaluation of the val split writes",
        where=file,
        remedy=f"sightline evaluate {run.id}",
    )


def _require_newer(run: RunFolder, file: Path, source: Path) -> None:
    if not source.is_file():
        raise DataError(
            f"The checkpoint {source.name} that the logits came from is gone.",
            where=source,
            remedy=f"sightline evaluate {run.id}",
        )
    if source.stat().st_mtime > file.stat().st_mtime:
        raise DataError(
            f"The saved logits are older than {source.name}.",
            expected="logits of the checkpoint as it is now",
            where=file,
            remedy=f"sightline evaluate {run.id}",
        )


def _require_current_members(run: RunFolder, file: Path, *, calibrated: bool) -> None:
    """The mean must have been taken of members calibrated as they are now."""
    listed = json.loads((run.path / ENSEMBLE_FILE).read_bytes())["members"]
    for member in listed:
        own = run.path / member["run"] / CALIBRATION_FILE
        if not own.is_file():
            continue
        if not calibrated:
            raise RunError(
                "The saved logits are of uncalibrated members, which are calibrated when used.",
                where=own,
                remedy=f"sightline evaluate {run.id}",
            )
        _require_newer(run, file, own)
