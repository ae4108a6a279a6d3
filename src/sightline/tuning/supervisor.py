"""Keeps a search's workers going, tells how trials end, and takes everything down on a signal."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import TrainingError
from sightline.training.signals import SignalWatch
from sightline.tuning.lifeline import release, start, stop
from sightline.tuning.study import fail_lost_trials
from sightline.tuning.table import Trial, trial_line, trials_of
from sightline.tuning.worker import Order

if TYPE_CHECKING:
    import optuna

_POLL_SECONDS = 0.5
_LAST_LINES = 6


@dataclass(frozen=True)
class Place:
    """A worker's number, and what of the machine is its own."""

    number: int
    environment: dict[str, str]
    flags: dict[str, Any]


def places(workers: int, device: str) -> list[Place]:
    """Share the machine's cores, and with train.device=auto its GPUs, among the workers."""
    import torch

    threads = max(1, (os.cpu_count() or 1) // workers)
    environment = {} if workers == 1 else {"OMP_NUM_THREADS": str(threads)}
    if "OMP_NUM_THREADS" in os.environ:
        environment = {}
    gpus = torch.cuda.device_count() if device == "auto" and torch.cuda.is_available() else 0
    return [
        Place(one, environment, {"train.device": f"cuda:{one % gpus}"} if gpus > 1 else {})
        for one in range(workers)
    ]


class Supervisor:
    """Runs the workers of one command on one study."""

    def __init__(
        self,
        order: Order,
        study: optuna.Study,
        *,
        say: Callable[[str], object],
    ) -> None:
        self._order, self._study, self._say = order, study, say
        self._told = {trial.number for trial in trials_of(study) if trial.has_ended}
        self._replacements = order.n_trials
        self._broken: list[int] = []

    def run(self, workers: list[Place], watch: SignalWatch) -> None:
        """Let the workers work until no trial waits, time is up, or a signal comes.

        A worker that is killed fails its trial and is replaced. Raises TrainingError when all
        workers broke down and trials still wait.
        """
        running = {place.number: (place, self._start(place)) for place in workers}
        try:
            while running and watch.received is None:
                time.sleep(_POLL_SECONDS)
                for place, process in list(running.values()):
                    if process.poll() is None:
                        continue
                    release(process)
                    del running[place.number]
                    if self._must_be_replaced(place, process.returncode):
                        running[place.number] = (place, self._start(place))
                self._tell()
        finally:
            for _, process in running.values():  # all are asked before one is waited for
                process.terminate()
            for _, process in running.values():
                stop(process, lambda: None)
                release(process)
            fail_lost_trials(self._study)
            self._tell()
        if self._broken and watch.received is None and self._waiting() and not self._is_time_up():
            raise self._broken_down()

    def _start(self, place: Place) -> subprocess.Popen[bytes]:
        order = replace(self._order, flags={**self._order.flags, **place.flags})
        return start(
            "sightline.tuning.worker", order.plain(), self._log(place.number), place.environment
        )

    def _must_be_replaced(self, place: Place, code: int) -> bool:
        fail_lost_trials(self._study)
        if code == 0:
            return False
        if code < 0 and self._replacements:
            self._replacements -= 1
            self._say(f"worker {place.number} was killed (signal {-code}); another takes its place")
            return True
        self._broken.append(place.number)
        self._say(f"worker {place.number} ended with code {code}, see {self._log(place.number)}")
        return False

    def _tell(self) -> None:
        trials = trials_of(self._study)
        for trial in trials:
            if trial.has_ended and trial.number not in self._told:
                self._told.add(trial.number)
                self._say(trial_line(trial, done=len(self._told), of=self._order.n_trials))

    def _waiting(self) -> list[Trial]:
        return [
            trial
            for trial in trials_of(self._study)
            if trial.state == "waiting" and trial.number < self._order.n_trials
        ]

    def _is_time_up(self) -> bool:
        return self._order.until is not None and time.time() >= self._order.until

    def _log(self, number: int) -> Path:
        return Path(self._order.folder) / "logs" / f"worker-{number}.log"

    def _broken_down(self) -> TrainingError:
        log = self._log(self._broken[-1])
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        return TrainingError(
            f"The search's workers broke down; {len(self._waiting())} trials still wait.",
            got="\n            ".join(lines),
            where=log,
            remedy="when its cause is gone, the same command goes on where this one ended",
        )
