"""A search from its plan to its files: the study is made or continued, run, and written down."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.config import dump_config, plain_tree
from sightline.errors import DataError, Interrupted, TrainingError, UsageError
from sightline.experiment import find_samples
from sightline.runs import LogFile, log, write_atomically
from sightline.tasks import TASKS
from sightline.tasks.config import TaskConfig
from sightline.training.runtime import resolve_device
from sightline.training.signals import SignalWatch
from sightline.tuning import study as studies
from sightline.tuning.export import Exported, export
from sightline.tuning.settings import SearchConfig
from sightline.tuning.space import Load, search_flags
from sightline.tuning.storage import open_storage, shown, storage_url
from sightline.tuning.supervisor import Supervisor, places
from sightline.tuning.table import Trial, trials_of
from sightline.tuning.worker import Order

if TYPE_CHECKING:
    import optuna

_OF_NO_EFFECT = {
    "output": None,
    "tracking": None,
    "eval": None,
    "infer": None,
    "train": ("device", "log_interval"),
    "data": ("workers", "cache", "cache_dir", "verify_files"),
}
"""Settings that do not decide a trial's value: two commands on one study may differ in them."""
_OWN_TO_A_COMMAND = ("name", "storage", "n_trials", "timeout")


@dataclass(frozen=True)
class SearchOutcome:
    """A study with at least one finished trial, and where its files are."""

    folder: Path
    best_config_file: Path
    best_value: float
    trials: list[Trial]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """What differs between the commands that search."""

    command: str
    """The command's name, which is also that of the folder its studies lie in."""
    count: str
    """The option that says how many trials there are."""


TUNE = Kind("tune", "--n-trials")
SWEEP = Kind("sweep", "--count")


@dataclass(frozen=True)
class Plan:
    """A search ready to begin."""

    kind: Kind
    search: SearchConfig
    load: Load
    config: TaskConfig
    """The configuration all trials begin with."""
    definition: dict[str, Any]
    """What makes the study this one: its configuration and its space."""
    name: str
    folder: Path
    url: str
    workers: int
    command: list[str]


def plan_search(
    kind: Kind,
    search: SearchConfig,
    load: Load,
    *,
    workers: int,
    command: Sequence[str],
    prefix: str | None = None,
) -> Plan:
    """Settle where the study lies, what it is called, and what all its trials begin with.

    Where `search` names no study its name is `prefix` (None: project.name) and a fingerprint of
    all that decides a trial's value. Raises ConfigError for a configuration that cannot be loaded.
    """
    training = load({})
    assert isinstance(training, TaskConfig)
    shared = search_flags(search)
    if training.data.trains_every_fold:
        shared["data.valid_fold"] = 0
    config = load(shared)
    assert isinstance(config, TaskConfig)
    resolve_device(config.train.device)
    definition = _definition(training, search)
    fingerprint = hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:8]
    name = search.study.name or f"{prefix or training.project.name}-{fingerprint}"
    folder = training.output.exp_dir.parent / kind.command / name
    url = storage_url(search.study.storage, folder)
    told = search.study.storage
    hidden = [part if told is None else part.replace(told, shown(url)) for part in command]
    return Plan(kind, search, load, config, definition, name, folder, url, workers, hidden)


def run_search(plan: Plan, say: Callable[[str], object]) -> SearchOutcome:
    """Train the trials that the study still lacks, and write its table and best configuration.

    Raises RunError for a study of another configuration, TrainingError when no trial finished, and
    Interrupted on a signal; what is finished by then is kept.
    """
    database = open_storage(plan.url, create=True)
    created = studies.create_or_continue(
        plan.url, database, plan.name, plan.definition, plan.search.study.n_trials
    )
    study = studies.load(database, plan.name, plan.search, 0)
    logfile = LogFile(
        plan.config.output.logs_dir,
        run_id=plan.name,
        created=created,
        augmentation=plan.config.data.variant,
        kind="optimization",
    )
    with logfile:
        log("BOOT", f"study {plan.name} in {shown(plan.url)}")
        _announce(plan, study, say)
        with SignalWatch() as watch:
            _run(plan, study, watch, say)
            received = watch.received
        exported = export(study, plan.search, plan.load, plan.folder, storage=shown(plan.url))
        if received is not None:
            raise Interrupted(
                f"The search was stopped by {received.name}; every trial that had ended is kept.",
                exit_code=128 + received,
                remedy="the same command goes on with the study",
            )
        return _outcome(plan, exported, say)


def require_one_process(kind: Kind) -> None:
    """Raise UsageError in a process that torchrun started."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "A search starts its own processes and cannot be started by torchrun.",
            remedy=f"call sightline {kind.command} alone, with --workers N for several trials at "
            "a time",
        )


def _definition(config: TaskConfig, search: SearchConfig) -> dict[str, Any]:
    tree, file = plain_tree(config), plain_tree(search)
    for section, keys in _OF_NO_EFFECT.items():
        for key in keys or ():
            tree[section].pop(key, None)
        if keys is None:
            tree.pop(section, None)
    for key in _OWN_TO_A_COMMAND:
        file["study"].pop(key)
    return {"config": tree, "search": file}


def _run(plan: Plan, study: optuna.Study, watch: SignalWatch, say: Callable[[str], object]) -> None:
    """Train what waits; nothing when the study is complete."""
    studies.fail_lost_trials(study)
    n_trials, timeout = plan.search.study.n_trials, plan.search.study.timeout
    waiting = [one for one in trials_of(study)[:n_trials] if one.state == "waiting"]
    if not waiting:
        return
    _require_data(plan.config)
    base = plan.folder / "config.yaml"
    write_atomically(base, dump_config(plan.config))
    order = Order(
        url=plan.url,
        study=plan.name,
        folder=str(plan.folder),
        config=str(base),
        search=plain_tree(plan.search),
        n_trials=n_trials,
        until=None if timeout is None else time.time() + timeout,
        command=plan.command,
    )
    workers = places(min(plan.workers, len(waiting)), plan.config.train.device)
    Supervisor(order, study, say=say).run(workers, watch)


def _announce(plan: Plan, study: optuna.Study, say: Callable[[str], object]) -> None:
    trials = trials_of(study)
    ended = sum(trial.has_ended for trial in trials)
    going_on = f", {ended} of them done" if ended else ""
    say(f"study {plan.name}: {len(trials)} trials{going_on}; files in {plan.folder}")
    if plan.config.data.fold_count:
        fold, folds = plan.config.data.held_out_fold, plan.config.data.fold_count
        say(f"each trial trains one fold: {fold} of {folds} is held out; the test is not read")


def _require_data(config: TaskConfig) -> None:
    """Raise DataError now for what would make every trial fail."""
    dataset = find_samples(config)
    task = TASKS[config.task]
    task.check_data(dataset, task.resolve(dataset, config))
    if not len(dataset.part("val")):
        raise DataError(
            "There is no validation split, so trials cannot be compared.",
            where=f"data.val_fraction={config.data.val_fraction}",
            remedy="set data.val_fraction=0.2, or data.folds=5",
        )


def _outcome(plan: Plan, exported: Exported, say: Callable[[str], object]) -> SearchOutcome:
    summary, best = exported.summary, exported.best
    counts = [f"{summary[state]} {state}" for state in ("finished", "pruned", "failed")]
    counts += [f"{summary[state]} {state}" for state in ("running", "waiting") if state in summary]
    log("DONE", f"{summary['n_trials']} trials: {', '.join(counts)}")
    if best is None or exported.best_config is None or best.value is None:
        # The first two lines say what and why; the rest is advice for a training of its own.
        errors = [trial.error.splitlines()[:2] for trial in exported.trials if trial.error]
        last = "; ".join(line.strip() for line in errors[-1]) if errors else ""
        raise TrainingError(
            "No trial of the search finished, so there is no best configuration.",
            got=", ".join(counts) + (f"; the last error: {last}" if last else ""),
            where=plan.folder / "trials.csv",
            remedy=f"see logs/ there; with a higher {plan.kind.count} the study goes on",
        )
    if "waiting" in summary and plan.search.is_enough(best.value):
        say(f"the target is reached; {summary['waiting']} trials did not begin")
    elif "waiting" in summary:
        say(f"time is up; {summary['waiting']} trials wait: the same command goes on with them")
    say(f"best {plan.search.study.metric} {best.value:.4f} (trial {best.number})")
    say(f"train with its values: sightline train {exported.best_config}")
    return SearchOutcome(
        plan.folder, exported.best_config, best.value, exported.trials, dict(summary)
    )
