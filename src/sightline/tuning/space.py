"""The keys to search: checked against the training's configuration, and drawn for a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sightline.config import Section, load_config
from sightline.errors import ConfigError
from sightline.tuning.settings import Dimension, SearchConfig
from sightline.tuning.table import MADE_OF_DRAWN

if TYPE_CHECKING:
    import optuna

FIXED = (
    *("task", "project", "data", "output", "eval", "infer", "tracking"),
    *("train.monitor", "train.mode", "train.device"),
)
"""What trials must share, so that their values can be compared."""
SEARCHABLE = ("data.augment", "data.fit")
"""What may be searched all the same inside those sections."""
_MEANT = {"dropout": "model.drop_rate", "gradient_clip": "train.grad_clip_norm"}

Load = Callable[[Mapping[str, object]], Section]
"""The configuration to search on, with some dotted keys replaced."""


def search_flags(search: SearchConfig) -> dict[str, Any]:
    """The keys that every trial of a search shares: the file's own, and the metric it goes by."""
    metric = search.study.metric
    monitor = None if metric == "loss" else metric
    # A run for each trial at a tracker only where the search asks for it.
    shared = {"tracking.to": [], **search.overrides}
    return {**shared, "train.monitor": monitor, "output.save_interval": 0}


def loader(
    source: str,
    overrides: Sequence[str],
    tasks: Mapping[str, type[Section]],
    *,
    recipe: str | None = None,
) -> Load:
    """A function that loads the configuration to search on with some keys replaced.

    `recipe` stands in for the one that the source names, or is.
    """
    return lambda flags: load_config(source, overrides, tasks=tasks, flags=flags, recipe=recipe)


def require_searchable(search: SearchConfig, load: Load, where: str) -> None:
    """Raise ConfigError for a key that is not there or may not vary, or a value out of its range.

    Both ends of a range and every choice are tried in the configuration, each alone and with the
    other keys at their first and at their last values. `where` is the search file's name.
    """
    shared = search_flags(search)
    for key in search.overrides:
        _require_one_meaning(search, key, where)
        _try(load, {key: shared[key]}, key, f"{where}: overrides")
    for key in search.space:
        if _inside(key, FIXED) and not _inside(key, SEARCHABLE):
            raise ConfigError(
                f"{key} cannot be searched: trials that differ in it cannot be compared.",
                expected="keys of train, model, data.augment or data.fit",
                where=f"{where}: {search.where_space}.{key}",
                remedy="leave it out; what all trials share belongs to the command line",
            )
    _try(load, shared, "overrides", f"{where}: overrides")
    corners = [{key: one.ends()[end] for key, one in search.space.items()} for end in (0, -1)]
    for key, dimension in search.space.items():
        for value in dimension.ends():
            # As a trial has it, and as the training has it that follows the search.
            for base in (shared, {}):
                place = f"{where}: {search.where_space}.{key}"
                _try_among(load, {**base, key: value}, key, place, corners)


def require_loadable(load: Load, flags: Mapping[str, object], where: str) -> None:
    """Raise ConfigError, with `where` as the place, when the flags do not fit the configuration."""
    _try(load, flags, "overrides", where)


def _try_among(
    load: Load,
    flags: Mapping[str, Any],
    key: str,
    place: str,
    corners: Sequence[Mapping[str, Any]],
) -> None:
    """Raise ConfigError when the flags do not fit together with the corners of the space.

    A value that fails alone may need another searched key, as a mix_probability needs a mixup, and
    one that is right alone may not go with it, as a momentum and adamw.
    """
    try:
        _try(load, flags, key, place)
    except ConfigError as alone:
        for corner in corners:
            try:
                load({**corner, **flags})
            except ConfigError:
                raise alone from None
        return
    for corner in corners:
        _try(load, {**corner, **flags}, key, place)


def draw(trial: optuna.Trial, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """The trial's value of each key, in the order of the space.

    Values that are made of what the sampler drew, as a rounded one, are noted in the trial.
    """
    values = {key: dimension.suggest(trial, key) for key, dimension in space.items()}
    made = {key: value for key, value in values.items() if not _is_same(value, trial.params[key])}
    if made:
        trial.set_user_attr(MADE_OF_DRAWN, made)
    return values


def _require_one_meaning(search: SearchConfig, key: str, where: str) -> None:
    if key in search.space:
        raise ConfigError(
            f"{key} is both in overrides and in space.",
            expected="a key that is either shared by all trials, or searched",
            where=where,
            remedy=f"leave {key} out of overrides",
        )
    if key in ("train.monitor", "output.save_interval"):
        raise ConfigError(
            f"{key} is decided by the search and cannot be in overrides.",
            where=where,
            remedy="leave it out; study.metric names the metric",
        )


def _try(load: Load, flags: Mapping[str, object], key: str, where: str) -> None:
    try:
        load(flags)
    except ConfigError as error:
        text = error.what
        for flag in flags:
            place = where if flag == key or key == "overrides" else f"set for {flag}"
            text = text.replace(f"command line flag for {flag}", place)
        meant = _MEANT.get(key.rpartition(".")[2])
        raise ConfigError(
            text.replace("The configuration has", "The search would make a configuration with"),
            expected=error.expected,
            got=error.got,
            where=error.where,
            remedy=f"did you mean {meant}?" if meant else error.remedy,
        ) from None


def _is_same(value: Any, drawn: Any) -> bool:
    return type(value) is type(drawn) and bool(value == drawn)


def _inside(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)
