"""`sightline calibrate`: make a run's probabilities say how often they are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.calibration import (
    brier_rows,
    expected_calibration_error,
    log_softmax,
    losses,
    reliability_bins,
)
from sightline.metrics.calibrators import IDENTITY
from sightline.metrics.cross_fitting import FEWEST, Fitted, calibrate
from sightline.runs import History, RunFolder, file_hash
from sightline.trained import require_answers, run_config
from sightline.trained.calibrated import Calibrated, RunCalibration, write_calibration
from sightline.trained.members import ENSEMBLE_FILE
from sightline.trained.saved_logits import Rows, read_saved_logits


def calibrate_run(
    run: RunFolder, method: str = "temperature", say: Callable[[str], object] = print
) -> RunCalibration:
    """Fit on the run's saved validation logits and write calibration.json.

    The rows are those of `predictions/val` (a single model, or an ensemble's mean) or of `oof/`
    (each fold's model on the fold it did not see), never rows a model was trained on. Raises
    DataError for logits that are missing or older than the checkpoint.
    """
    require_answers(run, "probabilities", "a calibration")
    saved = read_saved_logits(run)
    found = calibrate_logits(
        saved.members,
        saved.ensemble,
        method,
        run_config(run).project.seed,
        split=saved.split,
        class_names=saved.class_names,
    )
    members = {
        name: replace(one, sha256=file_hash(run.ckpt / name)) for name, one in found.members.items()
    }
    combined = found.combined
    if combined is not None:
        combined = replace(combined, sha256=file_hash(run.path / ENSEMBLE_FILE))
    found = replace(found, members=members, combined=combined, folder=run.path)
    for note in found.notes:
        say(note)
    write_calibration(run, found)
    scores = {f"{name}_before": value for name, value in found.before.items()}
    scores |= {f"{name}_after": value for name, value in found.after.items()}
    History(run.metrics_file).append(
        {"event": "calibrate", "method": method, "split": found.split, "n": found.n, **scores}
    )
    return found


def calibrate_logits(
    members: Mapping[str, Rows],
    ensemble: Rows | None,
    method: str,
    seed: int,
    *,
    split: str = "val",
    class_names: Sequence[str] = (),
) -> RunCalibration:
    """Fit each member's calibrator on its own rows, and the ensemble's on those of the mean.

    Pure. `before` and `after` are of the ensemble's rows where there are any, else of all members'
    rows together; `after` is cross-fitted, so no row was seen by the calibrator it is judged with.
    Members whose calibrators together would raise the ECE of all rows all stay as they are.
    Raises DataError for no rows at all, and for vector scaling without an image of each class.
    """
    fits = {
        name: _fit(rows, method, seed, name=name, class_names=class_names)
        for name, rows in members.items()
    }
    judged = [(rows, fits[name].held_out) for name, rows in members.items()]
    combined = None
    if ensemble is not None:
        combined = _fit(ensemble, method, seed, name="the ensemble", class_names=class_names)
        judged = [(ensemble, combined.held_out)]
    if not judged:
        raise DataError("There is nothing to calibrate.", expected="at least one model's logits")
    targets = np.concatenate([rows.targets for rows, _ in judged])
    before = _Scored(np.concatenate([rows.logits for rows, _ in judged]), targets)
    after = _Scored(np.concatenate([held_out for _, held_out in judged]), targets)
    gaps = before.scores()["ece"], after.scores()["ece"]
    if combined is None and gaps[1] > gaps[0]:
        # Each fold by itself may gain, and their errors, which cancelled before, add up.
        why = f"with it, the ECE of all rows rises from {gaps[0]:.3f} to {gaps[1]:.3f}"
        fits = {name: _undone(fit, members[name], why) for name, fit in fits.items()}
        after = before
    entries = {name: _entry(fit, members[name]) for name, fit in fits.items()}
    whole = None
    if combined is not None and ensemble is not None:
        whole = _entry(combined, ensemble)
    said = [*entries.items(), *([] if whole is None else [("the ensemble", whole)])]
    return RunCalibration(
        method=method,
        split=split,
        n=len(targets),
        members=entries,
        combined=whole,
        before=before.scores(),
        after=after.scores(),
        bins_before=before.bins(),
        bins_after=after.bins(),
        notes=[f"{name} stays as it is: {one.why}" for name, one in said if not one.adopted],
        version=version("sightline"),
    )


@dataclass(frozen=True)
class _Scored:
    """Logits (N, C) against targets (N,), as plain numbers."""

    logits: npt.NDArray[Any]
    targets: npt.NDArray[np.int64]

    def scores(self) -> dict[str, float]:
        probabilities = np.exp(log_softmax(self.logits))
        right = probabilities.argmax(axis=1) == self.targets
        return {
            "ece": expected_calibration_error(probabilities, self.targets),
            "nll": float(losses(self.logits, self.targets).mean()),
            "brier": float(brier_rows(probabilities, self.targets).mean()),
            "accuracy": float(right.mean()),
        }

    def bins(self) -> list[dict[str, Any]]:
        found = reliability_bins(np.exp(log_softmax(self.logits)), self.targets)
        return [one.as_dict() for one in found]


def _fit(rows: Rows, method: str, seed: int, *, name: str, class_names: Sequence[str]) -> Fitted:
    if not len(rows.targets):
        raise DataError(
            f"There are no validation images to calibrate {name} on.",
            expected=f"at least {FEWEST}",
            remedy="train with data.val_fraction above 0, or with data.folds",
        )
    if method == "vector":
        _require_every_class(rows, name=name, class_names=class_names)
    return calibrate(rows.logits, rows.targets, method=method, groups=rows.groups, seed=seed)


def _undone(fit: Fitted, rows: Rows, why: str) -> Fitted:
    """The fit with its calibrator taken back, if it had been adopted."""
    return Fitted(IDENTITY, IDENTITY.apply(rows.logits), False, why) if fit.adopted else fit


def _require_every_class(rows: Rows, *, name: str, class_names: Sequence[str]) -> None:
    counts = np.bincount(rows.targets, minlength=rows.logits.shape[1])
    absent = np.flatnonzero(counts == 0).tolist()
    if absent:
        listed = [class_names[code] if class_names else str(code) for code in absent]
        raise DataError(
            f"Vector scaling of {name} needs validation images of every class.",
            expected=f"some of each of {len(counts)} classes",
            got="none of " + ", ".join(listed[:5]) + (" ..." if len(listed) > 5 else ""),
            remedy="calibrate with --method temperature, or validate on more images",
        )


def _entry(fit: Fitted, rows: Rows) -> Calibrated:
    return Calibrated(fit.calibrator, fit.adopted, fit.why, len(rows.targets))
