"""The new lines of a file that only ever grows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STEPS_FILE = "steps.jsonl"
"""Rows within epochs, every `train.log_interval` steps, of a run that a tracker follows."""


class Tail:
    """Reads each line of a JSON lines file once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_rows(self) -> list[dict[str, Any]]:
        """The rows that were added since the last call; one that is not whole yet comes later.

        No file means no rows. What a killed writer left, no JSON object, is passed over.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        rows = (_parsed(line) for line in whole.splitlines())
        return [row for row in rows if isinstance(row, dict)]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
