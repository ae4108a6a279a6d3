"""A sweep as a search: what its file says, in the words of the search settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from sightline.tuning.parameter import Parameter
from sightline.tuning.settings import PruningConfig, SearchConfig, StudyConfig


class SweepStudy(StudyConfig):
    """Which trials a sweep has and what they are judged by."""

    random_trials: int = Field(default=5, ge=1)
    """Trials drawn at random before tpe goes by their results: sweeps are often short."""
    target: float | None = None
    """A value after which no trial begins any more; null: none."""


class SweepPruning(PruningConfig):
    """When a trial of a sweep is stopped: brackets of W&B's hyperband."""

    method: Literal["median", "hyperband", "none"] = "none"
    """hyperband, by the brackets below; none."""
    brackets: tuple[int, ...] = ()
    """Validated epochs after which a trial is compared with all others, ascending."""
    eta: float = Field(default=3.0, gt=1)
    """The best 1/eta of the trials that reached a bracket go on."""
    strict: bool = False
    """Compare after every epoch, with all that reached the last bracket by then."""


class SweepSearch(SearchConfig):
    """A sweep file, read."""

    task: Literal["sweep"] = "sweep"  # type: ignore[assignment]
    """A sweep; the configuration to search on is named beside it."""
    study: SweepStudy = SweepStudy()
    pruning: SweepPruning = SweepPruning()
    space: Mapping[str, Parameter] = Field(min_length=1)
    """Dotted keys of the training, each with what it may be."""
    grid: bool = False
    """Every combination of the choices, one after another; the last key changes fastest."""

    where_space: ClassVar[str] = "parameters"
    halves_batches: ClassVar[bool] = False

    def is_enough(self, value: float) -> bool:
        """Whether a trial with this value reached the target."""
        target = self.study.target
        if target is None:
            return False
        return value >= target if self.study.direction == "maximize" else value <= target


SEARCHES: dict[str, type[SearchConfig]] = {"search": SearchConfig, "sweep": SweepSearch}
"""Class of the search settings that travel to a worker, by their task."""
