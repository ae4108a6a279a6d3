"""What a tracker has of a run, in RUN/tracking/<tracker>.json: nothing is sent there twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sightline.errors import RunError
from sightline.runs import write_atomically
from sightline.runs.plain import to_json
from sightline.tracking.sink import Begun


@dataclass
class Sent:
    """What was sent to one tracker of one run."""

    id: str | None = None
    where: str | None = None
    attempt: int = 1
    """Which of the runs that were made at the tracker this is, from 1."""
    rows: int = 0
    """Rows of metrics.jsonl that were sent."""
    steps: dict[str, int] = field(default_factory=dict)
    """The last step sent on each axis: a resumed training writes the rows after it again."""
    within: dict[str, int] = field(default_factory=dict)
    """The same of the rows within epochs."""
    results: list[str] = field(default_factory=list)
    """Times of the rows sent that belong to no step."""
    artifact: str | None = None
    """SHA-256 of the model file that was sent."""
    ending: str | None = None

    def begun(self) -> Begun | None:
        """The tracker's run that there is already."""
        if self.id is None or self.where is None:
            return None
        return Begun(self.id, self.where, is_new=False)

    def lacks(self, row: Mapping[str, Any], axis: str) -> bool:
        """Whether the row has not been sent."""
        steps = self._steps_of(row)
        if steps is None:
            return row.get("time") not in self.results
        return int(row["step"]) > steps.get(axis, -1)

    def add(self, row: Mapping[str, Any], axis: str) -> None:
        """Note that the row was sent."""
        steps = self._steps_of(row)
        self.rows += steps is not self.within
        if steps is None:
            self.results.append(str(row.get("time")))
        else:
            steps[axis] = int(row["step"])

    def settle(self, begun: Begun) -> None:
        """Forget what was sent, as far as the tracker's run does not hold it."""
        if begun.is_new:
            self.rows, self.results, self.artifact = 0, [], None
        for steps in (self.steps, self.within):
            if begun.is_new:
                steps.clear()
            elif (there := begun.last_steps) is not None:
                steps |= {axis: min(step, there.get(axis, -1)) for axis, step in steps.items()}
        self.id, self.where, self.ending = begun.id, begun.where, None

    def _steps_of(self, row: Mapping[str, Any]) -> dict[str, int] | None:
        """Where the row's step is noted; None for a row that belongs to none."""
        return {"epoch": self.steps, "step": self.within}.get(str(row.get("event")))


def read_sent(folder: Path, tracker: str) -> Sent:
    """What was sent so far; of a file that is missing or damaged, nothing."""
    try:
        saved = json.loads((folder / f"{tracker}.json").read_bytes())
        return Sent(**saved)
    except (OSError, ValueError, TypeError):
        return Sent()


def write_sent(folder: Path, tracker: str, sent: Sent) -> None:
    """Write down what was sent."""
    write_atomically(folder / f"{tracker}.json", to_json(asdict(sent), indent=1) + "\n")


@contextmanager
def alone(folder: Path, tracker: str) -> Iterator[None]:
    """Hold a tracker of a run; RunError where another process is sending to it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f".{tracker}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if _is_held(descriptor):
            raise RunError(
                f"Another process is sending this run to {tracker}.",
                where=folder.parent,
                remedy="wait for it: a run that is trained is sent by its own follower",
            )
        yield
    finally:
        os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    """Lock the file for as long as it is open; whether another process had locked it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a network file system without locks
        return False
    return False
