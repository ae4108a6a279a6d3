"""Sends what a run's files hold, and a tracker has not got yet: the same live and afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sightline.runs import RunFolder, file_hash, read_rows
from sightline.tracking.evidence import curves_in, result_of, tables_in
from sightline.tracking.names import axis_of, curve_values, result_values
from sightline.tracking.pictures import sample_pictures
from sightline.tracking.sink import Ending, Sink, Tracked
from sightline.tracking.state import Sent, read_sent, write_sent
from sightline.tracking.tail import STEPS_FILE, Tail


class Delivery:
    """One run on its way to one tracker."""

    def __init__(self, tracked: Tracked, tracker: str, sink: Sink, *, again: bool = False) -> None:
        self._tracked, self._tracker, self._sink = tracked, tracker, sink
        self._sent = read_sent(tracked.folder, tracker)
        if again and self._sent.id is not None:
            self._sent = Sent(attempt=self._sent.attempt + 1)
        self._stamp: tuple[int, ...] | None = None
        self._steps = Tail(tracked.run.path / STEPS_FILE)

    def begin(self) -> bool:
        """Open the tracker's run, the one of before where there is one; False: nothing is sent."""
        begun = self._sink.begin(self._sent.begun(), self._sent.attempt)
        if begun is None:
            return False
        self._sent.settle(begun)
        self._save()
        return True

    def update(self) -> int:
        """Send the rows that are new, and return how many of metrics.jsonl were among them."""
        # First the steps: a row of the epoch they are in cannot come before them.
        steps = self._steps.new_rows()
        stamp = _stamp_of(self._tracked.run.metrics_file)
        if stamp == self._stamp and not steps:
            return 0
        self._stamp = stamp
        before, folds = self._sent.rows, self._tracked.has_folds
        sent = []
        for row in sorted(steps + read_rows(self._tracked.run.metrics_file), key=_seconds_of):
            axis = axis_of(row, folds=folds)
            if self._sent.lacks(row, axis):
                self._send(row, axis)
                self._sent.add(row, axis)
                sent.append(row)
        self._send_evidence(sent)
        if sent:
            self._sink.flush()
            self._save()
        return self._sent.rows - before

    def finish(self, ending: Ending) -> None:
        """Send the model, if the run is finished, and close the tracker's run."""
        run = RunFolder.open(self._tracked.run.path)
        self._sink.summarize(_best_of(run.info))
        if ending == "finished" and self._tracked.settings.artifact:
            self._send_model(run)
        self._sink.finish(ending)
        self._sent.ending = ending
        self._save()

    def _send(self, row: Mapping[str, Any], axis: str) -> None:
        if row.get("event") not in ("epoch", "step"):
            self._sink.summarize(result_values(row, axis=axis))
            return
        values = curve_values(row, axis=axis)
        self._sink.log(values, int(row["step"]), axis=axis, time=_seconds_of(row))

    def _send_evidence(self, rows: list[dict[str, Any]]) -> None:
        """Send tables, curves and pictures of the splits that were judged since the last time."""
        judged = (row["split"] for row in rows if row.get("event") == "evaluate" and "split" in row)
        step = max(self._sent.steps.values(), default=0)
        for split in dict.fromkeys(judged):
            result = result_of(self._tracked.run, split)
            for name, columns, cells in tables_in(result):
                self._sink.table(f"{split}/{name}", columns, cells)
            for name, values in curves_in(result):
                self._sink.curve(f"{split}/{name}", values)
            folder = self._tracked.folder / "pictures"
            count = self._tracked.settings.images
            if shown := sample_pictures(self._tracked.run, split, folder, count=count):
                self._sink.pictures(f"{split}/samples", shown, step)

    def _send_model(self, run: RunFolder) -> None:
        file = run.ckpt / "best_model.pth"
        if not file.is_file():
            return
        digest = file_hash(file)
        if digest == self._sent.artifact:
            return
        facts = {"sha256": digest, "run": run.id, "task": str(run.info.get("task"))}
        self._sink.artifact(file, facts)
        self._sent.artifact = digest

    def _save(self) -> None:
        write_sent(self._tracked.folder, self._tracker, self._sent)


def _best_of(info: Mapping[str, Any]) -> dict[str, float]:
    """The value that chose the best epoch, and that epoch."""
    best = info.get("best") or {}
    named = {f"best/{best.get('metric')}": best.get("value"), "best/epoch": best.get("epoch")}
    return {name: value for name, value in named.items() if isinstance(value, int | float)}


def _seconds_of(row: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(row["time"]).timestamp()


def _stamp_of(file: Path) -> tuple[int, ...]:
    """What changes when the file does; the file of a resumed run is a new one."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
