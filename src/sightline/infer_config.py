"""`sightline infer-config`: point inference files at another run, and change nothing else."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from sightline.config import read_yaml
from sightline.config.layers import read_source
from sightline.errors import CheckpointError, ConfigError, RunError
from sightline.runs import RunFolder, find_run, list_runs, read_latest, write_atomically
from sightline.trained import best_checkpoints
from sightline.trained.members import ENSEMBLE_FILE


@dataclass(frozen=True)
class Change:
    """A file to be pointed at another run."""

    file: Path
    old: str
    new: str
    content: bytes


def choose_run(
    exp_dir: Path, *, which: str | None = None, newest: bool = False, say: Callable[[str], object]
) -> RunFolder:
    """The run that latest-train leads to, the newest with a checkpoint, or that of a day or name.

    Of several finished runs of a day it is the newest one. Raises RunError where there is none.
    """
    if which is not None and not re.fullmatch(r"\d{8}", which):
        return find_run(which, [exp_dir])
    if which is None and not newest:
        path = read_latest(exp_dir)
        if path is None:
            raise _none("latest-train leads to no finished run.", exp_dir)
        return RunFolder.open(path)
    runs = [info for info in list_runs(exp_dir) if info["status"] != "damaged"]
    found = [info for info in runs if which is None or Path(info["path"]).parent.name == which]
    usable = [
        run
        for info in found
        if which is None or info["status"] == "finished"
        if _has_checkpoint(run := RunFolder.open(info["path"]))
    ]
    if not usable:
        days = sorted({Path(info["path"]).parent.name for info in runs}, reverse=True)
        what = f"No run of {which} is finished and has a checkpoint." if which else None
        raise _none(what or "No run has a checkpoint to use.", exp_dir, days=days)
    if which is not None and len(usable) > 1:
        say(f"{len(usable)} finished runs of {which}; the newest is {usable[0].id}")
    return usable[0]


def plan_changes(files: Sequence[Path], run: RunFolder) -> list[Change]:
    """What each file would become; ConfigError for one that is no inference file."""
    # A file that is named twice would get a backup of the changed one.
    distinct: dict[Path, Path] = {}
    for file in files:
        distinct.setdefault(file.resolve(), file)
    return [_planned(file, run) for file in distinct.values()]


def apply_change(change: Change) -> Path | None:
    """Write a file anew with a backup beside it, and return the backup; None if nothing changes."""
    if change.old == change.new:
        return None
    backup = _backup(change.file)
    mode = change.file.stat().st_mode
    # Through a link, so that the link stays one.
    target = change.file.resolve()
    write_atomically(target, change.content)
    target.chmod(mode)
    return backup


def _planned(file: Path, run: RunFolder) -> Change:
    if read_source(str(file)).tree.get("task") != "infer":
        raise ConfigError(
            f"{file} is not an inference configuration.",
            expected="task: infer",
            where=file,
            remedy="begin with: sightline config classify/infer > infer.yaml",
        )
    content = file.read_bytes()
    text = content.decode("utf-8")
    node = _run_node(text)
    if node is None:
        raise ConfigError(
            f"{file} has no `run:` that could be changed.",
            where=file,
            remedy="add the line `run: latest`",
        )
    start, end = node.start_mark.index, node.end_mark.index
    # PyYAML counts from behind a byte order mark.
    shift = 1 if text.startswith("\ufeff") else 0
    new = _reference(run.path, file.resolve().parent)
    gap = "" if start > 0 and text[start + shift - 1].isspace() else " "
    changed = text[: start + shift] + gap + _as_yaml(new) + text[end + shift :]
    before = read_yaml(text.removeprefix("\ufeff"), str(file))[0]
    on_one_line = node.start_mark.line == node.end_mark.line
    if not on_one_line or _tree(changed) != {**before, "run": new}:
        raise ConfigError(
            f"The `run:` of {file} is written in a way that cannot be changed safely.",
            expected="`run: NAME` on one line",
            where=f"{file}:{node.start_mark.line + 1}",
            remedy=f"change it by hand to: run: {_as_yaml(new)}",
        )
    return Change(file, str(before["run"]), new, changed.encode("utf-8"))


def _run_node(text: str) -> yaml.Node | None:
    """Where the value of the key `run` stands."""
    root = yaml.compose(text.removeprefix("\ufeff"), Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == "run"), None)


def _tree(text: str) -> dict[str, Any] | None:
    """What the changed text says; None if it is no YAML any more."""
    with suppress(ConfigError):
        return read_yaml(text.removeprefix("\ufeff"), "the changed file")[0]
    return None


def _as_yaml(text: str) -> str:
    if re.fullmatch(r"[A-Za-z_./][\w./+@=-]*", text, re.ASCII):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${ENV:", "$${ENV:")
    return f'"{escaped}"'


def _reference(run: Path, folder: Path) -> str:
    """The run's folder as the file names it: relative, unless they have only the root in common."""
    with suppress(ValueError):  # Windows: another drive
        if len(Path(os.path.commonpath([run, folder])).parts) > 1:
            text = PurePath(os.path.relpath(run, folder)).as_posix()
            return text if "/" in text else f"./{text}"
    return run.as_posix()


def _has_checkpoint(run: RunFolder) -> bool:
    if (run.path / ENSEMBLE_FILE).is_file():
        return True
    try:
        return bool(best_checkpoints(run))
    except (CheckpointError, ConfigError):
        return False


def _backup(file: Path) -> Path:
    """A copy beside the file, FILE.bak or FILE.bak2 and so on, whichever is free."""
    number = 1
    while True:
        target = file.with_name(f"{file.name}.bak{number if number > 1 else ''}")
        with suppress(FileExistsError):
            target.touch(exist_ok=False)
            shutil.copy2(file, target)
            return target
        number += 1


def _none(what: str, exp_dir: Path, *, days: Sequence[str] = ()) -> RunError:
    return RunError(
        what,
        got=f"runs of {', '.join(days[:5])}" if days else "no runs",
        where=exp_dir.absolute(),
        remedy="sightline list shows the runs; --exp-dir FOLDER looks elsewhere. No file was "
        "changed",
    )
