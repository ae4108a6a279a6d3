"""The process that follows a run and sends it to one tracker; training waits for nothing in it."""

from __future__ import annotations

import io
import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_args

from sightline.config import TrackingConfig, read_yaml
from sightline.errors import MissingExtraError, SightlineError
from sightline.runs import RunFolder, displayed_status
from sightline.tracking.delivery import Delivery
from sightline.tracking.environment import add_env_file, without_secrets
from sightline.tracking.mlflow_sink import MlflowSink
from sightline.tracking.process import FAREWELL
from sightline.tracking.sink import Ending, Sink, Tracked
from sightline.tracking.state import alone
from sightline.tracking.tensorboard_sink import TensorboardSink
from sightline.tracking.wandb_sink import WandbSink

POLL_SECONDS = 1.0
SINKS: dict[str, Callable[[Tracked], Sink]] = {
    "wandb": WandbSink,
    "tensorboard": TensorboardSink,
    "mlflow": MlflowSink,
}


def main() -> int:
    """Send as ordered on standard input; 0 when all was sent, 1 when not, 3 when time was up."""
    add_env_file(os.environ, Path.cwd())
    starter = os.getppid()
    order = json.loads(_first_line())
    say = _channel(order["tracker"])
    with _redacted_errors(Path(order["run"]) / "tracking" / f"{order['tracker']}.log"):
        try:
            _send(order, starter, say)
        except SightlineError as error:
            say(_in_one_line(error, order))
            return 1
        except Exception as error:  # noqa: BLE001 (a tracker may raise anything, and kills no training)
            import traceback

            traceback.print_exc()
            say(f"stopped: {type(error).__name__}: {error}; {_later(order)}")
            return 1
    return 0


def _send(order: dict[str, Any], starter: int, say: Callable[[str], None]) -> None:
    run = RunFolder.open(order["run"])
    config, _ = read_yaml(run.config_file.read_text(encoding="utf-8"), str(run.config_file))
    settings = TrackingConfig.model_validate_json(json.dumps(order["settings"]))
    tracked = Tracked(run, settings, config, say, starter if order["live"] else None)
    tracker = order["tracker"]
    delivery = Delivery(tracked, tracker, SINKS[tracker](tracked), again=order["again"])
    ended: bool | None = True
    with alone(tracked.folder, tracker):
        if not delivery.begin():
            return
        rows = delivery.update()
        if order["live"]:
            while (ended := _ended(starter)) is None:
                rows += delivery.update()
            _give_up_after(settings.finish_timeout)
        elif _is_running(run):
            say("the run is still trained: it is followed to its end")
            while _is_running(run):
                time.sleep(POLL_SECONDS)
                rows += delivery.update()
        rows += delivery.update()
        ending: Ending = _ending_of(run) if ended else "crashed"
        delivery.finish(ending)
    if not order["live"]:
        say(f"{rows} rows sent, run {ending}")


def _ended(starter: int) -> bool | None:
    """Wait a moment; True after a farewell, False when the starter is gone, None while it lives."""
    ready, _, _ = select.select([0], [], [], POLL_SECONDS)
    if ready:
        return os.read(0, 64).startswith(FAREWELL)
    # The pipe may be held open by a data worker that outlives its training.
    return False if os.getppid() != starter else None


def _ending_of(run: RunFolder) -> Ending:
    """How the run ended, as run.json says it."""
    status = displayed_status(RunFolder.open(run.path).info)
    if status in get_args(Ending):
        return status  # type: ignore[return-value]
    return "crashed"


def _is_running(run: RunFolder) -> bool:
    return displayed_status(RunFolder.open(run.path).info) in ("created", "running")


def _give_up_after(seconds: float) -> None:
    """End this process in any case, whatever a tracker waits for."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(3)

    threading.Thread(target=end, daemon=True).start()


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # Not through sys.stdin, which would read the farewell ahead of its time.
        part = os.read(0, 1)
        if not part:
            raise SystemExit("standard input ended before the order")
        line += part
    return line


def _channel(tracker: str) -> Callable[[str], None]:
    """A function that tells the starter one line; nothing else goes there."""
    descriptor = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)

    def say(line: str) -> None:
        text = " ".join(f"{tracker}: {line}".split())
        with suppress(BrokenPipeError):
            os.write(descriptor, without_secrets(text, os.environ).encode() + b"\n")

    return say


class _Redacted(io.TextIOBase):
    """Text on its way to a file, without secrets."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError), self._file.open("a", encoding="utf-8") as log:
            log.write(without_secrets(text, os.environ))
        return len(text)


@contextmanager
def _redacted_errors(file: Path) -> Iterator[None]:
    """Write what this process has to complain of into a file beside what it keeps."""
    file.parent.mkdir(parents=True, exist_ok=True)
    before, sys.stderr = sys.stderr, _Redacted(file)
    try:
        yield
    finally:
        sys.stderr = before


def _in_one_line(error: SightlineError, order: dict[str, Any]) -> str:
    remedy = f"{error.remedy}; {_later(order)}" if isinstance(error, MissingExtraError) else None
    return f"{error.what} {remedy or error.remedy or ''}"


def _later(order: dict[str, Any]) -> str:
    return f"later: sightline track {RunFolder.open(order['run']).id} --to {order['tracker']}"


if __name__ == "__main__":
    sys.exit(main())
