"""Observers of training: they get values, never the trainer, and may only ask it to stop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sightline.training.hooks import StepInfo, Stop, refuse_unknown_hooks
from sightline.training.runtime import resident_mebibytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Answer = Stop | None


class Callback:
    """An observer; override the events of interest. Removing it changes no weight.

    That holds as long as it draws nothing from the global random generators.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_unknown_hooks(cls, EVENTS)

    def on_fit_start(self, epochs: int | None) -> Answer:
        """Called before the first epoch with the number of epochs asked for."""

    def on_step(self, info: StepInfo) -> Answer:
        """Called after every optimizer step."""

    def on_epoch_end(self, row: Mapping[str, Any]) -> Answer:
        """Called with the epoch's row (as in metrics.jsonl) before its checkpoint is written."""

    def on_checkpoint(self, path: Path, metrics: Mapping[str, Any]) -> Answer:
        """Called when a checkpoint file is complete, with the last validation's metrics."""

    def on_fit_end(self, reason: str | None) -> Answer:
        """Called after the last epoch; reason is why training stopped early, None if it did not."""

    def on_exception(self, error: BaseException) -> Answer:
        """Called when training ends through an error or a signal."""


EVENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class Observers:
    """The callbacks of a trainer, called only for the events they override."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks holds {callback!r:.60}, which is no instance of a Callback subclass"
                )
        self._listeners: dict[str, list[Callable[..., Answer]]] = {
            event: [
                getattr(callback, event)
                for callback in callbacks
                if getattr(type(callback), event) is not getattr(Callback, event)
            ]
            for event in EVENTS
        }

    def listens(self, event: str) -> bool:
        """Whether any callback wants this event."""
        return bool(self._listeners[event])

    def tell(self, event: str, *values: Any) -> Answer:
        """Give every listener the values; the first request to stop, if any."""
        request: Answer = None
        for listener in self._listeners[event]:
            answer = listener(*values)
            request = request or answer
        return request


class MetricsFile(Callback):
    """Hands each epoch's row to a writer, such as the append method of a run's history."""

    def __init__(self, write: Callable[[dict[str, Any]], None], *, fold: int | None = None) -> None:
        self._write = write
        self._fold = fold

    def on_epoch_end(self, row: Mapping[str, Any]) -> Answer:
        """Write the row at once."""
        self._write({"event": "epoch", "fold": self._fold, **row})
        return None


class ProgressLines(Callback):
    """A line at an epoch's first step, every `interval` steps and the last; for logs and pipes."""

    def __init__(self, interval: int = 50, *, stream: TextIO | None = None) -> None:
        self._interval = interval
        self._stream = stream
        self._next = 0
        self._clock = 0.0
        self._samples = 0

    def on_step(self, info: StepInfo) -> Answer:
        """Print when a line is due."""
        if info.step < self._next and info.batch != info.batches:
            return None
        now = time.perf_counter()
        rate = (info.samples - self._samples) / max(now - self._clock, 1e-9)
        fresh = info.samples <= self._samples or not self._clock
        self._clock, self._samples = now, info.samples
        self._next = info.step - info.step % self._interval + self._interval
        of = f"/{info.batches}" if info.batches else ""
        speed = "" if fresh else f" images/s={rate:.1f}"
        print(
            f"[EPOCH {info.epoch}] batch {info.batch}{of} step={info.step} "
            f"loss={info.loss:.4f} lr={info.lr:.3g}{speed} mem_MiB={resident_mebibytes():.0f}",
            file=self._stream or sys.stderr,
            flush=True,
        )
        return None

    def on_epoch_end(self, row: Mapping[str, Any]) -> Answer:
        """Start the next epoch's rate anew, and print its first step."""
        self._clock, self._samples, self._next = 0.0, 0, 0
        return None


class ProgressBar(Callback):
    """A live bar with loss, images/s and the time left; for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._epoch = 0
        self._due = 0.0
        self._start = (0.0, 0)

    def on_step(self, info: StepInfo) -> Answer:
        """Move the bar, at most ten times a second."""
        now = time.perf_counter()
        if now < self._due and info.batch != info.batches:
            return None
        self._due = now + 0.1
        if self._bar is None or info.epoch != self._epoch:
            self._open(info)
            self._start = (now, info.samples)
        assert self._bar is not None
        assert self._task is not None
        seconds, samples = now - self._start[0], info.samples - self._start[1]
        speed = f"{samples / seconds:.0f} images/s" if seconds > 0.5 else ""
        self._bar.update(self._task, completed=info.batch, note=f"loss {info.loss:.4f}  {speed}")
        return None

    def on_epoch_end(self, row: Mapping[str, Any]) -> Answer:
        """Take the bar away; the epoch's line stays."""
        self._close()
        return None

    def on_exception(self, error: BaseException) -> Answer:
        """Leave the terminal as it was."""
        self._close()
        return None

    def _open(self, info: StepInfo) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._close()
        self._epoch = info.epoch
        of = f"/{info.epochs}" if info.epochs else ""
        self._bar = Progress(
            TextColumn(f"epoch {info.epoch}{of}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=self._stream),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=info.batches, note="")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
