"""A sweep that W&B steers: it names the values, and each trial is trained in its own process."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.config import dump_config, read_yaml
from sightline.errors import MissingExtraError, RunError
from sightline.runs import write_atomically
from sightline.tracking.environment import add_env_file
from sightline.tracking.network import answers, has_wandb_key, wandb_server
from sightline.tuning.lifeline import answer_of, release, start, stop
from sightline.tuning.searching import Plan
from sightline.tuning.sweep_file import SweepFile

_POLL_SECONDS = 0.2
_LOCALLY = "without an account: the same command without --to wandb"
_OFFLINE = ("offline", "disabled", "dryrun")


@dataclass
class AgentOutcome:
    """What an agent of W&B did."""

    sweep: str
    """W&B's name of the sweep."""
    folder: Path
    finished: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)


def require_wandb(environment: Mapping[str, str]) -> None:
    """Raise the error that says what a sweep on W&B lacks: the package, a key, or the server."""
    if importlib.util.find_spec("wandb") is None:
        raise MissingExtraError("wandb", "wandb", "A sweep on W&B")
    what = "W&B cannot be asked for this sweep's trials."
    if environment.get("WANDB_MODE") in _OFFLINE:
        raise RunError(what, got=f"WANDB_MODE={environment['WANDB_MODE']}", remedy=_LOCALLY)
    server = wandb_server(environment)
    if not has_wandb_key(environment):
        raise RunError(
            what,
            expected="WANDB_API_KEY, or an entry in netrc as `wandb login` makes it",
            got=f"no key for {server}",
            remedy=_LOCALLY,
        )
    if not answers(server):
        raise RunError(what, expected="a server that answers", got=server, remedy=_LOCALLY)


def run_agent(plan: Plan, file: SweepFile, say: Callable[[str], object]) -> AgentOutcome:
    """Create the sweep on W&B and train as many of its trials as the plan has.

    W&B chooses the values and stops trials; each trial sends its rows itself, as the run that W&B
    gave it. Raises RunError where W&B cannot be asked.
    """
    add_env_file(os.environ, Path.cwd())
    require_wandb(os.environ)
    import wandb

    plan.folder.mkdir(parents=True, exist_ok=True)
    # W&B puts its own files there, and not into the folder one happens to be in.
    os.environ.setdefault("WANDB_DIR", str(plan.folder))
    base = plan.folder / "config.yaml"
    write_atomically(base, dump_config(plan.config))
    project = file.text("project") or plan.config.tracking.project or "sightline"
    entity = file.text("entity") or plan.config.tracking.entity
    name = wandb.sweep(definition(file), entity=entity, project=project)
    outcome = AgentOutcome(name, plan.folder)
    say(f"sweep {name} of project {project}; runs in {plan.folder}")
    shared = {"tracking.to": ["wandb"], "tracking.project": project, "tracking.entity": entity}

    def train() -> None:
        # An error is told and not raised: W&B's agent gives up after a few, and the trial's own run
        # has the status already.
        error = _trained(plan, base, {**shared, **values_of_trial(os.environ)})
        outcome.finished += error is None
        outcome.failed += error is not None
        if error is not None:
            outcome.errors.append(error)
            say(f"trial failed: {error.splitlines()[0]}")

    count = plan.search.study.n_trials
    wandb.agent(name, function=train, entity=entity, project=project, count=count)
    return outcome


def definition(file: SweepFile) -> dict[str, Any]:
    """Return the sweep as W&B takes it: dotted parameters, and the metric as our runs log it."""
    kept = ("method", "early_terminate", "run_cap", "name", "description")
    tree: dict[str, Any] = {key: file.tree[key] for key in kept if key in file.tree}
    study = file.search.study
    tree["metric"] = {"name": f"val/{study.metric}", "goal": study.direction}
    if file.search.study.target is not None:
        tree["metric"]["target"] = file.search.study.target
    tree["parameters"] = _flat(file.tree["parameters"])
    tree["program"] = "sightline"
    return tree


def values_of_trial(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that W&B's agent chose for the trial under way, with dotted keys.

    It leaves them in a file, so that no run has to be opened here only to read them.
    """
    file = environment["WANDB_SWEEP_PARAM_PATH"]
    tree = read_yaml(Path(file).read_text(encoding="utf-8"), file)[0]
    chosen = {key: one["value"] for key, one in tree.items() if isinstance(one, dict)}
    return dict(_leaves(chosen))


def _trained(plan: Plan, base: Path, flags: Mapping[str, Any]) -> str | None:
    """Train a trial in its own process; why it failed, or None.

    An exception that the agent throws in to end the trial stops the process.
    """
    name = f"trial-{os.environ.get('WANDB_RUN_ID', 'unnamed')}"
    order = {
        "config": str(base),
        "command": plan.command,
        "flags": {
            **flags,
            "project.name": name,
            "output.exp_dir": str(plan.folder / "runs"),
            "output.logs_dir": str(plan.folder / "logs"),
        },
    }
    log = plan.folder / "logs" / f"{name}.log"
    process = start("sightline.tuning.trial_process", order, log)
    try:
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
        answer = answer_of(process)
    finally:
        if process.poll() is None:
            stop(process, lambda: None)
        release(process)
    if process.returncode == 0 and "run" in answer:
        return None
    return str(answer.get("error", f"its process ended with code {process.returncode}, see {log}"))


def _flat(parameters: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, spec in parameters.items():
        if "parameters" in spec:
            found |= _flat(spec["parameters"], f"{above}{name}.")
        else:
            found[f"{above}{name}"] = spec
    return found


def _leaves(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        inner = _leaves(value, f"{above}{name}.") if isinstance(value, dict) else None
        found += [(f"{above}{name}", value)] if inner is None else inner
    return found
