"""Finding runs: by path, by id, by the beginning of an id, or the latest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sightline.errors import RunError
from sightline.runs.folder import RUN_FILE, RunFolder, read_info
from sightline.runs.latest import read_latest, when_ended

_DAY = re.compile(r"\d{8}")
_ID = re.compile(r".+_(\d{8}_\d{6})-[0-9a-f]{6}")
_SHOWN = 10


def find_run(reference: str, exp_dirs: Iterable[Path | str]) -> RunFolder:
    """Return the one run that the reference means.

    It is `latest` (the finished run that ended last), a path of the folder or of anything in it,
    a run id, or a beginning of the id or of the uuid that only one run has. Raises RunError when
    there is none, naming where it looked and what is near, or when several match, naming them.
    """
    roots = list(dict.fromkeys(Path(root).resolve() for root in exp_dirs))
    if reference == "latest":
        return _latest(roots)
    if (folder := _folder_above(reference)) is not None:
        return RunFolder.open(folder)
    runs = [run for root in roots for run in list_runs(root)]
    exact = [run for run in runs if run["id"] == reference or run.get("uuid") == reference]
    matches = exact or [run for run in runs if reference and _begins(run, reference)]
    if not matches:
        raise _none_found(reference, roots, runs)
    if len(matches) > 1:
        raise _ambiguous(reference, matches)
    return RunFolder.open(matches[0]["path"])


def list_runs(exp_dir: Path | str) -> list[dict[str, Any]]:
    """Return what run.json of every run in the dated folders holds, with "path", newest first.

    Nothing else of a run is read. A run whose run.json is missing or damaged has the status
    "damaged", its folder's name as id, and the reason under "error". No folder means no runs.
    """
    runs = [_read(path) for path in _run_folders(exp_dir)]
    return sorted(runs, key=_when_created, reverse=True)


def _run_folders(exp_dir: Path | str) -> Iterator[str]:
    for day in _folders_in(exp_dir):
        if not _DAY.fullmatch(day.name):
            continue
        for run in _folders_in(day.path):
            if run.name.startswith("."):
                continue
            if _ID.fullmatch(run.name) or Path(run.path, RUN_FILE).is_file():
                yield run.path


def _folders_in(path: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError("A folder of runs cannot be read", got=error.strerror, where=path) from error


def _read(path: str) -> dict[str, Any]:
    try:
        return {**read_info(path), "path": path}
    except RunError as error:
        return {"id": Path(path).name, "status": "damaged", "path": path, "error": str(error.got)}


def _when_created(run: dict[str, Any]) -> tuple[float, str]:
    named = _ID.fullmatch(run["id"])
    with suppress(KeyError, TypeError, ValueError):
        return datetime.fromisoformat(run["times"]["created"]).timestamp(), run["id"]
    with suppress(ValueError):
        if named:
            return datetime.strptime(named[1], "%Y%m%d_%H%M%S").timestamp(), run["id"]
    return 0.0, run["id"]


def _latest(roots: list[Path]) -> RunFolder:
    published = [RunFolder.open(path) for root in roots if (path := read_latest(root)) is not None]
    if published:
        return max(published, key=lambda run: when_ended(run.info))
    runs = [run for root in roots for run in list_runs(root)]
    finished = [run for run in runs if run["status"] == "finished"]
    if finished:
        return RunFolder.open(max(finished, key=when_ended)["path"])
    raise _none_found("latest", roots, runs, expected="a finished run")


def _folder_above(reference: str) -> Path | None:
    if not os.path.exists(reference):  # Path.exists raises on a name too long
        return None
    path = Path(os.path.realpath(reference))
    return next((folder for folder in (path, *path.parents) if (folder / RUN_FILE).is_file()), None)


def _begins(run: dict[str, Any], reference: str) -> bool:
    name, identity = run["id"], str(run.get("uuid", ""))
    return any(text.startswith(reference) for text in (name, identity, identity.replace("-", "")))


def _none_found(
    reference: str, roots: list[Path], runs: list[dict[str, Any]], *, expected: str | None = None
) -> RunError:
    import difflib

    names = [run["id"] for run in runs]
    near = difflib.get_close_matches(reference, names, n=3, cutoff=0.5)
    shown, label = (near, "the nearest are") if near else (names[:3], "the newest are")
    looked = ", ".join(str(root) for root in roots) or "no folder"
    if os.sep in reference:
        looked += f", and the path {reference}"
    return RunError(
        f"There is no run {reference!r}",
        expected=expected or "a path, a run id or a beginning of it that one run has, or latest",
        got=f"{len(runs)} runs; {label} {', '.join(shown)}" if shown else "no runs at all",
        where=looked,
        remedy="sightline list shows the runs; --exp-dir FOLDER looks elsewhere (train: "
        "output.exp_dir=FOLDER)",
    )


def _ambiguous(reference: str, matches: list[dict[str, Any]]) -> RunError:
    names = [run["id"] if len({m["id"] for m in matches}) > 1 else run["path"] for run in matches]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return RunError(
        f"{reference!r} is the beginning of {len(matches)} runs",
        expected="a beginning that one run has",
        got=", ".join(names[:_SHOWN]) + more,
        where=", ".join(sorted({str(Path(run["path"]).parent) for run in matches})),
        remedy="type more of the id, or the path",
    )
