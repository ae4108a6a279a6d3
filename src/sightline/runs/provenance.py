"""Where a run comes from: the state of the code and the process that runs it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_GIT_SECONDS = 2.0


def git_state(folder: Path | str = ".") -> dict[str, Any] | None:
    """Return the commit and whether tracked files differ from it, or None outside a repository.

    `dirty` is None when git did not answer in time. Nothing is written, not even git's index.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit.strip(), "dirty": None if changes is None else bool(changes.strip())}


def process_identity() -> dict[str, Any]:
    """Return what tells this process from every other one, also after a restart of the machine."""
    pid = os.getpid()
    return {
        "pid": pid,
        "host": platform.node(),
        "boot": _boot(),
        "namespace": _pid_namespace(),
        "started": _start_of(pid),
    }


def displayed_status(info: Mapping[str, Any]) -> str:
    """Return the status to show: that of run.json, or "died" when its process is gone.

    Only a process of this machine can be seen to be gone; a run of another machine, or one of
    which too little was recorded, keeps the status it has.
    """
    status = str(info.get("status", "damaged"))
    process = info.get("process")
    if status in ("created", "running") and isinstance(process, Mapping) and _is_gone(process):
        return "died"
    return status


def _is_gone(process: Mapping[str, Any]) -> bool:
    pid, started = process.get("pid"), process.get("started")
    if process.get("host") != platform.node() or not isinstance(pid, int) or started is None:
        return False
    if os.name == "nt":  # there, no process can be asked about without harm
        return False
    if process.get("boot") != _boot():
        return True
    if process.get("namespace") != _pid_namespace():
        return False
    now = _start_of(pid)
    return now != started and not (now is None and _is_hidden(pid))


def _start_of(pid: int) -> str | None:
    """Return when the living process began, or None when there is none (or no way to know)."""
    if not Path("/proc/self/stat").exists():
        return None if os.name == "nt" else _output(["ps", "-o", "lstart=", "-p", str(pid)])
    try:
        # The name in parentheses may hold spaces: count after it. 3 is the state, 22 the start.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None


def _is_hidden(pid: int) -> bool:
    """Tell whether another user's process has the number, of which the system shows nothing."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _boot() -> str | None:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


def _pid_namespace() -> str | None:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return None


def _git(folder: Path | str, *arguments: str) -> str | None:
    return _output(["git", "--no-optional-locks", "-C", os.fspath(folder), *arguments])


def _output(command: list[str]) -> str | None:
    import subprocess

    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout if result.returncode == 0 else None
