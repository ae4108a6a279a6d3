"""One run is one folder: its identity is made once and passed on, never derived again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sightline.errors import RunError
from sightline.runs.files import locked, refusal, write_atomically
from sightline.runs.plain import to_json
from sightline.runs.provenance import git_state, process_identity

RUN_FILE = "run.json"
STATUSES = ("created", "running", "finished", "stopped", "failed")
_FOLDERS = ("ckpt", "predictions", "figures")
_IDENTITY = {"id", "uuid", "status"}
_NAME = re.compile(r"\w[\w.+=@-]*")
_NAME_BYTES = 120


class RunFolder:
    """A run on disk: `path`, `id`, `info` (what run.json holds) and the places of its files."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info

    @classmethod
    def create(  # noqa: PLR0913 (the facts of run.json, each named at the call)
        cls,
        exp_dir: Path | str,
        *,
        name: str,
        task: str,
        command: Sequence[str],
        config_text: str,
        seeds: Mapping[str, Any],
        versions: Mapping[str, str] | None = None,
        parent: str | None = None,
        now: datetime | None = None,
    ) -> RunFolder:
        """Make `exp_dir/YYYYMMDD/<name>_<YYYYMMDD>_<HHMMSS>-<uid6>/` and return it.

        The folder appears complete, with config.yaml and run.json, or not at all. `now` without a
        zone is local time. The commit is that of the working directory. Raises RunError when the
        place cannot be written or the name cannot be part of a file name.
        """
        info = _first_info(_checked_name(name), now=now)
        info |= {"task": task, "command": list(command), "git": git_state()}
        info |= {"seeds": dict(seeds), "versions": dict(versions or {}), "parent": parent}
        day = datetime.fromisoformat(info["times"]["created"]).strftime("%Y%m%d")
        path = Path(exp_dir).absolute() / day / info["id"]
        _make_complete(path, info=info, config_text=config_text)
        return cls(path, info)

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Return the run that lies in this folder; links are followed once, now."""
        folder = Path(os.path.realpath(path))
        return cls(folder, read_info(folder))

    @property
    def id(self) -> str:
        """The name of the run, unique on every machine."""
        return str(self.info["id"])

    @property
    def created(self) -> datetime:
        """When the run was made, with its zone: the only date that names anything."""
        return datetime.fromisoformat(self.info["times"]["created"])

    @property
    def ckpt(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "ckpt"

    @property
    def predictions(self) -> Path:
        """The folder of predictions and metrics of each split."""
        return self.path / "predictions"

    @property
    def figures(self) -> Path:
        """The folder of figures and the data behind each."""
        return self.path / "figures"

    @property
    def metrics_file(self) -> Path:
        """The history: one line per epoch and per evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def config_file(self) -> Path:
        """The fully resolved configuration."""
        return self.path / "config.yaml"

    def update(self, **fields: Any) -> None:
        """Replace the named top-level fields of run.json.

        The other fields stay as they are on disk, also those that another process just wrote.
        """
        if refused := _IDENTITY & fields.keys():
            raise ValueError(f"{sorted(refused)} cannot be updated; see set_status for the status")
        self._change(fields)

    def set_status(
        self, status: str, *, error: str | None = None, stop_reason: str | None = None
    ) -> None:
        """Record what the run does now and when that began.

        "running" also records this process, so that its death can be seen; a second "running" is
        a resume: it is added to times.resumed and clears how the run ended before.
        """
        if status not in STATUSES:
            raise ValueError(f"unknown status {status!r}; the statuses are {', '.join(STATUSES)}")
        times = dict(self.info["times"])
        fields: dict[str, Any] = {"error": error, "stop_reason": stop_reason}
        if status == "running":
            if times.get("started") is None:
                times["started"] = _iso_now()
            else:
                times["resumed"] = [*times.get("resumed", ()), _iso_now()]
            times["ended"] = None
            fields["process"] = process_identity()
        elif status != "created":
            times["ended"] = _iso_now()
        self._change({"status": status, "times": times, **fields})

    def record_test_read(self, checkpoint: str, command: Sequence[str]) -> int:
        """Write down that the sealed test split was read, and return how often so far."""
        with locked(self.path):
            read = {"time": _iso_now(), "checkpoint": checkpoint, "command": list(command)}
            reads = [*read_info(self.path).get("test_reads", ()), read]
            self._write({"test_reads": reads})
        return len(reads)

    def _change(self, fields: Mapping[str, Any]) -> None:
        with locked(self.path):
            self._write(fields)

    def _write(self, fields: Mapping[str, Any]) -> None:
        info = read_info(self.path) | dict(fields)
        write_atomically(self.path / RUN_FILE, to_json(info, indent=2) + "\n")
        self.info = info


def read_info(folder: Path | str) -> dict[str, Any]:
    """Return what the folder's run.json holds; RunError when it is missing or damaged."""
    file = Path(folder) / RUN_FILE
    try:
        info = json.loads(file.read_bytes())
    except OSError as error:
        reason = f"no readable {RUN_FILE}: {error.strerror}"
    except ValueError as error:
        reason = f"a damaged {RUN_FILE}: {error}"
    else:
        if isinstance(info, dict) and _has_identity(info):
            return info
        reason = f"a {RUN_FILE} without id, status and times"
    raise RunError(
        f"{folder} is not a run that can be read",
        expected=f"a folder with the {RUN_FILE} that training wrote",
        got=reason,
        where=file,
        remedy="sightline list shows the runs there are",
    )


def _has_identity(info: Mapping[str, Any]) -> bool:
    kinds = {"id": str, "status": str, "times": dict}
    return all(isinstance(info.get(key), kind) for key, kind in kinds.items())


def _first_info(name: str, *, now: datetime | None) -> dict[str, Any]:
    import uuid

    moment = now or datetime.now()
    created = moment if moment.tzinfo else moment.astimezone()
    identity = uuid.uuid4()
    return {
        "id": f"{name}_{created:%Y%m%d_%H%M%S}-{identity.hex[:6]}",
        "uuid": str(identity),
        "task": None,
        "name": name,
        "status": "created",
        "command": [],
        "git": None,
        "versions": {},
        "device": {},
        "seeds": {},
        "parent": None,
        "times": {"created": created.isoformat(), "started": None, "ended": None},
        "process": process_identity(),
        "error": None,
        "stop_reason": None,
        "best": None,
        "data": {},
        "test_reads": [],
    }


def _make_complete(path: Path, *, info: Mapping[str, Any], config_text: str) -> None:
    staging = path.with_name(f".{path.name}.new")
    try:
        for folder in _FOLDERS:
            (staging / folder).mkdir(parents=True)
        write_atomically(staging / "config.yaml", config_text)
        write_atomically(staging / RUN_FILE, to_json(info, indent=2) + "\n")
        staging.rename(path)
    except BaseException as error:
        import shutil

        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError):
            raise refusal(error, path) from error
        raise


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name) and len(name.encode()) <= _NAME_BYTES:
        return name
    raise RunError(
        "The name of the run cannot be part of a file name",
        expected=f"letters, digits and . _ - + = @, at most {_NAME_BYTES} bytes",
        got=repr(name),
        where="project.name",
        remedy="set project.name=NAME",
    )


def _iso_now() -> str:
    return datetime.now().astimezone().isoformat()
