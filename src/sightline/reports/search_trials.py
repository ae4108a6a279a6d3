"""The trials of a search as plain data, and the numbers that its figures and page show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

STATES = ("finished", "pruned", "failed", "running", "waiting")
TOP = 10


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial; ``value`` is the score of a finished one, ``intermediate`` its value by epoch."""

    number: int
    state: str
    value: float | None
    seconds: float | None
    params: Mapping[str, Any]
    intermediate: Mapping[int, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def height(self) -> float | None:
        """The value, or for a trial without one the last intermediate value."""
        if self.value is not None or not self.intermediate:
            return self.value
        return self.intermediate[max(self.intermediate)]


@dataclass(frozen=True, slots=True)
class Trials:
    """All trials of a search by number, and whether a higher value is the better one."""

    all: list[Trial]
    higher_is_better: bool = True

    @property
    def scored(self) -> list[Trial]:
        """The finished trials that have a value, by number."""
        return [
            trial for trial in self.all if trial.state == "finished" and trial.value is not None
        ]

    def ranked(self) -> list[Trial]:
        """Return the scored trials from the best down, the earlier one first on a tie."""
        sign = -1.0 if self.higher_is_better else 1.0
        return sorted(self.scored, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    def best_so_far(self) -> dict[str, list[Any]]:
        """Return, for each scored trial by number, the best value up to then."""
        values: list[float] = []
        pick = max if self.higher_is_better else min
        for trial in self.scored:
            value = float(trial.value or 0.0)
            values.append(pick(value, values[-1]) if values else value)
        return {"trial": [trial.number for trial in self.scored], "best": values}

    def counts(self) -> dict[str, int]:
        """Return the number of trials in each state, also of states without any."""
        return {state: sum(trial.state == state for trial in self.all) for state in STATES}

    def parameters(self) -> list[str]:
        """Return the names of all parameters, in the order in which trials bring them."""
        return list(dict.fromkeys(name for trial in self.all for name in trial.params))

    def table(self) -> dict[str, list[Any]]:
        """Return the trials as columns, with a column for each parameter."""
        return {
            "trial": [trial.number for trial in self.all],
            "state": [trial.state for trial in self.all],
            "value": [trial.value for trial in self.all],
            "last_value": [trial.height for trial in self.all],
            "seconds": [trial.seconds for trial in self.all],
            **{name: [t.params.get(name) for t in self.all] for name in self.parameters()},
        }

    def intermediate_table(self) -> dict[str, list[Any]]:
        """Return the intermediate values as a long table: one row for each trial and epoch."""
        cells = [
            (trial.number, trial.state, epoch, value)
            for trial in self.all
            for epoch, value in sorted(trial.intermediate.items())
        ]
        heads = ("trial", "state", "epoch", "value")
        return {head: [cell[place] for cell in cells] for place, head in enumerate(heads)}


def read_trials(trials: Sequence[Mapping[str, Any]], *, higher_is_better: bool = True) -> Trials:
    """Return the trials in the order of their numbers; a value that is not finite becomes None.

    Raises ValueError for a state that is none of ``STATES``.
    """
    found = [_trial(one) for one in trials]
    return Trials(sorted(found, key=lambda trial: trial.number), higher_is_better)


def setting(name: str, value: Any) -> str:
    """Return a parameter and its value in few letters.

    >>> setting("train.lr", 0.000312345), setting("model.name", "resnet18")
    ('train.lr=0.0003123', 'model.name=resnet18')
    """
    return f"{name}={plain(value)}"


def plain(value: Any) -> str:
    """Return a parameter's value for people: four digits of a fraction, other things as they are.

    >>> plain(1.5e-05), plain(True), plain(None)
    ('1.5e-05', 'true', 'none')
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trial(one: Mapping[str, Any]) -> Trial:
    state = str(one["state"])
    if state not in STATES:
        raise ValueError(f"trial {one.get('number')}: state {state!r} is none of {STATES}")
    between = one.get("intermediate") or {}
    values = {
        int(epoch): number for epoch, v in between.items() if (number := _number(v)) is not None
    }
    error = one.get("error")
    return Trial(
        number=int(one["number"]),
        state=state,
        value=_number(one.get("value")),
        seconds=_number(one.get("seconds")),
        params=dict(one.get("params") or {}),
        intermediate=values,
        error=str(error) if error else None,
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)
