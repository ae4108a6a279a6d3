"""Hyperband as W&B has it: trials are compared after fixed numbers of epochs, whenever they run."""

from __future__ import annotations

import math

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from sightline.tuning.sweep_settings import SweepPruning


class BracketPruner(BasePruner):
    """Stops a trial that is not among the best 1/eta of those that reached a bracket before it.

    That is the asynchronous successive halving of Li et al. 2020 (arXiv:1810.05934), algorithm 2,
    with the brackets of a sweep file's `early_terminate`. Of n values, its own among them, the
    trial's must be at least as good as the one of rank floor(n / eta), counted from 0: so the first
    trial passes every bracket. An iteration is a validated epoch.
    """

    def __init__(self, settings: SweepPruning) -> None:
        self._settings = settings

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial is to be stopped after its last epoch."""
        done = len(trial.intermediate_values)
        passed = [bracket for bracket in self._settings.brackets if bracket <= done]
        if not passed or (passed[-1] != done and not self._settings.strict):
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        others = study.get_trials(deepcopy=False)
        found = [_value(one, passed[-1]) for one in others if one.number != trial.number]
        own = _value(trial, passed[-1])
        if own is None or not math.isfinite(own):
            return True
        values = sorted(sign * one for one in [*found, own] if one is not None and one == one)
        return sign * own > values[int(len(values) / self._settings.eta)]


def _value(trial: FrozenTrial, bracket: int) -> float | None:
    """The value that a trial had after so many validated epochs; None where it did not get there.

    Epochs without a validation are not counted, as W&B counts only what is logged.
    """
    values = trial.intermediate_values
    if len(values) < bracket:
        return None
    return float(values[sorted(values)[bracket - 1]])
