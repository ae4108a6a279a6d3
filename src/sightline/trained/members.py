"""The checkpoints that answer together: one, the folds of a run, or those an ensemble names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.splits_file import read_splits
from sightline.errors import RunError
from sightline.experiment import SPLITS_FILE
from sightline.runs import RunFolder
from sightline.tasks.task import Calibrator
from sightline.trained import best_checkpoints, run_config
from sightline.trained.calibrated import read_calibration

ENSEMBLE_FILE = "ensemble.json"


@dataclass(frozen=True)
class Member:
    """One checkpoint of one run, and how much its answer counts."""

    run: RunFolder
    checkpoint: str
    weight: float = 1.0
    calibrator: Calibrator | None = None

    def trained_on(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(N,) whether the member learnt from each of the samples."""
        splits = read_splits(self.run.path / SPLITS_FILE, verify=False)
        rows = splits.rows("fit")
        if run_config(self.run).data.trains_every_fold:
            fold = int(self.checkpoint.removeprefix("best_fold").removesuffix(".pth"))
            rows = rows[splits.fold[rows] != fold]
        learnt = {str(splits.id[row]) for row in rows}
        return np.array([one in learnt for one in ids], bool)


def ensemble_content(run: RunFolder) -> dict[str, Any]:
    """What ensemble.json says; RunError where it is damaged, or a weight is no number above 0."""
    file = run.path / ENSEMBLE_FILE
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
        members = [(str(one["run"]), one["checkpoint"]) for one in content["members"]]
        weights = [float(one["weight"]) for one in content["members"]]
        if members and all(0 < weight < float("inf") for weight in weights):
            return content
        reason = f"weights {weights}"
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    raise RunError(
        "The ensemble cannot be read.",
        expected="members, each with a run, a checkpoint or null, and a weight above 0",
        got=reason,
        where=file,
        remedy="make the ensemble anew: sightline ensemble RUN RUN",
    )


def ensemble_members(run: RunFolder, *, calibrated: bool) -> list[Member]:
    """The members that ensemble.json names, each with its own run's calibration."""
    file = run.path / ENSEMBLE_FILE
    members = []
    for one in ensemble_content(run)["members"]:
        folder = Path(one["run"])
        if not folder.is_absolute():
            folder = run.path / folder
        if not folder.is_dir():
            raise RunError(
                "A member of the ensemble is not there any more.",
                got=folder,
                where=file,
                remedy="put its run folder back, or make the ensemble anew",
            )
        member = RunFolder.open(folder)
        calibration = read_calibration(member) if calibrated else None
        names = best_checkpoints(member) if one["checkpoint"] is None else [one["checkpoint"]]
        members += [
            Member(
                member,
                name,
                float(one["weight"]) / len(names),
                calibration.member(name) if calibration else None,
            )
            for name in names
        ]
    return members
