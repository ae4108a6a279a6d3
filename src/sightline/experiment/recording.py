"""How a training is watched: its log, its observers, and how it ended in run.json."""

from __future__ import annotations

import contextlib
import math
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sightline.config import dump_config
from sightline.errors import Interrupted, SightlineError
from sightline.experiment.session import Session
from sightline.runs import History, LogFile, RunFolder, log, write_atomically
from sightline.tasks.config import TaskConfig
from sightline.tracking.process import followed
from sightline.tracking.tail import STEPS_FILE
from sightline.training.callbacks import Callback, MetricsFile, ProgressBar, ProgressLines
from sightline.training.checkpoint import link_checkpoint_file
from sightline.training.hooks import StepInfo
from sightline.training.runtime import process

COLUMNS_FILE = "train_history.json"


@contextlib.contextmanager
def recorded(run: RunFolder, config: TaskConfig) -> Iterator[None]:
    """Mirror the output into the run's log, and record in run.json how the block ended."""
    logfile = LogFile(
        config.output.logs_dir,
        run_id=run.id,
        created=run.created,
        augmentation=config.data.variant,
    )
    # Outermost, so that a follower learns from run.json how the run ended.
    tracked, ending = followed(run, config.tracking), ending_recorded(run)
    with tracked, ending, logfile, _terminated_with_an_error():
        run.set_status("running")
        run.update(log=str(logfile.path.absolute()))
        log("BOOT", f"{run.info['task']} run {run.id}")
        log("ARTIFACTS", f"run={run.path} log={logfile.path} uuid={run.info['uuid']}")
        yield


@contextlib.contextmanager
def ending_recorded(run: RunFolder) -> Iterator[None]:
    """Record in run.json what ended the block, unless it came to its end."""
    try:
        yield
    except Interrupted as stop:
        _set_unless_finished(run, "stopped", stop_reason=stop.what)
        raise
    except KeyboardInterrupt:
        reason = "Ctrl-C, at once: the step under way is lost"
        _set_unless_finished(run, "stopped", stop_reason=reason)
        raise
    except BaseException as error:
        text = str(error) if isinstance(error, SightlineError) else repr(error)
        _set_unless_finished(run, "failed", error=text)
        raise


@contextlib.contextmanager
def logged(run: RunFolder, config: TaskConfig, *, kind: str) -> Iterator[Path]:
    """Mirror the output of what is done with a trained run into a log of its kind, and name it."""
    logfile = LogFile(
        config.output.logs_dir,
        run_id=run.id,
        created=run.created,
        augmentation=config.data.variant,
        kind=kind,
    )
    with logfile, _terminated_with_an_error():
        yield logfile.path


def _set_unless_finished(run: RunFolder, status: str, **why: str) -> None:
    """A training that is finished stays so, whatever becomes of what follows it."""
    if RunFolder.open(run.path).info["status"] != "finished":
        run.set_status(status, **why)


def record_changes(run: RunFolder, config: TaskConfig) -> None:
    """Make the changed configuration the run's own, and keep the old one in run.json."""
    old, new = run.config_file.read_text(encoding="utf-8"), dump_config(config)
    if new != old:
        run.update(earlier_configs=[*run.info.get("earlier_configs", []), old])
        write_atomically(run.config_file, new)


@contextlib.contextmanager
def _terminated_with_an_error() -> Iterator[None]:
    """Make SIGTERM an Interrupted where nothing better is done with it (the trainer's fit)."""

    def end(number: int, frame: object) -> None:
        raise Interrupted(
            "Stopped by SIGTERM outside of training; what was finished before is kept.",
            exit_code=128 + number,
            remedy="continue with --resume",
        )

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def observers(session: Session, history: History) -> list[Callback]:
    """Progress for the terminal or for a log, the metrics file, and a line for each epoch."""
    stream = getattr(sys.stderr, "original", sys.stderr)
    progress: Callback = ProgressLines(session.config.train.log_interval)
    if stream.isatty():
        progress = ProgressBar(stream)
    tracked = [StepRows(session)] if session.config.tracking.is_on else []
    rows = MetricsFile(history.append, fold=session.fold)
    columns = HistoryColumns(history, session.run.path / COLUMNS_FILE)
    return [progress, *tracked, rows, columns, EpochLines(session)]


class HistoryColumns(Callback):
    """The history as columns, renewed with each epoch: a training that is killed has them too."""

    def __init__(self, history: History, file: Path) -> None:
        self._history, self._file = history, file

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Write the file anew; its row is in metrics.jsonl by now."""
        self._history.write_columns(self._file)


class StepRows(Callback):
    """The loss within epochs, in steps.jsonl, for trackers: metrics.jsonl is the same without."""

    def __init__(self, session: Session) -> None:
        self._history = History(session.run.path / STEPS_FILE)
        self._interval, self._fold = session.config.train.log_interval, session.fold

    def on_step(self, info: StepInfo) -> None:
        """Write a row when one is due."""
        if info.step % self._interval == 0:
            place = {"event": "step", "fold": self._fold, "epoch": info.epoch, "step": info.step}
            self._history.append({**place, "loss": info.loss, "lr": info.lr})


class EpochLines(Callback):
    """The log's line for each epoch and each new best; a fold's best gets a name of its own."""

    def __init__(self, session: Session) -> None:
        self._epochs = session.config.train.epochs
        self._monitor = session.config.train.monitor or "loss"
        self._ckpt, self._fold = session.run.ckpt, session.fold

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """One line with every number of the row."""
        numbers = " ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in row.items()
            if _is_known(value) and name not in ("epoch", "split")
        )
        log(f"EPOCH {row['epoch']}", f"of {self._epochs} {numbers}")

    def on_checkpoint(self, path: Path, metrics: Mapping[str, Any]) -> None:
        """Say that the best checkpoint was replaced."""
        if path.name.startswith("epoch_"):
            log("ARTIFACTS", f"checkpoint=ckpt/{path.name}")
        if path.name == "best_model.pth":
            if self._fold is not None:
                link_checkpoint_file(path, path := self._ckpt / f"best_fold{self._fold}.pth")
            name = "F1" if self._monitor == "macro_f1" else self._monitor
            value = metrics.get(self._monitor)
            shown = "" if value is None else f"{name}={value:.4f} "
            log("NEW_BEST", f"{shown}-> ckpt/{path.name}")


def _is_known(value: Any) -> bool:
    """Whether there is a value: without an optimizer the learning rate is NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def first_says(tag: str) -> Callable[[str], None]:
    """A function that logs under the tag, in the first process only."""
    first = process().is_first
    return lambda message: log(tag, message) if first else None


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    names = ("sightline", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
