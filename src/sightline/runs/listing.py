"""Putting runs in order, and choosing several of them; only run.json of each is read."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from math import inf, isfinite
from pathlib import Path
from typing import Any

from sightline.errors import RunError
from sightline.runs.folder import RUN_FILE
from sightline.runs.lookup import find_run, list_runs
from sightline.runs.provenance import displayed_status

Info = dict[str, Any]
_WILD = frozenset("*?[")


def sorted_runs(runs: Iterable[Info], key: str = "created") -> list[Info]:
    """Return the runs, which come newest first, in the order of a key of SORT_KEYS.

    `created` the newest first; `name`, `task` and `status` by the alphabet; `best` the best first
    within each metric, for values of different metrics cannot be compared; `duration` the longest
    first. Runs without the value come last, and equal ones stay newest first.

    >>> [run["name"] for run in sorted_runs([{"name": "b"}, {"name": "a"}], "name")]
    ['a', 'b']
    """
    return list(runs) if key == "created" else sorted(runs, key=_ORDERS[key])


def best_of(info: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the metric that chose the run's checkpoint and its value; None without a number."""
    best = info.get("best")
    if not isinstance(best, Mapping):
        return None
    value = best.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return str(best.get("metric") or "value"), float(value)


def lower_is_better(metric: str) -> bool:
    """Tell whether a lower value of a monitored metric is the better one: it is a loss.

    >>> lower_is_better("valid_loss"), lower_is_better("val/loss"), lower_is_better("macro_f1")
    (True, True, False)
    """
    return metric.rpartition("/")[2].split("_")[-1] == "loss"


def run_seconds(info: Mapping[str, Any]) -> float | None:
    """Return the seconds from the start of a run to its end; None while it has not ended."""
    times = info.get("times")
    with suppress(TypeError, ValueError, KeyError):
        started, ended = (datetime.fromisoformat(times[key]) for key in ("started", "ended"))  # type: ignore[index]
        return max(0.0, (ended - started).total_seconds())
    return None


def choose_runs(
    references: Sequence[str], exp_dir: Path, *, task: str | None = None, most: int | None = None
) -> list[Info]:
    """Return what run.json of each chosen run holds, with "path": each run once.

    A reference is what find_run takes, or a pattern with * ? [ ] over ids and names. Without one
    all runs are chosen, the newest first. `task` keeps only its runs, and `most` of them at most.
    RunError where a reference means no run, or the folder of runs has none of the task.
    """
    known = list_runs(exp_dir)
    chosen: dict[str, Info] = {}
    for reference in references:
        for run in _meant(reference, exp_dir, known):
            chosen.setdefault(os.path.realpath(run["path"]), run)
    runs = list(chosen.values()) if references else known
    if task is not None:
        runs = [run for run in runs if run.get("task") == task]
    if not runs:
        raise _nothing_chosen(exp_dir, known, task=task)
    return runs[:most]


def _meant(reference: str, exp_dir: Path, known: list[Info]) -> list[Info]:
    exact = [run for run in known if reference in (run["id"], run.get("uuid"))]
    if len(exact) == 1:
        return exact
    if not _WILD & set(reference) or os.path.exists(reference):
        run = find_run(reference, [exp_dir])
        return [{**run.info, "path": str(run.path)}]
    runs = [run for run in known if _fits(run, reference)]
    if runs:
        return runs
    raise RunError(
        f"No run fits the pattern {reference!r}",
        expected="a pattern that fits an id or a name, quoted so that the shell leaves it alone",
        got=f"{len(known)} runs, such as {known[0]['id']}" if known else "no runs at all",
        where=exp_dir.absolute(),
        remedy="sightline list shows the runs",
    )


def _fits(run: Info, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(str(run.get(key) or ""), pattern) for key in ("id", "name"))


def _nothing_chosen(exp_dir: Path, known: list[Info], *, task: str | None) -> RunError:
    tasks = sorted({str(run["task"]) for run in known if run.get("task")})
    return RunError(
        f"There is no run of the task {task}" if task else "There is no run",
        expected=f"a folder with {RUN_FILE} in a dated folder",
        got=f"{len(known)} runs of {', '.join(tasks) or 'no task'}" if known else "no runs at all",
        where=exp_dir.absolute(),
        remedy="sightline list shows the runs; --exp-dir FOLDER looks elsewhere",
    )


def _by_text(key: str) -> Callable[[Info], tuple[bool, str]]:
    return lambda run: (not run.get(key), str(run.get(key) or ""))


def _by_status(run: Info) -> str:
    return displayed_status(run)


def _by_best(run: Info) -> tuple[bool, str, float]:
    best = best_of(run)
    if best is None:
        return True, "", 0.0
    return False, best[0], best[1] if lower_is_better(best[0]) else -best[1]


def _by_duration(run: Info) -> float:
    seconds = run_seconds(run)
    return inf if seconds is None else -seconds


_ORDERS: Mapping[str, Callable[[Info], Any]] = {
    "name": _by_text("name"),
    "task": _by_text("task"),
    "status": _by_status,
    "best": _by_best,
    "duration": _by_duration,
}
SORT_KEYS = ("created", *_ORDERS)
"""What runs can be put in order by."""
