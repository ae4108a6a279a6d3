"""Room on the disk: of all trials only the best keeps its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna


def drop_checkpoints(study: optuna.Study, folder: Path) -> None:
    """Remove the checkpoints of ended trials other than the best; their runs stay.

    They are never continued, and the model for use is trained anew with the best values. A trial's
    runs are found by name: one whose worker was killed could not say which it had, and one that ran
    out of memory had several. Runs on other machines are not seen from here.
    """
    best = best_trial(study)
    kept = None if best is None else best.user_attrs.get("run")
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            continue
        for run in (folder / "runs").glob(f"*/{run_name(trial.number)}_*"):
            if run.relative_to(folder).as_posix() == kept:
                continue
            for file in (run / "ckpt").glob("**/*.pth"):
                file.unlink(missing_ok=True)


def run_name(number: int) -> str:
    """What the runs of a trial are called, before the underscore and the time."""
    return f"trial-{number:04d}"


def best_trial(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    """The finished trial with the best value, of equal ones the first; None without any."""
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not finished:
        return None
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    return min(finished, key=lambda trial: (sign * trial.value, trial.number))  # type: ignore[operator]
