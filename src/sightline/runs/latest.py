"""The name `latest-train` beside the dated folders: it always leads to one finished run."""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sightline.errors import RunError, SightlineError
from sightline.runs.files import beside, locked, refusal, write_atomically
from sightline.runs.folder import RunFolder, read_info
from sightline.runs.plain import to_json

LATEST = "latest-train"
# Only a copy has it: it names the run that was copied and says that we may replace the copy.
_MARKER = ".copy-of.json"
# EINVAL is what a Windows without the right to make links answers.
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_LEFTOVER_SECONDS = 86_400.0


def publish_latest(run: RunFolder, exp_dir: Path | str) -> Path:
    """Make `exp_dir/latest-train` lead to the run and return that path.

    It is a relative link, swapped in one step, or a copy where links are impossible. A run that
    ended later than this one and is already published stays. Raises RunError when the run is not
    finished, or when a file or folder of somebody else has the name.
    """
    if run.info["status"] != "finished":
        raise RunError(
            "Only a finished run can become the latest",
            expected="status finished",
            got=f"status {run.info['status']}",
            where=run.path,
        )
    root = Path(exp_dir).resolve()
    with locked(root):
        link = root / LATEST
        _refuse_foreign(link)
        published = read_latest(root)
        if published is None or not _ended_later(published, run):
            try:
                _replace(link, run)
            except OSError as error:
                raise refusal(error, link) from error
        _remove_leftovers(root)
    return Path(exp_dir) / LATEST


def read_latest(exp_dir: Path | str) -> Path | None:
    """Return the folder of the published run, or None when nothing valid is published."""
    link = Path(exp_dir) / LATEST
    target = Path(os.path.realpath(link))
    with suppress(OSError, ValueError, KeyError, TypeError):
        original = link.parent / json.loads((link / _MARKER).read_bytes())["run"]
        target = original if original.is_dir() else target
    try:
        return target if read_info(target)["status"] == "finished" else None
    except SightlineError:
        return None


def when_ended(info: dict[str, Any]) -> float:
    """Return the second a run ended, or else was made, for putting runs in order."""
    times = info.get("times")
    for key in ("ended", "created"):
        with suppress(TypeError, ValueError, AttributeError, KeyError):
            return datetime.fromisoformat(times[key]).timestamp()  # type: ignore[index]
    return 0.0


def _ended_later(published: Path, run: RunFolder) -> bool:
    return when_ended(read_info(published)) > when_ended(run.info)


def _replace(link: Path, run: RunFolder) -> None:
    temporary = link.with_name(beside(LATEST))
    relative = os.path.relpath(run.path.resolve(), link.parent)
    try:
        temporary.symlink_to(relative, target_is_directory=True)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LINKS:
            raise
        _copy(run.path, temporary, relative=relative)
    try:
        _swap(temporary, link)
    except BaseException:
        _remove(temporary)
        raise


def _copy(source: Path, destination: Path, *, relative: str) -> None:
    import shutil

    try:
        shutil.copytree(source, destination)
        write_atomically(destination / _MARKER, to_json({"run": relative}) + "\n")
    except shutil.Error as error:  # it lists (from, to, reason) of each file
        _remove(destination)
        raise OSError(errno.EIO, f"copy failed: {error.args[0][0][2]}") from error
    except BaseException:
        _remove(destination)
        raise


def _swap(new: Path, name: Path) -> None:
    """Give the new thing the name; what had it is removed only when the new one is in place."""
    # Only a link can replace in one step: a folder cannot be renamed over anything.
    if not os.path.lexists(name) or not (_is_real_folder(new) or _is_real_folder(name)):
        new.replace(name)
        return
    aside = name.with_name(beside(LATEST))
    name.rename(aside)
    try:
        new.rename(name)
    except BaseException:
        aside.rename(name)
        raise
    _remove(aside)


def _refuse_foreign(link: Path) -> None:
    if link.is_symlink() or not os.path.lexists(link) or (link / _MARKER).is_file():
        return
    raise RunError(
        f"Cannot publish the latest run: {link} is not ours",
        expected="a link, or nothing, under that name",
        got="a folder" if link.is_dir() else "a file",
        where=link,
        remedy="move it away, or choose another folder with output.exp_dir=FOLDER",
    )


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    import shutil

    if _is_real_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _remove_leftovers(root: Path) -> None:
    """Remove what a killed publisher left, once it is too old to be somebody's work in hand."""
    for path in root.glob(f".{LATEST}.*"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > _LEFTOVER_SECONDS:
                _remove(path)
