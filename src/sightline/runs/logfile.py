"""The log file of a run: stdout and stderr mirrored, and always a last word on how it ended."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO, cast

from sightline.errors import Interrupted, SightlineError
from sightline.runs.files import refusal
from sightline.runs.log import tagged
from sightline.runs.mirror import Mirror

_UNFIT = re.compile(r"[^\w.+=@-]+")


class LogFile:
    """Mirrors stdout and stderr into `path` while the `with` block runs.

    The path comes from the identity of the run, so a resumed run goes on in the same file, after
    midnight too. Each line is one write to a file opened for appending: workers that were forked
    may write as well. When the log's disk is full the run goes on; stderr says so once.
    """

    def __init__(
        self,
        logs_dir: Path | str,
        *,
        run_id: str,
        created: datetime,
        augmentation: str | None = None,
        kind: str = "train",
    ) -> None:
        view = _UNFIT.sub("-", augmentation or "none")
        name = f"{kind}_{created:%Y%m%d-%H%M}_{run_id}_{view}.log"
        self.path = Path(logs_dir) / f"{created:%Y%m%d}" / kind / name
        self._activity = "TRAINING" if kind == "train" else kind.upper()

    def __enter__(self) -> LogFile:
        """Open the log, which may raise RunError, and begin to mirror."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise refusal(error, self.path, setting="output.logs_dir") from error
        self._pid, self._complained, self._cut = os.getpid(), False, False
        self._stdout, self._stderr = sys.stdout, sys.stderr
        self._mirrors = (Mirror(sys.stdout, self._write), Mirror(sys.stderr, self._write))
        self._write(f">> Logger started: {self.path}")
        sys.stdout, sys.stderr = (cast(TextIO, mirror) for mirror in self._mirrors)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write how the block ended, then give the streams back; errors pass through."""
        if os.getpid() != self._pid:  # a forked child that left the block is not the run
            return
        try:
            unfinished = [mirror.finish() for mirror in self._mirrors]
            if error is not None:
                self._write_reason(error)
            line = tagged("EXIT", f"{self._activity} {_outcome(error)}")
            self._write(line)
            self._show(f"\n{line}" if any(unfinished) else line)
            self._write(">> Stopping logger and restoring stdio")
        finally:
            sys.stdout, sys.stderr = self._stdout, self._stderr
            os.close(self._descriptor)

    def _write_reason(self, error: BaseException) -> None:
        if isinstance(error, SightlineError):
            text = f"{type(error).__name__}: {error}"
        elif isinstance(error, SystemExit | KeyboardInterrupt):
            return
        else:
            import traceback

            text = "".join(traceback.format_exception(error))
        for line in text.splitlines():
            self._write(line)

    def _write(self, line: str) -> None:
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} | {line}".rstrip() + "\n"
        data = text.encode("utf-8", "backslashreplace")
        if self._cut:
            data = b"\n" + data
        try:
            self._cut = os.write(self._descriptor, data) < len(data)
        except OSError as error:
            if not self._complained:
                self._complained = True
                refused = refusal(error, self.path, setting="output.logs_dir")
                self._show(f"The log file is incomplete; the run goes on.\n{refused}")

    def _show(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a console that is gone must not hide the outcome
            print(text, file=self._stderr, flush=True)


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "SUCCESS code=0"
    if isinstance(error, Interrupted):
        return f"INTERRUPTED code={error.exit_code}"
    if isinstance(error, KeyboardInterrupt):
        return "INTERRUPTED code=130"
    if isinstance(error, SightlineError):
        return f"ERROR code={error.exit_code}"
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        return f"ERROR code={code}" if code else "SUCCESS code=0"
    return "ERROR code=1"
