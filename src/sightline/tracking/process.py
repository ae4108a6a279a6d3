"""Starts the processes that follow a run, and lets them go; what becomes of them harms nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

from sightline.config import TrackingConfig, plain_tree
from sightline.runs import RunFolder, log

_GRACE_SECONDS = 3.0
"""How much longer than its own limit a follower is waited for."""
FAREWELL = b"end\n"
"""What a follower is told when its starter ends; an end without it is a crash."""


class Follower:
    """One process that sends a run to one tracker."""

    def __init__(
        self,
        run: RunFolder,
        tracker: str,
        settings: TrackingConfig,
        *,
        say: Callable[[str], object],
        live: bool = False,
        again: bool = False,
    ) -> None:
        self.tracker, self._say = tracker, say
        order = {"run": str(run.path), "tracker": tracker, "settings": plain_tree(settings),
                 "live": live, "again": again}  # fmt: skip
        self._process = subprocess.Popen(
            # -P: a file called wandb.py in the working directory is not to be found first.
            [sys.executable, "-P", "-m", "sightline.tracking.follower"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Out of reach of a Ctrl-C, but not in a session of its own: with those, Linux shares
            # the cores among sessions first, and a low priority means nothing.
            process_group=0,
        )
        if live:
            # The cores are the training's.
            os.setpriority(os.PRIO_PROCESS, self._process.pid, 19)
        self._tell(json.dumps(order).encode() + b"\n")
        # Lines come while the training runs; reading them costs it nothing.
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def dismiss(self) -> None:
        """Say that the run has ended: the cores are the follower's now, where that may be said."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self._process.pid, 0)
        self._tell(FAREWELL)
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code; None where the process did not end in time, and was ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.end()
        return self._process.returncode

    def end(self) -> None:
        """End the process if it has not ended, and leave nothing behind."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._listener.join(_GRACE_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._say(line.decode("utf-8", "replace").rstrip())

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(line)
            self._process.stdin.flush()


@contextlib.contextmanager
def followed(run: RunFolder, settings: TrackingConfig) -> Iterator[None]:
    """Have the trackers of the settings follow a run until the block ends, however it ends.

    run.json has to say how before that. They are waited for `finish_timeout` seconds in all.
    """
    trackers = dict.fromkeys(settings.to if settings.is_on else ())
    followers = [one for tracker in trackers if (one := _start(run, tracker, settings))]
    try:
        yield
    finally:
        for one in followers:
            one.dismiss()
        deadline = time.monotonic() + settings.finish_timeout + _GRACE_SECONDS
        for one in followers:
            code = one.wait(max(0.0, deadline - time.monotonic()))
            if code not in (0, 1):  # after 1 it has said itself what is wrong
                log("TRACK", _what_was_left(run, one.tracker, settings, code))


def _start(run: RunFolder, tracker: str, settings: TrackingConfig) -> Follower | None:
    try:
        return Follower(run, tracker, settings, say=lambda line: log("TRACK", line), live=True)
    except OSError as error:
        log("TRACK", f"{tracker}: its process did not start: {error.strerror}")
        return None


def _what_was_left(run: RunFolder, tracker: str, settings: TrackingConfig, code: int | None) -> str:
    late = code is None or code == 3
    what = f"did not finish in {settings.finish_timeout:g} s" if late else f"ended with code {code}"
    return f"{tracker}: {what}; `sightline track {run.id} --to {tracker}` sends what is missing"
