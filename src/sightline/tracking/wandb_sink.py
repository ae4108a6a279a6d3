"""Weights & Biases: online with a key and a server that answers, else a folder to upload later."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.errors import MissingExtraError
from sightline.tracking.network import answers, has_wandb_key, wandb_server
from sightline.tracking.sink import Begun, Ending, Tracked

INIT_SECONDS = 20.0
"""Without a limit a key and no network would hold the start for a hundred seconds."""
FINISH_SECONDS = 600.0
"""How long an upload may take when nobody's training waits for it."""
_EXIT_CODES: Mapping[Ending, int] = {"finished": 0, "stopped": 130, "failed": 1, "crashed": 137}


class WandbSink:
    """One run of W&B. The optimizer step is the axis of every curve."""

    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked
        self._wandb: Any = None
        self._run: Any = None
        self._axes: set[str] = set()

    def begin(self, known: Begun | None, attempt: int) -> Begun | None:
        """Open the run, resuming the one that is known; offline always from the beginning."""
        mode, reason = choose_mode(self._tracked.settings.mode, os.environ)
        if mode == "disabled":
            self._tracked.say(f"nothing is sent: {reason}")
            return None
        # What is not asked for is not sent; must be set before the package is loaded.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            self._wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise MissingExtraError("wandb", "wandb", "Tracking with W&B") from error
        mode, reason = self._open(mode, reason, _own_id(self._tracked, attempt))
        begun = self._begun(mode, known)
        if mode == "offline":
            place = self._run.settings.sync_dir
            self._tracked.say(f"offline, {reason}; `wandb sync {place}` will upload it")
        else:
            self._tracked.say(f"online at {self._run.url or begun.where}")
        return begun

    def log(self, values: Mapping[str, float], step: int, *, axis: str, time: float) -> None:
        """Add a point to curves, over a step axis of our own: W&B's must not go backwards."""
        if axis not in self._axes:
            self._axes.add(axis)
            self._run.define_metric(f"{axis}*", step_metric=f"{axis}step")
        self._run.log({**values, f"{axis}step": step, "_timestamp": time})

    def summarize(self, values: Mapping[str, float]) -> None:
        """Set values of the summary."""
        self._run.summary.update(dict(values))

    def pictures(self, name: str, shown: Sequence[tuple[Path, str]], step: int) -> None:
        """Add a list of images under one name."""
        images = [self._wandb.Image(str(file), caption=caption) for file, caption in shown]
        self._run.log({name: images, "step": step})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Set a table."""
        table = self._wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self._run.log({name: table})

    def curve(self, name: str, values: Sequence[float]) -> None:
        """Set a line chart over the rank."""
        points = [[rank, value] for rank, value in enumerate(values, 1)]
        table = self._wandb.Table(columns=["rank", "value"], data=points)
        self._run.log({name: self._wandb.plot.line(table, "rank", "value", title=name)})

    def artifact(self, file: Path, facts: Mapping[str, str]) -> None:
        """Add the model as an artifact; the file is read where it lies, and not copied."""
        model = self._wandb.Artifact(f"model-{self._run.id}", type="model", metadata=dict(facts))
        model.add_file(str(file), name=file.name, policy="immutable", skip_cache=True)
        self._run.log_artifact(model)

    def flush(self) -> None:
        """Nothing is to be done: what was logged is in the hands of W&B's own process."""

    def finish(self, ending: Ending) -> None:
        """Close the run; W&B calls it finished or failed by the exit code."""
        self._run.summary["status"] = ending
        self._run.finish(exit_code=_EXIT_CODES[ending])

    def _open(self, mode: str, reason: str, identity: str) -> tuple[str, str]:
        """Open the run, offline where the server does not let it; the mode it is in, and why."""
        if mode == "online":
            try:
                self._run = self._init(mode, identity)
                return mode, reason
            except (self._wandb.Error, OSError, ValueError) as error:
                reason = f"the server did not open the run ({_first_line(error)})"
                self._wandb.teardown()  # else the run that failed would stand in the way
                # A key that is not even one would be refused offline, too.
                os.environ.pop("WANDB_API_KEY", None)
        self._run = self._init("offline", identity)
        return "offline", reason

    def _init(self, mode: str, identity: str) -> Any:
        tracked, settings = self._tracked, self._tracked.settings
        folder = os.environ.get("WANDB_DIR") or str(tracked.folder)
        Path(folder).mkdir(parents=True, exist_ok=True)
        run = self._wandb.init(
            project=settings.project or os.environ.get("WANDB_PROJECT") or "sightline",
            entity=settings.entity,
            name=settings.name or os.environ.get("WANDB_NAME") or tracked.run.id,
            tags=list(settings.tags) or None,
            id=identity,
            dir=folder,
            mode=mode,
            resume="allow",
            config={**tracked.config, "run": tracked.facts()},
            settings=self._wandb.Settings(**_own_settings(tracked)),
        )
        run.define_metric("*", step_metric="step")
        self._axes.add("")
        return run

    def _begun(self, mode: str, known: Begun | None) -> Begun:
        run = self._run
        if mode == "offline":
            # A folder holds the whole run, so that uploading the newest one is enough.
            return Begun(run.id, f"offline {run.settings.sync_dir}", is_new=True)
        where = f"{wandb_server(os.environ)}/{run.entity}/{run.project}"
        is_new = known is None or (known.id, known.where) != (run.id, where) or not run.resumed
        return Begun(run.id, where, is_new, None if is_new else _steps_in(run.summary))


def choose_mode(asked: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The mode of W&B, `online`, `offline` or `disabled`, and the reason in words.

    WANDB_MODE wins over the configuration. Online needs a key and a server that answers, whoever
    asks for it: without, W&B would ask at the terminal, or wait.
    """
    said = environment.get("WANDB_MODE", "").lower()
    mode = {"dryrun": "offline", "run": "online"}.get(said, said) or asked
    if mode in ("offline", "disabled"):
        return mode, f"WANDB_MODE={said}" if said else f"tracking.mode={asked}"
    if not has_wandb_key(environment):
        return "offline", "without WANDB_API_KEY or a netrc entry"
    server = wandb_server(environment)
    if not answers(server):
        return "offline", f"{server} does not answer"
    return "online", ""


def _own_id(tracked: Tracked, attempt: int) -> str:
    """The run's id at W&B: made from our own, so that it is found again without any file."""
    asked = os.environ.get("WANDB_RUN_ID")
    own = str(tracked.run.info.get("uuid") or tracked.run.id).replace("-", "")
    return asked or (own if attempt == 1 else f"{own}-{attempt}")


def _own_settings(tracked: Tracked) -> dict[str, Any]:
    """What differs from W&B's defaults, where no variable says otherwise."""
    live = tracked.trainer is not None
    own: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "disable_git": True,  # a remote's address may hold a token; run.json has the commit
        "init_timeout": INIT_SECONDS,
        "finish_timeout": 0.8 * tracked.settings.finish_timeout if live else FINISH_SECONDS,
        "finish_timeout_raises": True,
        "x_disable_stats": not live,
    }
    if live:
        # What this process uses is of no interest, what the training uses is.
        own["x_stats_pid"] = tracked.trainer
    return {key: value for key, value in own.items() if f"WANDB_{key.upper()}" not in os.environ}


def _steps_in(summary: Any) -> dict[str, int]:
    """The last step on each axis that has arrived."""
    keys = [key for key in summary.keys() if key == "step" or key.endswith("/step")]  # noqa: SIM118 (no mapping)
    return {key.removesuffix("step"): int(summary[key]) for key in keys}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
