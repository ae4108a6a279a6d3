"""The history of a run: metrics.jsonl, one flushed line per event, the only source of curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sightline.errors import RunError
from sightline.runs.files import append_line, is_json, write_atomically
from sightline.runs.plain import to_json

_OLD_NAMES = {
    "epochs": "epoch",
    "total_loss": "train_loss",
    "rank_loss": "train_rank",
    "pairdist_loss": "train_pairdist",
    "epoch_times": "time_s",
}


class History:
    """The rows of one metrics.jsonl; every call reads or writes the file itself."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def append(self, row: Mapping[str, object]) -> None:
        """Add the row, on disk when this returns; NaN and infinity become null.

        `time` is added when the row has none. Raises RunError, with the file as it was before,
        when the disk is full.
        """
        append_line(self.path, to_json({"time": _iso_now(), **row}))

    def rows(self) -> list[dict[str, Any]]:
        """Return every row in the order written, without a half last line; see `read_rows`."""
        return read_rows(self.path)

    def truncate_after(self, step: int, *, fold: int | None = None) -> int:
        """Drop the rows a resumed run will write again and return how many they were.

        Those are the rows whose step is greater than the checkpoint's. With a fold: of that fold,
        and every row of later folds; rows of earlier folds stay. A half last line goes as well.
        """
        lines = _read_lines(self.path)
        kept = [line for line, row in lines if not _is_after(row, step=step, fold=fold)]
        content = b"".join(line + b"\n" for line in kept)
        if self.path.exists() and content != self.path.read_bytes():
            write_atomically(self.path, content)
        return len(lines) - len(kept)

    def write_columns(self, path: Path | str) -> None:
        """Write the epoch rows as columns, `{"epoch": [...], "train_loss": [...], ...}`.

        All columns have the same length; a row without the key has null there. Some come under the
        names of earlier systems too (`epochs`, `total_loss` ...), for scripts that overlay runs.
        """
        rows = [row for row in self.rows() if row.get("event") == "epoch"]
        names = dict.fromkeys(["epoch", *(name for row in rows for name in row)])
        names.pop("event", None)
        columns = {name: [row.get(name) for row in rows] for name in names}
        columns |= {old: columns[name] for old, name in _OLD_NAMES.items() if name in columns}
        write_atomically(path, to_json(columns) + "\n")


def read_rows(path: Path | str) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl in the order written; no file means no rows yet.

    The last line may be cut short by a kill and is then left out; any other damaged line raises
    RunError with its number.
    """
    return [row for _, row in _read_lines(Path(path))]


def _read_lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            "The history of the run cannot be read", got=error.strerror, where=path
        ) from error
    if last and is_json(last):
        lines.append(last)
    return [(line, _parse(line, path, number)) for number, line in enumerate(lines, 1) if line]


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if isinstance(row, dict):
        return row
    raise RunError(
        "The history of the run is damaged",
        expected="one JSON object per line",
        got=repr(line[:80].decode(errors="replace")),
        where=f"{path}, line {number}",
        remedy="repair or remove that line",
    )


def _is_after(row: Mapping[str, Any], *, step: int, fold: int | None) -> bool:
    row_fold = row.get("fold")
    if fold is not None and row_fold is not None and row_fold != fold:
        # The row over all folds comes after each of them.
        return row_fold == "all" or bool(row_fold > fold)
    row_step = row.get("step")
    return row_step is not None and bool(row_step > step)


def _iso_now() -> str:
    return datetime.now().astimezone().isoformat()
