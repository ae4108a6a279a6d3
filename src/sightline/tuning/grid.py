"""Grid search: trial N has the N-th combination of all choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from sightline.tuning.settings import SearchConfig


class GridSampler(BaseSampler):
    """Gives trial N the N-th combination of all choices; the last key changes fastest."""

    def __init__(self, search: SearchConfig) -> None:
        self._sizes = {key: len(one.ends()) for key, one in search.space.items()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: each key is looked up by itself."""
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: Mapping[str, BaseDistribution],
    ) -> dict[str, object]:
        """Nothing: each key is looked up by itself."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> object:
        """Return the choice that the key has in the trial's combination."""
        chosen = places_in_grid(list(self._sizes.values()), trial.number)
        assert isinstance(param_distribution, CategoricalDistribution)
        return param_distribution.choices[chosen[list(self._sizes).index(param_name)]]


def places_in_grid(sizes: Sequence[int], number: int) -> list[int]:
    """Return which of so many choices each key has in the combination of this number, from 0.

    >>> [places_in_grid([2, 3], number) for number in range(4)]
    [[0, 0], [0, 1], [0, 2], [1, 0]]
    """
    places = []
    for size in reversed(sizes):
        number, place = divmod(number, size)
        places.append(place)
    return places[::-1]
