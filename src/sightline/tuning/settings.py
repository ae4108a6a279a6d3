"""The search file: what is searched, by which rule, and when a trial is given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from sightline.config import Section

if TYPE_CHECKING:
    import optuna

Scalar = bool | int | float | str | None
_FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class StudyConfig(Section):
    """Which trials there are and what they are judged by."""

    name: str | None = Field(default=None, max_length=120, pattern=_FOLDER_NAME)
    """Name of the study; null: project.name and a fingerprint of all that is searched on."""
    storage: str | None = Field(default=None, min_length=1)
    """An SQLite file or a postgresql:// address; null: study.db in the study's folder."""
    n_trials: int = Field(default=20, ge=1)
    """Trials of the whole study, however often and by however many workers it is continued."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds after which no trial begins any more; null: no limit."""
    sampler: Literal["tpe", "random"] = "tpe"
    """tpe (Bergstra et al. 2011, multivariate as in Falkner et al. 2018) or random."""
    random_trials: int = Field(default=10, ge=1)
    """Trials drawn at random before tpe goes by their results."""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of the sampler; the training's seed is project.seed."""
    metric: str = Field(default="macro_f1", min_length=1)
    """Validation metric of a trial, its best epoch's value; `loss` is the validation loss."""
    direction: Literal["maximize", "minimize"] = "maximize"
    """Whether a larger or a smaller value is better."""

    @model_validator(mode="after")
    def _keys_agree(self) -> StudyConfig:
        default = type(self).model_fields["random_trials"].default
        if self.sampler != "tpe" and self.random_trials != default:
            raise ValueError("random_trials is used only with sampler tpe")
        if (self.metric == "loss") != (self.direction == "minimize"):
            better = "smaller" if self.metric == "loss" else "larger"
            raise ValueError(f"direction {self.direction}: of {self.metric} a {better} is better")
        return self


class PruningConfig(Section):
    """When a trial that will not become the best is stopped."""

    method: Literal["median", "hyperband", "none"] = "median"
    """median: below the median of earlier trials; hyperband (Li et al. 2018); none."""
    startup_trials: int = Field(default=5, ge=1)
    """Finished trials that median waits for."""
    warmup_epochs: int = Field(default=1, ge=0)
    """First epochs of a trial, in which median never stops it."""
    patience: int = Field(default=0, ge=0)
    """Epochs without improvement that a trial must have behind it to be stopped."""

    @model_validator(mode="after")
    def _keys_are_used(self) -> PruningConfig:
        users = {
            "startup_trials": ("median",),
            "warmup_epochs": ("median",),
            "patience": ("median", "hyperband"),
        }
        for key, methods in users.items():
            default = type(self).model_fields[key].default
            if getattr(self, key) != default and self.method not in methods:
                raise ValueError(
                    f"{key} is used only with method {' or '.join(methods)}, "
                    f"and method is {self.method}"
                )
        return self


class Dimension(Section):
    """What one key may be: a number from low to high, or one of some choices."""

    low: float | None = None
    """Smallest value."""
    high: float | None = None
    """Largest value."""
    log: bool = False
    """Draw the logarithm evenly: as many values from 1e-4 to 1e-3 as from 1e-3 to 1e-2."""
    step: float | None = Field(default=None, gt=0)
    """Distance between neighbouring values; null: any number, or every integer."""
    integer: bool = Field(default=False, alias="int")
    """Integers only."""
    choices: tuple[Scalar, ...] | None = Field(default=None, min_length=1)
    """The values there are."""

    @model_validator(mode="after")
    def _is_range_or_choices(self) -> Dimension:
        self._require_sense()
        return self

    def _require_sense(self) -> None:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.step or self.log:
                raise ValueError("either choices, or low and high; not both")
            if self.integer:
                raise ValueError("int is used only with low and high")
            return
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"with log, low must be > 0; got {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step cannot go together")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step {self.step:g} is wider than the range: one value is no search")
        whole = [value for value in (self.low, self.high, self.step) if value is not None]
        if self.integer and any(value != int(value) for value in whole):
            raise ValueError("with int, low, high and step must be integers")

    def ends(self) -> list[Any]:
        """The values to be checked before anything starts: every choice, or both ends."""
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None
        assert self.high is not None
        return [int(end) if self.integer else float(end) for end in (self.low, self.high)]

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """Return the trial's value of the key, drawn by the study's sampler."""
        if self.choices is not None:
            return trial.suggest_categorical(key, self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(key, low, high, step=step, log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)


class SearchConfig(Section):
    """A search file: the study, its pruning, and the space of keys to search."""

    task: Literal["search"] = "search"
    """A search for hyper-parameters; the configuration to search on is named beside it."""
    study: StudyConfig = StudyConfig()
    pruning: PruningConfig = PruningConfig()
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys of the training that all trials share, as train.epochs for shorter ones."""
    space: Mapping[str, Dimension] = Field(min_length=1)
    """Dotted keys of the training, each with low and high, or choices."""

    where_space: ClassVar[str] = "space"
    """What `space` is called in the file that a user wrote."""
    halves_batches: ClassVar[bool] = True
    """Whether a trial that runs out of memory is tried again with half the micro-batch."""

    def is_enough(self, value: float) -> bool:
        """Whether a trial with this value ends the search; always False where no target is set."""
        return False


SEARCH_CONFIGS: dict[str, type[Section]] = {"search": SearchConfig}
"""Configuration class of a search file, as load_config wants it."""
