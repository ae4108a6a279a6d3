"""Room on the disk: of all trials only the best keeps its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna


def drop_checkpoints(study: optuna.Study, folder: Path) -> None:
    """Remove the checkpoints of ended trials other than the best; their runs stay.

    They are never continued, and the model for use is trained anew with the best values. Runs on
    other machines are not seen from here.
    """
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    kept = best_trial(study)
    for trial in ended:
        run = trial.user_attrs.get("run")
        if run is None or (kept is not None and trial.number == kept.number):
            continue
        for file in (folder / run / "ckpt").glob("**/*.pth"):
            file.unlink(missing_ok=True)


def best_trial(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    """The finished trial with the best value, of equal ones the first; None without any."""
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not finished:
        return None
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    return min(finished, key=lambda trial: (sign * trial.value, trial.number))  # type: ignore[operator]
