"""A parameter of a sweep file: a range or choices, or a distribution that only such files have."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sightline.tuning.settings import Dimension

if TYPE_CHECKING:
    import optuna

TAIL = 0.001
"""Share of a normal, log-normal or beta distribution that is left out at either end."""
Shape = Literal["normal", "log_normal", "beta"]


class Parameter(Dimension):
    """What one key of a sweep may be; without its own fields it is a Dimension.

    A sampler draws numbers from a range, and one of some words. What is neither is made of such a
    draw: a value of a distribution of its quantile, a multiple of `quantum` of the number beside
    it, an option of its text, or with probabilities of a number from 0 to 1.
    """

    options: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """Values of any kind, lists among them, of which one is taken."""
    probabilities: tuple[float, ...] | None = None
    """Probability of each option; they sum to 1. Null: all alike."""
    shape: Shape | None = None
    """Distribution of the value, without TAIL at either end."""
    shape_of: tuple[float, float] = (0.0, 1.0)
    """mu and sigma of normal and of log_normal's logarithm, or a and b of beta."""
    quantum: float | None = Field(default=None, gt=0)
    """The value is the nearest multiple of it."""

    def _require_sense(self) -> None:
        if self.options is None and self.shape is None:
            super()._require_sense()

    def ends(self) -> list[Any]:
        """The values to be checked before anything starts: every option, or both ends."""
        if self.options is not None:
            return list(self.options)
        if self.shape is not None:
            return [self._rounded(self.quantile(share)) for share in (TAIL, 1 - TAIL)]
        return super().ends()

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """Return the trial's value of the key, made of what the study's sampler drew."""
        if self.options is not None and self.probabilities is not None:
            share = trial.suggest_float(key, 0.0, 1.0)
            # A last sum just below 1, for the sake of rounding, is not looked at.
            bounds = list(accumulate(self.probabilities))[:-1]
            return self.options[bisect_right(bounds, share)]
        if self.options is not None:
            texts = [json.dumps(option) for option in self.options]
            return self.options[texts.index(trial.suggest_categorical(key, texts))]
        if self.shape is not None:
            return self._rounded(self.quantile(trial.suggest_float(key, TAIL, 1 - TAIL)))
        if self.quantum is not None:
            assert self.low is not None
            assert self.high is not None
            return self._rounded(trial.suggest_float(key, self.low, self.high, log=self.log))
        return super().suggest(trial, key)

    def quantile(self, share: float) -> float:
        """Return the value that the distribution `shape` stays below with this probability."""
        first, second = self.shape_of
        if self.shape == "beta":
            return _beta_quantile()(first, second, share)
        value = first + second * NormalDist().inv_cdf(share)
        return math.exp(value) if self.shape == "log_normal" else value

    def _rounded(self, value: float) -> float:
        """The nearest multiple of the quantum, an integer where the parameter is one."""
        if self.quantum is None:
            return value
        multiple = round(value / self.quantum)
        # Not multiplied where the division is exact: 3 * 0.1 is no 0.3.
        part = 1 / self.quantum
        found = multiple / round(part) if part == round(part) else multiple * self.quantum
        return round(found) if self.integer else found


def _beta_quantile() -> Callable[[float, float, float], float]:
    from scipy.special import betaincinv

    return lambda a, b, share: float(betaincinv(a, b, share))
