"""Which run to go on with, and whether it may go on with this configuration."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.config import compare_configs, plain_tree
from sightline.errors import ConfigError, RunError
from sightline.experiment.stages import pending
from sightline.runs import RunFolder, displayed_status, find_run, list_runs, process_identity
from sightline.tasks.compress_config import CompressConfig
from sightline.tasks.config import TaskConfig
from sightline.trained import run_config
from sightline.training.settings import DEFAULT_EFFECTIVE_BATCH, PictureTrainConfig

UNCHANGEABLE = ("task", "project", "data", "model", "train.optimizer", "train.scheduler")
"""Settings and sections that a run is made of: its splits, its weights, its optimizer's state."""
CHANGEABLE = (
    *("data.augment", "data.workers", "data.cache", "data.cache_dir", "data.verify_files"),
    *("model.drop_rate", "model.drop_path_rate"),
)
"""What may change all the same inside those sections."""

OBSERVING = ("tracking",)
"""What may change without a word: who looks on changes nothing."""


@dataclass(frozen=True)
class Resume:
    """What to go on with, as the command line says it."""

    run: str
    """A run's id, its folder, or latest."""
    anyway: Sequence[str] = ()
    """Settings that may differ from the run's."""


def find_unfinished(reference: str, exp_dir: Path) -> RunFolder:
    """The run to resume: the one named, or for `latest` the newest that is not finished.

    Raises RunError where there is none, and for a run whose process is alive: two would write
    into one folder.
    """
    if reference != "latest":
        run = find_run(reference, [exp_dir])
        if _is_alive(run.info):
            raise RunError(
                f"The run {run.id} is still running.",
                got=f"process {run.info['process']['pid']} on {run.info['process']['host']}",
                where=run.path,
                remedy="wait for it, or stop it with Ctrl-C or SIGTERM first",
            )
        return run
    for info in list_runs(exp_dir):
        if info["status"] == "damaged" or _is_alive(info):
            continue
        run = RunFolder.open(info["path"])
        if info["status"] != "finished" or pending(run):
            return run
    raise RunError(
        "There is no unfinished run to resume.",
        where=exp_dir.absolute(),
        remedy="name one: --resume RUN (see `sightline list`)",
    )


def resumed_config(run: RunFolder, given: TaskConfig, *, anyway: Sequence[str] = ()) -> TaskConfig:
    """The configuration to go on with: the one given, where it may differ from the run's own.

    `train.batch_size=auto` is the number that the run found. Raises RunError, listing every
    difference that `anyway` does not name, and for a run that was not made by training.
    """
    if "kind" in run.info:
        raise RunError(
            f"{run.id} was made of other runs, so there is no training to go on with.",
            expected="a run that `sightline train` made",
            got=f"kind {run.info['kind']}",
            where=run.path,
            remedy="resume one of the runs it was made of; see `sightline list`",
        )
    saved = run_config(run)
    given = _with_found_size(_with_found_batch(given, saved), saved)
    _require_settings(anyway, given)
    differences = compare_configs(plain_tree(saved), plain_tree(given))
    refused = [
        (key, old, new)
        for key, old, new in differences
        if not any(_covers(name, key) for name in (*anyway, *OBSERVING))
    ]
    for key, old, new in () if refused else differences:
        if _is_fixed(key):
            raise RunError(
                f"{key} cannot change in a run that goes on: its state belongs to the old value.",
                expected=repr(old),
                got=repr(new),
                where=run.config_file,
                remedy="start a new run; model.weights=FILE begins it with this run's weights",
            )
    if refused:
        listed = "\n            ".join(f"{key}: {old!r} -> {new!r}" for key, old, new in refused)
        keys = " ".join(f"--resume-anyway {key}" for key, *_ in refused if not _is_fixed(key))
        raise RunError(
            "The run was started with another configuration, so resuming would mix two.",
            expected="the configuration saved in config.yaml",
            got=listed,
            where=run.config_file,
            remedy="leave the changes out, or start a new run"
            + (f", or mean them: {keys}" if keys else ""),
        )
    finished = run.info["status"] == "finished"
    if finished and given.train.epochs <= saved.train.epochs and not pending(run):
        raise RunError(
            "The run is finished, so there is nothing to resume.",
            where=run.path,
            remedy="start a new run, or train longer: "
            f"train.epochs={saved.train.epochs + 10} --resume-anyway train.epochs",
        )
    return given


def _with_found_batch(given: TaskConfig, saved: TaskConfig) -> TaskConfig:
    """The configuration with the saved numbers in the place of `auto`, if they make its batch."""
    auto, found = given.train, saved.train
    if not isinstance(auto, PictureTrainConfig) or not isinstance(found, PictureTrainConfig):
        return given
    if auto.batch_size != "auto" or found.batch_size == "auto":
        return given
    effective = auto.effective_batch_size or DEFAULT_EFFECTIVE_BATCH
    if found.batch_size * found.accumulate_steps != effective:
        return given
    keys = ("batch_size", "accumulate_steps", "effective_batch_size")
    numbers = {key: getattr(found, key) for key in keys}
    return given.model_copy(update={"train": auto.model_copy(update=numbers)})


def _with_found_size(given: TaskConfig, saved: TaskConfig) -> TaskConfig:
    """The configuration with the size of vectors that the run found, where it names none."""
    if not isinstance(given, CompressConfig) or not isinstance(saved, CompressConfig):
        return given
    if given.model.input_dim is not None:
        return given
    model = given.model.model_copy(update={"input_dim": saved.model.input_dim})
    return given.model_copy(update={"model": model})


def _require_settings(names: Sequence[str], config: TaskConfig) -> None:
    """Raise ConfigError unless each name is a setting, or a section of settings."""
    # What differs from nothing at all is every setting there is.
    settings = [key for key, *_ in compare_configs({}, plain_tree(config))]
    for name in names:
        if not any(_covers(name, key) for key in settings):
            near = difflib.get_close_matches(name, settings, n=1, cutoff=0.5)
            raise ConfigError(
                f"--resume-anyway {name}: there is no such setting.",
                expected="a dotted name such as train.epochs, without a value",
                remedy=f"did you mean {near[0]}?" if near else None,
            )


def _is_fixed(key: str) -> bool:
    """Whether a setting is one that a run is made of."""
    fixed = any(_covers(name, key) for name in UNCHANGEABLE)
    return fixed and not any(_covers(name, key) for name in CHANGEABLE)


def _covers(name: str, key: str) -> bool:
    """Whether a setting is the named one or inside the named section."""
    return key == name or key.startswith(f"{name}.")


def _is_alive(info: Mapping[str, Any]) -> bool:
    """Whether the run's process is certainly there; of another machine's nothing is certain."""
    process, here = info.get("process"), process_identity()
    return (
        displayed_status(info) in ("created", "running")
        and isinstance(process, Mapping)
        and all(process.get(key) == here[key] for key in ("host", "boot", "namespace"))
    )
