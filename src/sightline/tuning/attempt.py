"""One attempt at a trial: its process is started, its epochs are reported, its end is read."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import RunError
from sightline.runs import read_rows
from sightline.training.signals import SignalWatch
from sightline.tuning.lifeline import answer_of, release, start, stop
from sightline.tuning.settings import StudyConfig
from sightline.tuning.tidying import run_name

if TYPE_CHECKING:
    import optuna

    from sightline.tuning.worker import Order

_POLL_SECONDS = 0.2
_LAST_WORDS = 600


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: with a value, pruned, or with an error."""

    run: str | None = None
    """The run's folder, relative to the study's."""
    value: float | None = None
    pruned: bool = False
    error: str | None = None
    out_of_memory: bool = False


class Attempt:
    """A trial's training in a process of its own."""

    def __init__(
        self, order: Order, trial: optuna.Trial, flags: Mapping[str, Any], settings: StudyConfig
    ) -> None:
        self._folder, self._trial = Path(order.folder), trial
        self._column = "valid_loss" if settings.metric == "loss" else settings.metric
        self._best = max if settings.direction == "maximize" else min
        self._metric = settings.metric
        self._name = run_name(trial.number)
        self._log = self._folder / "logs" / f"{self._name}.log"
        self._order = {
            "config": order.config,
            "command": order.command,
            "flags": {
                **flags,
                "project.name": self._name,
                "output.exp_dir": str(self._folder / "runs"),
                "output.logs_dir": str(self._folder / "logs"),
            },
        }
        self._values: list[float] = []
        self._seen = 0

    def follow(self, beat: Callable[[], None], watch: SignalWatch) -> Ended:
        """Train; report every epoch as it comes; stop the process when pruned or told to leave.

        `beat` is called several times a second. A trial that another process closed in the
        meantime is stopped as well.
        """
        beat()
        process = start("sightline.tuning.trial_process", self._order, self._log)
        try:
            return self._followed(process, beat, watch)
        finally:
            if process.poll() is None:
                stop(process, lambda: None)
            release(process)

    def _followed(
        self, process: subprocess.Popen[bytes], beat: Callable[[], None], watch: SignalWatch
    ) -> Ended:
        from optuna.exceptions import UpdateFinishedTrialError

        run = None
        while True:
            has_ended = process.poll() is not None
            run = run or self._run_of(process.pid)
            beat()
            try:
                if run is not None and self._report(run):
                    stop(process, beat)
                    return Ended(self._relative(run), pruned=True)
            except UpdateFinishedTrialError:
                stop(process, beat)
                return Ended(self._relative(run), error="closed by another process")
            if has_ended:
                return self._how_it_ended(process, run)
            if watch.received is not None:
                stop(process, beat)
                return Ended(self._relative(run), error=f"interrupted by {watch.received.name}")
            time.sleep(_POLL_SECONDS)

    def _report(self, run: Path) -> bool:
        """Report the epochs not yet reported; whether the trial is to be given up after one."""
        rows = [row for row in read_rows(run / "metrics.jsonl") if row.get("event") == "epoch"]
        for row in rows[self._seen :]:
            self._seen += 1
            value = row.get(self._column)
            if value is None:
                continue
            self._values.append(value)
            known = self._trial.storage.get_trial(self._trial._trial_id).intermediate_values
            step = row["epoch"] - 1
            if step not in known:  # a first attempt that ran out of memory may have got this far
                self._trial.report(value, step)
            if self._trial.should_prune():
                return True
        return False

    def _how_it_ended(self, process: subprocess.Popen[bytes], run: Path | None) -> Ended:
        place, answer, code = self._relative(run), answer_of(process), process.returncode
        if code == 0 and "run" in answer:
            if self._values:
                return Ended(place, value=self._best(self._values))
            return Ended(place, error=f"no epoch had a validation {self._metric}")
        error = answer.get("error")
        if error is None and code < 0:
            error = f"its process was ended by signal {-code}; was the machine out of memory?"
        if error is None:
            error = f"its process ended with code {code}: {self._last_words()}"
        is_full = bool(answer.get("out_of_memory"))
        error = f"out of memory: {error}" if is_full else error
        return Ended(place, error=error, out_of_memory=is_full)

    def _run_of(self, pid: int) -> Path | None:
        """The run that the process has made, by the number in run.json; None before that."""
        for file in sorted((self._folder / "runs").glob(f"*/{self._name}_*/run.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if json.loads(file.read_bytes())["process"]["pid"] == pid:
                    return file.parent
        return None

    def _relative(self, run: Path | None) -> str | None:
        return None if run is None else run.relative_to(self._folder).as_posix()

    def _last_words(self) -> str:
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        except OSError as error:
            raise RunError("The log of a trial cannot be read.", where=self._log) from error
        return text[-_LAST_WORDS:]
