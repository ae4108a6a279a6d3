"""A sweep file of W&B, read into a search, with a message for every key that does not fit.

The format is that of https://docs.wandb.ai/models/sweeps/sweep-config-keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sightline.errors import ConfigError
from sightline.tuning.sweep_parameters import read_parameters, size_of_grid
from sightline.tuning.sweep_settings import SweepPruning, SweepSearch, SweepStudy
from sightline.tuning.sweep_source import Place, read_source_file, require_keys, require_kind
from sightline.tuning.sweep_stopping import read_stopping

DEFAULT_COUNT = 10
"""Trials of a sweep where neither --count nor run_cap says how many."""
_TEXTS = ("name", "description", "project", "entity", "program")
_KEYS = ("method", "metric", "parameters", "early_terminate", "run_cap", "command", *_TEXTS)
_METHODS = {"grid": "random", "random": "random", "bayes": "tpe"}
_METRIC = ("name", "goal", "target")
_DIRECTIONS = {"minimize": "minimize", "maximize": "maximize"}
_SPLIT = re.compile(r"(?:val|valid|validation)[/_.]", re.IGNORECASE)
_NAMES = {"map": "map", "minp": "minp", "acc": "accuracy"}
Monitor = Callable[[Mapping[str, Any]], str | None]
"""From the keys that all trials share to the metric of a training; None: the validation loss."""
_OF_COMMAND = re.compile(r"\$\{.*\}|(/usr/bin/)?env|python[\d.]*")


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says."""

    search: SweepSearch
    constants: dict[str, Any]
    """Keys that all trials and the best configuration share."""
    tree: dict[str, Any]
    """The file as it is written."""
    notes: list[str]
    """What a user should know of how the file is read."""

    def text(self, key: str) -> str | None:
        """Return one of the keys name, description, project, entity and program."""
        return self.tree.get(key)


def read_sweep_file(file: str, *, count: int | None, monitor: Monitor) -> SweepFile:
    """Return a sweep file as a search of at most `count` trials (None: run_cap, or 10).

    `monitor` says the metric where the file names none. Raises ConfigError for an unknown key,
    anywhere, and for values that make no sense.
    """
    tree, place = read_source_file(file)
    _require_known(tree, place)
    for key in _TEXTS:
        if key in tree:
            require_kind(tree[key], str, place.below(key), "text")
    method = _method(tree, place)
    grid = method == "grid"
    inner = require_kind(
        tree.get("parameters"), dict, place.below("parameters"), "a mapping of parameters"
    )
    parameters = read_parameters(inner, place.below("parameters"), grid=grid)
    metric, direction, target = (
        _metric(tree, place) if "metric" in tree else _monitored(monitor(parameters.constants))
    )
    n_trials, notes = _count(tree, place, count)
    pruning = SweepPruning()
    if "early_terminate" in tree:
        pruning = read_stopping(tree["early_terminate"], place.below("early_terminate"))
    if grid:
        n_trials, note = _of_grid(size_of_grid(parameters.space), n_trials)
        notes.append(note)
    study = SweepStudy.model_validate(
        {
            "n_trials": n_trials,
            "sampler": _METHODS[method],
            "metric": metric,
            "direction": direction,
            "target": target,
        }
    )
    search = SweepSearch(study=study, pruning=pruning, space=parameters.space, grid=grid)
    notes = [*_notes(tree), *parameters.notes, *notes]
    return SweepFile(search, parameters.constants, tree, notes)


def _require_known(tree: Mapping[str, Any], place: Place) -> None:
    if "count" in tree:
        raise ConfigError(
            "count is no key of a sweep file.",
            expected=", ".join(_KEYS),
            where=place.below("count").where(),
            remedy="give --count N, or write run_cap: N into the file",
        )
    require_keys(tree, _KEYS, place)


def _method(tree: Mapping[str, Any], place: Place) -> str:
    method = tree.get("method")
    if not isinstance(method, str):
        raise ConfigError(
            "The sweep file does not say by which method it searches.",
            expected=f"method: {', '.join(_METHODS)}",
            got=method if "method" in tree else "nothing",
            where=place.below("method").where(),
        )
    require_keys([method], tuple(_METHODS), place, what="method")
    return method


def _monitored(metric: str | None) -> tuple[str, str, None]:
    return (metric, "maximize", None) if metric is not None else ("loss", "minimize", None)


def _metric(tree: Mapping[str, Any], place: Place) -> tuple[str, str, float | None]:
    """Our name of the metric, its direction, and the target."""
    at = place.below("metric")
    spec = require_kind(tree["metric"], dict, at, "a mapping such as {name: val/mAP, goal: ...}")
    require_keys(spec, _METRIC, at)
    name = require_kind(spec.get("name"), str, at.below("name"), "the name of a metric")
    metric = our_metric(name)
    goal = spec.get("goal")
    if goal is None and metric != "loss":
        raise ConfigError(
            f"metric.goal is missing, and without it W&B minimises {name}.",
            expected="goal: maximize, or for a loss goal: minimize",
            where=at.where(),
        )
    goal = "minimize" if goal is None else goal
    require_keys([str(goal)], tuple(_DIRECTIONS), at, what="goal")
    better = "minimize" if metric == "loss" else "maximize"
    if goal != better:
        raise ConfigError(
            f"metric.goal {goal}: of {name} a {'smaller' if metric == 'loss' else 'larger'} value "
            "is the better.",
            expected=f"goal: {better}",
            where=at.below("goal").where(),
        )
    target = spec.get("target")
    if target is not None and type(target) not in (int, float):
        require_kind(target, float, at.below("target"), "a number")
    return metric, goal, None if target is None else float(target)


def our_metric(name: str) -> str:
    """Return what a metric of a sweep file is called in our rows.

    >>> [our_metric(name) for name in ("val/mAP", "val/cmc_rank_1", "val_loss", "macro_f1")]
    ['map', 'rank_1', 'loss', 'macro_f1']
    """
    bare = _SPLIT.sub("", name.strip(), count=1).replace("-", "_")
    low = re.sub(r"^(cmc[/_.]?)?(rank|r)_?(?=\d+$)", "rank_", bare.lower())
    return _NAMES.get(low, low)


def _count(tree: Mapping[str, Any], place: Place, count: int | None) -> tuple[int, list[str]]:
    """How many trials the sweep has, and what to say about it."""
    cap = tree.get("run_cap")
    if cap is not None and (type(cap) is not int or cap < 1):
        raise ConfigError(
            "run_cap is no number of trials.",
            expected="an integer >= 1",
            got=repr(cap),
            where=place.below("run_cap").where(),
        )
    if cap is not None and count is not None and count > cap:
        return cap, [f"run_cap of the file ends the sweep after {cap} trials, before --count"]
    return count or cap or DEFAULT_COUNT, []


def _of_grid(size: int, n_trials: int) -> tuple[int, str]:
    """How many trials there are of a grid, and what to say about it."""
    more = f", and the first {n_trials} are trained; --count {size} trains all"
    return min(n_trials, size), f"the grid has {size} combinations{more * (n_trials < size)}"


def _notes(tree: Mapping[str, Any]) -> list[str]:
    notes = []
    program = tree.get("program", "")
    if program.endswith(".py"):
        notes.append(f"program {program} is not run: every trial is a training by sightline")
    if "command" in tree:
        parts = tree["command"] if isinstance(tree["command"], list) else [tree["command"]]
        own = [str(part) for part in parts if not _OF_COMMAND.fullmatch(str(part))]
        own = [part for part in own if part != program]
        lost = f"; of it these are not passed on: {' '.join(own)}" if own else ""
        notes.append(f"command is not used{lost}")
    return notes
