#!/usr/bin/env python3
"""Shows trainings: one of them, chosen from a list or by its UUID, or several side by side.

    scripts/visualize_training.py --list
    scripts/visualize_training.py --experiment_id UUID --recall-history --save curves.png
    scripts/visualize_training.py --compare --no-recall

The same as `sightline list`, `sightline plot` and `sightline compare`. Without --experiment_id a
person at a terminal is asked for a number; elsewhere the newest run is drawn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sightline.cli import main as sightline
from sightline.console import show_error
from sightline.errors import SightlineError, UsageError
from sightline.runs.listing import choose_runs, sorted_runs

MOST = 20
"""So many of the newest runs are offered, or compared where none is named."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Translate the options and run the command; the exit code is the command's."""
    chosen = _parser().parse_args(arguments)
    try:
        command = _command(chosen)
    except SightlineError as error:
        show_error(error)
        sys.exit(error.exit_code)
    sys.argv = ["sightline", *command]
    sightline()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Show trainings: one of them, or several side by side."
    )
    parser.add_argument("--list", action="store_true", help="list the runs, draw nothing")
    parser.add_argument("--experiment_id", "--experiment-id", metavar="UUID", help="the run")
    parser.add_argument(
        "--compare", nargs="*", metavar="RUN",
        help="compare these runs; none named: the newest ones of the task of the newest",
    )  # fmt: skip
    parser.add_argument("--no-recall", action="store_true", help="leave kNN recall out")
    parser.add_argument("--recall-history", action="store_true", help="draw recall by epoch")
    parser.add_argument("--save", metavar="FILE", help="a .png or .html file")
    parser.add_argument("--exp-dir", type=Path, default=Path("experiments/train"))
    return parser


def _command(chosen: argparse.Namespace) -> list[str]:
    place = ["--exp-dir", str(chosen.exp_dir)]
    if chosen.list:
        return ["list", *place]
    shown = [*place]
    shown += ["--no-recall"] if chosen.no_recall else []
    shown += ["--recall-history"] if chosen.recall_history else []
    shown += ["--save", chosen.save] if chosen.save else []
    if chosen.compare is not None:
        return ["compare", *_compared(chosen), *shown]
    return ["plot", chosen.experiment_id or _asked_for(chosen.exp_dir), *shown]


def _compared(chosen: argparse.Namespace) -> list[str]:
    if chosen.compare:
        return list(chosen.compare)
    task = choose_runs([], chosen.exp_dir)[0].get("task")
    return ["--task", str(task), "--most", str(MOST)]


def _asked_for(exp_dir: Path) -> str:
    """The folder of the run that a person chooses, of the newest where nobody can be asked."""
    runs = sorted_runs(choose_runs([], exp_dir))[:MOST]
    if len(runs) == 1 or not sys.stdin.isatty():
        return str(runs[0]["path"])
    for number, run in enumerate(runs, start=1):
        print(f"{number:3}  {run['id']}  {run['status']}")
    answer = input(f"Number of the run, 1 to {len(runs)} [1]: ").strip() or "1"
    if answer.isdigit() and 1 <= int(answer) <= len(runs):
        return str(runs[int(answer) - 1]["path"])
    raise UsageError(
        "That is no number of the list.",
        expected=f"a whole number from 1 to {len(runs)}",
        got=answer,
        remedy="run it again, or name the run with --experiment_id UUID",
    )


if __name__ == "__main__":
    main()
