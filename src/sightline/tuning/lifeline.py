"""Processes that hold on to the one that started them: none outlives it, even one killed -9."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STOP_SECONDS = 60.0
"""Time a process gets to stop between two steps before it is ended at once."""


def start(
    module: str, order: Mapping[str, Any], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE` with an order on its standard input, which then stays open.

    What it prints goes to the end of the log. It leads a session of its own, so that a Ctrl-C
    reaches only the command, which passes it on in order.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            # -P: a file called torch.py in the working directory is not to be found first.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    return process


def receive_order() -> dict[str, Any]:
    """The order this process was started with; from now on it ends with whoever gave it.

    When the other end of standard input is gone, this process gets a SIGTERM as from a user, and
    after STOP_SECONDS it is over in any case.
    """
    line = b""
    while not line.endswith(b"\n"):
        # Not through sys.stdin: a thread that waits inside it would disturb the interpreter's end.
        part = os.read(0, 1)
        if not part:
            raise SystemExit("standard input ended before the order")
        line += part
    threading.Thread(target=_end_at_end_of_input, daemon=True).start()
    order: dict[str, Any] = json.loads(line)
    return order


def answer_channel() -> Callable[[Mapping[str, Any]], None]:
    """A function that answers whoever started this process; all other output goes to stderr."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return lambda answer: _write(descriptor, json.dumps(answer).encode() + b"\n")


def answer_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What an ended process answered; empty when it had no time to."""
    assert process.stdout is not None
    # Not to the end of the file: a data worker that outlives its process would hold it open.
    os.set_blocking(process.stdout.fileno(), False)
    text = process.stdout.read() or b""
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return answer


def stop(process: subprocess.Popen[bytes], wait: Callable[[], object]) -> None:
    """Ask the process to stop, calling `wait` now and then, and end it if it does not."""
    deadline = time.monotonic() + STOP_SECONDS
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    while process.poll() is None and time.monotonic() < deadline:
        wait()
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def release(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of an ended process."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _end_at_end_of_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(128 + signal.SIGTERM)


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, data)
