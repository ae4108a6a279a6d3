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
from sightline.runs import RunFolder, file_hash
from sightline.trained.calibrated import CALIBRATION_FILE
from sightline.trained.joined_runs import path_from
from sightline.trained.members import ENSEMBLE_FILE, ensemble_content
from sightline.trained.predictor import Predictor


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


def files_behind(predictor: Predictor) -> dict[str, str]:
    """SHA-256 of the files that raw logits come from, by their path from the run's folder.

    Checkpoints, and in an ensemble the calibrations of its members where they are used.
    """
    used = [member.run.ckpt / member.checkpoint for member in predictor.members]
    if predictor.is_ensemble:
        calibrated = [member.run.path for member in predictor.members if member.calibrator]
        used += [folder / CALIBRATION_FILE for folder in calibrated]
    return {path_from(predictor.run.path, file): file_hash(file) for file in dict.fromkeys(used)}


def read_saved_logits(run: RunFolder) -> SavedLogits:
    """Read predictions/val, or oof/ where a run has trained every fold.

    Raises DataError for files that are missing, do not belong together, or were made with another
    checkpoint or calibration than the run has now.
    """
    about = _about(run)
    _require_same_files(run, about)
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
        return SavedLogits({}, rows, "val", names)
    return SavedLogits({str(about["checkpoint"]): rows}, None, "val", names)


def _out_of_fold(run: RunFolder, names: Sequence[str]) -> SavedLogits:
    folder = run.path / "oof"
    file = folder / "oof_logits.npy"
    table = _table(folder / "oof_ids.csv", run)
    targets = _array(folder / "oof_targets.npy", run).astype(np.int64)
    rows = _joined(run, file, targets, ids=[row["id"] for row in table])
    folds = np.array([int(row["fold"]) for row in table], np.int64)
    members = {}
    for fold in sorted(set(folds.tolist())):
        members[f"best_fold{fold}.pth"] = rows.select(np.flatnonzero(folds == fold))
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


def _require_same_files(run: RunFolder, about: Mapping[str, Any]) -> None:
    """The logits must be those of the files as they are now, by content: copying changes dates."""
    saved = about.get("files")
    if not isinstance(saved, Mapping):
        raise _missing(run, run.predictions / "val.metrics.json")
    for name, sha256 in saved.items():
        file = run.path / name
        if not file.is_file():
            raise DataError(
                f"The file {file.name} that the logits came from is gone.",
                where=file,
                remedy=f"sightline evaluate {run.id}",
            )
        if file_hash(file) != sha256:
            raise DataError(
                f"The saved logits are of another {file.name} than there is now.",
                where=file,
                remedy=f"sightline evaluate {run.id}",
            )
    if not (run.path / ENSEMBLE_FILE).is_file():
        return
    known = {(run.path / name).resolve() for name in saved}
    for member in ensemble_content(run)["members"]:
        own = (run.path / member["run"] / CALIBRATION_FILE).resolve()
        if own.is_file() and own not in known:
            raise RunError(
                "The saved logits are of uncalibrated members, which are calibrated when used.",
                where=own,
                remedy=f"sightline evaluate {run.id}",
            )
