"""The trials of a study as plain rows: for people, for trials.csv and for figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sightline.tuning.study import KILLED

if TYPE_CHECKING:
    import optuna

STATES = {
    "COMPLETE": "finished",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
"""How Optuna's states are called where people read."""
MADE_OF_DRAWN = "values"
"""Where a trial notes the values that differ from what its sampler drew."""
_MOST_ERROR = 160


@dataclass(frozen=True)
class Trial:
    """One trial; a value only where it is finished."""

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    epochs: list[float | None]
    """Value of each validated epoch, the first one first; None where there was none."""
    run: str | None
    seconds: float | None
    error: str | None
    batch: str | None
    """How the batch was made smaller for want of memory."""
    changes: dict[str, int]
    """Keys that differ from params for want of memory."""

    @property
    def has_ended(self) -> bool:
        """Whether it is finished, pruned or failed."""
        return self.state in ("finished", "pruned", "failed")

    def as_dict(self) -> dict[str, Any]:
        """The row for figures and JSON."""
        names = ("number", "state", "value", "params", "run", "seconds", "error", "batch")
        reached = {epoch: value for epoch, value in enumerate(self.epochs, 1) if value is not None}
        return {**{name: getattr(self, name) for name in names}, "intermediate": reached}


def trials_of(study: optuna.Study) -> list[Trial]:
    """Every trial of the study, in the order of their numbers."""
    return [_trial(trial) for trial in study.get_trials(deepcopy=False)]


def trials_csv(trials: Sequence[Trial]) -> str:
    """The table of the trials: a column for each key of the space and for each fact."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["number", "state", "value", *keys, "epochs", "seconds", "batch", "run", "error"]
    )
    for trial in trials:
        values = [trial.params.get(key) for key in keys]
        facts = [len(trial.epochs), trial.seconds, trial.batch, trial.run, trial.error]
        writer.writerow([trial.number, trial.state, trial.value, *values, *facts])
    return text.getvalue()


def trial_line(trial: Trial, *, done: int, of: int) -> str:
    """How a trial ended, in one line."""
    value = "" if trial.value is None else f" {trial.value:.4f}"
    seconds = "" if trial.seconds is None else f" in {trial.seconds:.0f} s"
    params = " ".join(f"{key}={shown_value(value)}" for key, value in trial.params.items())
    batch = f" | out of memory: batch {trial.batch}" if trial.batch else ""
    error = f" | {trial.error.splitlines()[0][:_MOST_ERROR]}" if trial.error else ""
    state = f"{trial.state}{value} after {len(trial.epochs)} epochs{seconds}"
    return f"[{done}/{of}] trial {trial.number} {state} | {params}{batch}{error}"


def shown_value(value: object) -> str:
    """A value as short as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trial(trial: optuna.trial.FrozenTrial) -> Trial:
    facts, state = trial.user_attrs, STATES[trial.state.name]
    steps = trial.intermediate_values
    last = max(steps, default=-1)
    batch = facts.get("batch") or []
    sizes = [str(batch[0]["instead_of"])] if batch else []
    sizes += [f"{one['batch_size']} x {one['accumulate_steps']}" for one in batch]
    error = facts.get("error")
    if state == "failed" and error is None:
        error = KILLED
    return Trial(
        number=trial.number,
        state=state,
        value=trial.value if state == "finished" else None,
        params=dict(trial.params) | facts.get(MADE_OF_DRAWN, {}),
        epochs=[steps.get(step) for step in range(last + 1)],
        run=facts.get("run"),
        seconds=facts.get("seconds"),
        error=error if state == "failed" else None,
        batch=" -> ".join(sizes) or None,
        changes=_changes(batch),
    )


def _changes(batch: Sequence[dict[str, int]]) -> dict[str, int]:
    if not batch:
        return {}
    names = ("batch_size", "accumulate_steps")
    return {f"train.{name}": batch[-1][name] for name in names}
