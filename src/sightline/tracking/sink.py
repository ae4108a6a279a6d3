"""What a tracker is asked to do, whichever it is, and what it is told of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from sightline.config import TrackingConfig
from sightline.runs import RunFolder

Ending = Literal["finished", "stopped", "failed", "crashed"]
"""How a run ended; crashed: its process was killed and could not say."""


@dataclass(frozen=True)
class Tracked:
    """A run as a tracker sees it."""

    run: RunFolder
    settings: TrackingConfig
    config: Mapping[str, Any]
    """The run's configuration as plain nested data."""
    say: Callable[[str], object]
    """Tells the user one line."""
    trainer: int | None = None
    """The process that trains, while it does."""

    @property
    def name(self) -> str:
        """What the tracker is to call the run."""
        return self.settings.name or self.run.id

    @property
    def folder(self) -> Path:
        """Where a tracker keeps what it has to keep."""
        return self.run.path / "tracking"

    @property
    def has_folds(self) -> bool:
        """Whether every fold is trained in turn, so that steps begin anew with each."""
        data = self.config.get("data")
        return isinstance(data, Mapping) and data.get("valid_fold") == "all"

    def facts(self) -> dict[str, Any]:
        """What run.json says beside the configuration, as plain data."""
        keys = ("id", "uuid", "task", "git", "versions", "device", "seeds", "data", "parent")
        return {key: self.run.info[key] for key in keys if self.run.info.get(key)}


@dataclass(frozen=True)
class Begun:
    """A run at a tracker that takes numbers now."""

    id: str
    """The tracker's own id of it."""
    where: str
    """The place that holds it, without secrets; what was sent to another place is sent again."""
    is_new: bool
    """Whether nothing was in it before."""
    last_steps: Mapping[str, int] | None = None
    """The last step that arrived on each axis, where the tracker can tell."""


class Sink(Protocol):
    """One tracker, with one run open. Every method may raise whatever the tracker raises."""

    def begin(self, known: Begun | None, attempt: int) -> Begun | None:
        """Open the run, going on with the one that is known; None where nothing is to be sent.

        `attempt` counts the runs that were made there of this one, from 1.
        """

    def log(self, values: Mapping[str, float], step: int, *, axis: str, time: float) -> None:
        """Add a point to curves, as of seconds since 1970; on each axis steps only grow."""

    def summarize(self, values: Mapping[str, float]) -> None:
        """Set final results."""

    def pictures(self, name: str, shown: Sequence[tuple[Path, str]], step: int) -> None:
        """Add PNG files with their captions under one name."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Set a table of plain values; all values of a column are of one type, or None."""

    def curve(self, name: str, values: Sequence[float]) -> None:
        """Set a curve over 1, 2, 3 ..., such as matches by rank."""

    def artifact(self, file: Path, facts: Mapping[str, str]) -> None:
        """Keep the model file."""

    def flush(self) -> None:
        """See to it that what was given so far survives this process."""

    def finish(self, ending: Ending) -> None:
        """Close the run with its status."""
