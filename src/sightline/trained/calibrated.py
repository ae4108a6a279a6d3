"""calibration.json: the calibrators of a run's checkpoints, and what they were shown to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.errors import DataError, RunError
from sightline.metrics.calibrators import Calibrator, calibrator_from_dict
from sightline.runs import RunFolder, file_hash, write_atomically

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True)
class Calibrated:
    """One calibrator: the identity where fitting did not help (`adopted` false, `why` says so)."""

    calibrator: Calibrator
    adopted: bool
    why: str
    n: int
    """Rows it was fitted on."""
    sha256: str | None = None
    """Of the file it belongs to: the checkpoint, or ensemble.json."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as calibration.json holds it."""
        facts = {"adopted": self.adopted, "why": self.why, "n": self.n, "sha256": self.sha256}
        return {**self.calibrator.as_dict(), **facts}


@dataclass(frozen=True)
class RunCalibration:
    """What calibration.json says; `after` is of rows that each calibrator was not fitted on."""

    method: str
    split: str
    """val, or oof where every fold's model was calibrated on the fold it did not see."""
    n: int
    members: Mapping[str, Calibrated]
    """Checkpoint name below ckpt/ -> its calibrator."""
    combined: Calibrated | None
    """Of an ensemble's mean probability."""
    before: Mapping[str, float]
    after: Mapping[str, float]
    """ece, nll, brier and accuracy."""
    bins_before: Sequence[Mapping[str, Any]]
    bins_after: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    version: str = ""
    folder: Path | None = field(default=None, compare=False)
    """The run it was read from; None: the hashes of files are not compared."""

    @property
    def ensemble(self) -> Calibrator | None:
        """What is applied to the members' mean; RunError if ensemble.json is another by now."""
        if self.combined is None:
            return None
        if self.folder is not None and self.combined.sha256 is not None:
            self._compare("ensemble.json", self.combined, self.folder / "ensemble.json")
        return self.combined.calibrator

    def member(self, checkpoint: str) -> Calibrator:
        """Return a checkpoint's calibrator; RunError for one that is missing or of an older file.

        A second name of a calibrated file (`best_fold0.pth`, `fold0/best_model.pth`) will do.
        """
        known = self.members.get(checkpoint)
        if known is not None:
            if self.folder is not None and known.sha256 is not None:
                self._compare(checkpoint, known, self.folder / "ckpt" / checkpoint)
            return known.calibrator
        if self.folder is not None:
            content = file_hash(self.folder / "ckpt" / checkpoint)
            for other in self.members.values():
                if other.sha256 == content:
                    return other.calibrator
        raise RunError(
            f"The run's calibration is not for the checkpoint {checkpoint}.",
            expected="one of " + ", ".join(self.members) if self.members else "an ensemble",
            where=self._file,
            remedy=f"sightline evaluate RUN --checkpoint {checkpoint}, then calibrate it; "
            "or go without calibration",
        )

    def summary(self) -> str:
        """Return one line: scores before and after, of how many images, and what was adopted."""
        fits = [*self.members.values(), *([] if self.combined is None else [self.combined])]
        scores = ", ".join(
            f"{name} {self.before[name]:.3f} -> {self.after[name]:.3f}" for name in ("ece", "nll")
        )
        adopted = sum(one.adopted for one in fits)
        return f"{scores} (n={self.n} images, {adopted} of {len(fits)} adopted)"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {
            "method": self.method,
            "split": self.split,
            "n": self.n,
            "members": {name: one.as_dict() for name, one in self.members.items()},
            "ensemble": None if self.combined is None else self.combined.as_dict(),
            "before": dict(self.before),
            "after": dict(self.after),
            "bins_before": [dict(one) for one in self.bins_before],
            "bins_after": [dict(one) for one in self.bins_after],
            "notes": list(self.notes),
            "version": self.version,
        }

    @property
    def _file(self) -> Path | None:
        return None if self.folder is None else self.folder / CALIBRATION_FILE

    def _compare(self, name: str, entry: Calibrated, file: Path) -> None:
        if not file.is_file() or file_hash(file) != entry.sha256:
            raise RunError(
                f"The calibration was made for another {name} than the run has now.",
                where=self._file,
                remedy="run `sightline evaluate RUN` and `sightline calibrate RUN` again, or go "
                "without calibration",
            )


def read_calibration(run: RunFolder) -> RunCalibration | None:
    """Return what the run's calibration.json says; None without one, RunError for a broken one."""
    file = run.path / CALIBRATION_FILE
    if not file.is_file():
        return None
    try:
        plain = json.loads(file.read_bytes())
        combined = plain["ensemble"]
        return RunCalibration(
            method=str(plain["method"]),
            split=str(plain["split"]),
            n=int(plain["n"]),
            members={name: _entry(one) for name, one in plain["members"].items()},
            combined=None if combined is None else _entry(combined),
            before=plain["before"],
            after=plain["after"],
            bins_before=plain["bins_before"],
            bins_after=plain["bins_after"],
            notes=plain["notes"],
            version=str(plain["version"]),
            folder=run.path,
        )
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise RunError(
            "The calibration of the run cannot be read.",
            got=f"{type(error).__name__}: {error}".splitlines()[0],
            where=file,
            remedy="make it again with `sightline calibrate`",
        ) from error


def write_calibration(run: RunFolder, calibration: RunCalibration) -> Path:
    """Write calibration.json whole or not at all, and return its path."""
    file = run.path / CALIBRATION_FILE
    write_atomically(file, json.dumps(calibration.as_dict(), indent=1, allow_nan=False) + "\n")
    return file


def _entry(plain: Mapping[str, Any]) -> Calibrated:
    sha256 = plain["sha256"]
    return Calibrated(
        calibrator_from_dict(plain),
        bool(plain["adopted"]),
        str(plain["why"]),
        int(plain["n"]),
        None if sha256 is None else str(sha256),
    )
