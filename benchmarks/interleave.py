"""Runs contestants in turn, A B A B ..., and compares the medians of what they report.

A contestant is a command that ends with one line of JSON whose first key is "value", the number
that is compared. All of them are children of one process, on the same cores; each round
starts with another contestant, so that a slow minute of the machine hits them alike.
"""

from __future__ import annotations

import json
import os
import pty
import statistics
import subprocess
import sys
import termios
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORK = HERE / "work"
PEERS_PYTHON = WORK / "peers-venv" / "bin" / "python"


@dataclass(frozen=True)
class Contestant:
    """A name and the command that measures it; `terminal` gives it one for its progress bar."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    terminal: bool = False


def script(name: str) -> str:
    """Path of a measuring script in benchmarks/contestants."""
    return str(HERE / "contestants" / name)


def interleave(
    contestants: Sequence[Contestant],
    *,
    rounds: int,
    cores: int | None = None,
    timeout: float = 1800,
) -> dict[str, dict[str, Any]]:
    """Median, lowest, highest and all values of each contestant over the rounds.

    `cores` keeps this process and its children on that many cores while it runs.
    """
    allowed = os.sched_getaffinity(0)
    if cores is not None:
        os.sched_setaffinity(0, set(sorted(allowed)[-cores:]))
    reports: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contestants}
    try:
        for number in range(rounds):
            start = number % len(contestants)
            for one in [*contestants[start:], *contestants[:start]]:
                report = measure(one, timeout=timeout)
                reports[one.name].append(report)
                print(
                    f"  round {number + 1}/{rounds} {one.name}: {report['value']:.6g}", flush=True
                )
    finally:
        os.sched_setaffinity(0, allowed)
    return {name: summary(many) for name, many in reports.items()}


def measure(contestant: Contestant, *, timeout: float = 1800) -> dict[str, Any]:
    """What one run of a contestant reports; its standard error is shown when it fails."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "TERM": "xterm", **contestant.environment}
    if not contestant.terminal:
        done = subprocess.run(
            contestant.command, env=environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=timeout, check=False,
        )  # fmt: skip
        return _report(contestant, done.returncode, done.stdout, done.stderr)
    return _measure_on_terminal(contestant, environment, timeout=timeout)


def summary(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median and spread of the values, and the medians of the other numbers of each round."""
    values = [float(report["value"]) for report in reports]
    others = [key for key, value in reports[0].items() if isinstance(value, int | float)]
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "values": values,
        "medians": {key: statistics.median(report[key] for report in reports) for key in others},
        "last": {key: value for key, value in reports[-1].items() if key != "value"},
    }


def ratio(results: dict[str, dict[str, Any]], name: str, peer: str) -> float:
    """Median of one contestant divided by the median of its peer."""
    return float(results[name]["median"] / results[peer]["median"])


def needed(paths: Iterable[Path]) -> None:
    """Stop with advice when something a benchmark needs was not made yet."""
    for path in paths:
        if not path.exists():
            sys.exit(f"{path} is missing: run the benchmarks with `make bench`")


def _measure_on_terminal(
    contestant: Contestant, environment: dict[str, str], *, timeout: float
) -> dict[str, Any]:
    ours, theirs = pty.openpty()
    # A terminal is born with no columns, and a bar that fits into none is not drawn.
    termios.tcsetwinsize(theirs, (30, 120))
    drawn: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(ours, drawn), daemon=True)
    reader.start()
    try:
        done = subprocess.run(
            contestant.command, env=environment, stdout=theirs, stderr=theirs,
            stdin=subprocess.DEVNULL, timeout=timeout, check=False,
        )  # fmt: skip
    finally:
        os.close(theirs)
        reader.join(timeout=5)
        os.close(ours)
    screen = b"".join(drawn).decode(errors="replace")
    report = _report(contestant, done.returncode, screen, "")
    return {**report, "drawn_characters": len(screen)}


def _report(contestant: Contestant, code: int, output: str, problems: str) -> dict[str, Any]:
    lines = [line[line.find('{"value"') :] for line in output.splitlines() if '{"value"' in line]
    if code != 0 or not lines:
        raise RuntimeError(
            f"{contestant.name} ended with {code}:\n{output[-2000:]}\n{problems[-4000:]}"
        )
    report: dict[str, Any] = json.loads(lines[-1])
    return report


def _drain(descriptor: int, drawn: list[bytes]) -> None:
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except OSError:  # the other end of a pseudo-terminal was closed
            return
        if not data:
            return
        drawn.append(data)
