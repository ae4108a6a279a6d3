"""`sightline sweep` from end to end: a sweep file of W&B, run on this machine or steered by W&B."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.config import recipe_names
from sightline.errors import TrainingError, UsageError
from sightline.tasks.config import TaskConfig
from sightline.trained import TASK_CONFIGS
from sightline.tuning.searching import (
    SWEEP,
    Plan,
    SearchOutcome,
    plan_search,
    require_one_process,
    run_search,
)
from sightline.tuning.space import Load, loader, require_loadable, require_searchable
from sightline.tuning.sweep_file import SweepFile, read_sweep_file
from sightline.tuning.sweep_source import read_source_file
from sightline.tuning.wandb_agent import AgentOutcome, run_agent


@dataclass(frozen=True)
class SweepOptions:
    """What a command says of a sweep beside its file and its training; None: as the file says."""

    command: Sequence[str]
    count: int | None = None
    workers: int = 1
    storage: str | None = None
    timeout: float | None = None


def run_sweep(
    sweep_config: str,
    source: str | None,
    overrides: Sequence[str],
    options: SweepOptions,
    *,
    say: Callable[[str], object] = print,
) -> SearchOutcome:
    """Train the trials that the sweep still lacks, and write its table and best configuration.

    `source` is a recipe or configuration file; None: what `program` of the sweep file names.
    Called again with the same file it goes on. Raises ConfigError, before anything starts, for a
    file that is no sweep of this training, and all that a search raises.
    """
    _, plan = _planned(sweep_config, source, overrides, options, say)
    return run_search(plan, say)


def sweep_on_wandb(
    sweep_config: str,
    source: str | None,
    overrides: Sequence[str],
    options: SweepOptions,
    *,
    say: Callable[[str], object] = print,
) -> AgentOutcome:
    """Create the sweep on W&B and train trials with the values that W&B chooses.

    Each trial is a process of its own and sends its rows to W&B as the sweep's run. Raises
    ConfigError as `run_sweep` does, RunError without a key or a server that answers, and
    TrainingError when no trial finished.
    """
    file, plan = _planned(sweep_config, source, overrides, options, say)
    outcome = run_agent(plan, file, say)
    if not outcome.finished:
        raise TrainingError(
            "No trial of the sweep finished.",
            got=outcome.errors[-1].splitlines()[0] if outcome.errors else "no trial",
            where=plan.folder / "logs",
        )
    return outcome


def _planned(
    sweep_config: str,
    source: str | None,
    overrides: Sequence[str],
    options: SweepOptions,
    say: Callable[[str], object],
) -> tuple[SweepFile, Plan]:
    require_one_process(SWEEP)
    load = loader(source or _program(sweep_config), overrides, TASK_CONFIGS)

    def monitor(constants: Mapping[str, Any]) -> str | None:
        require_loadable(load, constants, f"{sweep_config}: parameters")
        config = load(constants)
        assert isinstance(config, TaskConfig)
        return config.train.monitor

    file = read_sweep_file(sweep_config, count=options.count, monitor=monitor)
    require_loadable(load, file.constants, f"{sweep_config}: parameters")
    given = {"storage": options.storage, "timeout": options.timeout}
    study = file.search.study.model_copy(update=given)
    search = file.search.model_copy(update={"study": study})
    with_constants = _with(load, file.constants)
    require_searchable(search, with_constants, sweep_config)
    for note in file.notes:
        say(f"note: {note}")
    plan = plan_search(
        SWEEP,
        search,
        with_constants,
        workers=options.workers,
        command=options.command,
        prefix=_slug(file.text("name")),
    )
    return file, plan


def _with(load: Load, constants: Mapping[str, Any]) -> Load:
    return lambda flags: load({**constants, **flags})


def _program(sweep_config: str) -> str:
    """The training that the sweep file names; UsageError where it names none of ours."""
    program = read_source_file(sweep_config)[0].get("program")
    if isinstance(program, str):
        if program in recipe_names():
            return program
        if program.endswith((".yaml", ".yml")):
            return str(Path(sweep_config).parent / program)
    raise UsageError(
        "Nothing says what the trials train.",
        expected="a recipe or a configuration file as SOURCE, or as `program` of the sweep file",
        got="no SOURCE" + (f", and program: {program}" if program else ""),
        where=sweep_config,
        remedy=f"sightline sweep --sweep-config {sweep_config} reid/baseline data.root=photos",
    )


def _slug(name: str | None) -> str | None:
    """The sweep's name as the beginning of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name or "").strip("._-")[:80] or None
