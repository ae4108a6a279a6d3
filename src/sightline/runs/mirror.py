"""A stream that passes everything on and hands each finished line, as plain text, to a sink."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, TextIO

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\].*?(?:\x07|\x1b\\)"  # titles, links
    r"|[ -/]+[0-~]|[0-Z\\^-~])"  # character sets, the rest
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LONGEST = 65_536


class Mirror:
    """Stands in for a text stream; whatever it does not do itself the original does.

    A line drawn again and again with carriage returns reaches the sink once, as last drawn. The
    sink gets no newline, no escape sequence and no other control character but tabs.
    """

    def __init__(self, original: TextIO, sink: Callable[[str], None]) -> None:
        self.original = original
        self._sink = sink
        self._pending = ""
        self._lock = threading.RLock()  # a signal handler may print in the middle of a write
        self._pid = os.getpid()

    def write(self, text: str) -> int:
        """Collect the text for the sink and write it to the original stream."""
        self._collect(text)
        return self.original.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def finish(self) -> bool:
        """Hand an unfinished line to the sink and tell whether there was one."""
        pending, self._pending = self._pending, ""
        if pending:
            self._sink(as_plain_line(pending))
        return bool(pending)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def _collect(self, text: str) -> None:
        if os.getpid() != self._pid:  # forked: the half line and the lock are the parent's
            self._pending, self._lock, self._pid = "", threading.RLock(), os.getpid()
        with self._lock:
            *lines, rest = (self._pending + text).split("\n")
            # Kept before the sink runs: what the sink itself prints must not see these lines.
            self._pending = "" if len(rest) > _LONGEST else _last_drawn(rest)
            for line in [*lines, rest] if len(rest) > _LONGEST else lines:
                self._sink(as_plain_line(line))


def as_plain_line(line: str) -> str:
    """Return what a terminal would show of one line, without colours and control characters."""
    return _CONTROL.sub("", _ESCAPE.sub("", _last_drawn(line))).rstrip()


def _last_drawn(line: str) -> str:
    """Return the last state that shows something; a carriage return at the end stays."""
    states = line.split("\r")
    if len(states) == 1:
        return line
    shown = [state for state in states if _ESCAPE.sub("", state).strip()]
    return (shown[-1] if shown else "") + ("" if states[-1] else "\r")
