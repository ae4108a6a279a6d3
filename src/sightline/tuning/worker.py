"""One worker of a search: it takes a trial, trains it in a process of its own, takes the next."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sightline.training.signals import SignalWatch
from sightline.tuning import study as studies
from sightline.tuning.attempt import Attempt, Ended
from sightline.tuning.batch import smaller_batch
from sightline.tuning.lifeline import receive_order
from sightline.tuning.settings import SearchConfig
from sightline.tuning.space import draw
from sightline.tuning.storage import HEARTBEAT_SECONDS, open_storage
from sightline.tuning.sweep_settings import SEARCHES
from sightline.tuning.tidying import best_trial, drop_checkpoints


@dataclass(frozen=True)
class Order:
    """What a worker has to know; it travels as JSON."""

    url: str
    study: str
    folder: str
    """The study's folder on this machine."""
    config: str
    """The configuration all trials begin with, a file."""
    search: Mapping[str, Any]
    """The search file as plain data."""
    n_trials: int
    until: float | None
    """time.time() after which no trial begins."""
    command: list[str]
    flags: dict[str, Any] = field(default_factory=dict)
    """Keys that all trials of this worker share."""

    def plain(self) -> dict[str, Any]:
        """The order as plain data."""
        return asdict(self)


class Worker:
    """Takes trials until none waits, time is up, or a signal comes."""

    def __init__(self, order: Order, watch: SignalWatch) -> None:
        import json

        self.order, self.watch = order, watch
        kind = SEARCHES[order.search["task"]]
        self.search: SearchConfig = kind.model_validate_json(json.dumps(order.search))
        self.storage = open_storage(order.url, create=False)
        self._beat_due = 0.0

    def work(self) -> int:
        """Train trials; 0, or 128 and the signal's number when one came."""
        while self.watch.received is None and not self._is_time_up():
            study = studies.load(self.storage, self.order.study, self.search, 0)
            studies.fail_lost_trials(study)
            best = best_trial(study)
            if best and best.value is not None and self.search.is_enough(best.value):
                break
            taken = studies.take(self.order.url, study, self.order.n_trials)
            if taken is None:
                break
            try:
                self._train(*taken)
            except BaseException as error:
                studies.close(study, taken[0], error=f"its worker failed: {error!r}")
                raise
        return 0 if self.watch.received is None else 128 + self.watch.received

    def _train(self, trial_id: int, number: int) -> None:
        import optuna

        started = time.monotonic()
        study = studies.load(self.storage, self.order.study, self.search, number)
        trial = optuna.trial.Trial(study, trial_id)
        flags = {**self.order.flags, **draw(trial, self.search.space)}
        changes: list[dict[str, int]] = []
        while True:
            attempt = Attempt(self.order, trial, flags, self.search.study)
            ended = attempt.follow(lambda: self._beat(trial_id), self.watch)
            halved = ended.out_of_memory and self.search.halves_batches
            smaller = smaller_batch(self.order.config, flags) if halved else None
            if smaller is None or self.watch.received is not None:
                break
            flags |= smaller.flags
            changes.append(smaller.change)
            print(f"trial {number}: out of memory, again with {smaller.flags}", file=sys.stderr)
        self._close(study, trial_id, ended, changes, time.monotonic() - started)
        drop_checkpoints(study, Path(self.order.folder))

    def _close(
        self, study: Any, trial_id: int, ended: Ended, changes: list[Any], seconds: float
    ) -> None:
        facts: dict[str, Any] = {"seconds": round(seconds, 2), "run": ended.run}
        if changes:
            facts["batch"] = changes
        if ended.error is not None:
            facts["error"] = ended.error
        is_open = studies.close(study, trial_id, value=ended.value, pruned=ended.pruned, **facts)
        if not is_open:
            print(f"trial {trial_id} was closed by another process", file=sys.stderr)

    def _beat(self, trial_id: int) -> None:
        """Say that this worker is alive, not more often than needed."""
        if time.monotonic() >= self._beat_due:
            studies.record_heartbeat(self.storage, trial_id)
            self._beat_due = time.monotonic() + HEARTBEAT_SECONDS

    def _is_time_up(self) -> bool:
        return self.order.until is not None and time.time() >= self.order.until


def main() -> int:
    """Work as ordered on standard input."""
    order = Order(**receive_order())
    with SignalWatch() as watch:
        return Worker(order, watch).work()


if __name__ == "__main__":
    sys.exit(main())
