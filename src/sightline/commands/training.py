"""Commands that train."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sightline.commands.options import (
    OVERRIDES,
    command_line,
    is_first_process,
)
from sightline.errors import UsageError

INTERVAL_VARIABLE = "SAVE_INTERVAL"
"""The environment variable that earlier systems read."""
DEMOS = ("classify", "anomaly", "retrieve", "reid", "compress")


@click.command()
@click.argument("task", default="classify", type=click.Choice(DEMOS))
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo"),
              help="Where the pictures, the run and the report go.")  # fmt: skip
def demo(task: str, folder: Path) -> None:
    """Train on real handwritten digits that ship with a dependency.

    \b
    Example: sightline demo
    """
    settings = [
        f"data.digits={folder / 'digits'}",
        f"output.exp_dir={folder / 'experiments'}",
        f"output.logs_dir={folder / 'logs'}",
    ]
    _run(f"{task}/digits", settings, {"test": True})


@click.command()
@click.argument("source", required=False)
@OVERRIDES
@click.option("--config", "config", metavar="PATH", default=None,
              help="The same as SOURCE: a recipe or a configuration file.")  # fmt: skip
@click.option("--mode", type=click.Choice(["basic", "highperf", "full-pipeline"]), default="basic",
              show_default=True, help="basic: train as configured. highperf: with the recipe "
              "classify/highperf below your settings. full-pipeline: every fold, then the sealed "
              "test and a submission.")  # fmt: skip
@click.option("--optimize", is_flag=True,
              help="Search first; it stops there without --auto-continue.")  # fmt: skip
@click.option("--n-trials", type=click.IntRange(min=1), default=None,
              help="Trials of the search; by default those of its space.")  # fmt: skip
@click.option("--optuna-config", "space", metavar="SPACE", default=None,
              help="Search space: classify/optuna, classify/optuna-fast, or a file.")  # fmt: skip
@click.option("--auto-continue", is_flag=True, help="After the search, train with what it found.")
@click.option("--use-calibration", is_flag=True,
              help="After training, fit a calibration on validation, and use it.")  # fmt: skip
@click.option("--skip-training", is_flag=True,
              help="Only search (with --optimize), or only apply the latest run, or --resume RUN, "
              "to data.sample_csv.")  # fmt: skip
@click.option("--resume", metavar="RUN", is_flag=False, flag_value="latest", default=None,
              help="Go on with an unfinished run: its id, its folder, or latest.")  # fmt: skip
@click.option("--resume-anyway", "anyway", metavar="KEY", multiple=True,
              help="A setting that may differ from the resumed run's.")  # fmt: skip
@click.option("--test", is_flag=True,
              help="At the end, read the sealed test split once and report it.")  # fmt: skip
def train(
    source: str | None,
    overrides: tuple[str, ...],
    config: str | None,
    resume: str | None,
    anyway: tuple[str, ...],
    **flags: Any,
) -> None:
    """Train a recipe or a configuration file, with a search before and a submission after it.

    \b
    Examples:
      sightline train classify/basic data.root=photos train.epochs=20 --test
      sightline train mine.yaml train.lr=3e-4
      sightline train mine.yaml --mode full-pipeline --optimize --auto-continue --use-calibration
      sightline train --resume
    """
    if source is not None and "=" in source:
        overrides, source = (source, *overrides), None
    if resume is not None and "=" in resume:
        # `--resume KEY=VALUE`: the name of the run was left out.
        overrides, resume = (resume, *overrides), "latest"
    if source is not None and config is not None:
        raise UsageError(
            "Two configurations are named.",
            got=f"{source} and --config {config}",
            remedy="name one of them",
        )
    source = source or config
    if anyway and resume is None:
        raise UsageError(
            "--resume-anyway says what may differ from a run that goes on, and none was named.",
            remedy="add --resume RUN, or leave it out",
        )
    if flags["optimize"] and resume is not None:
        raise UsageError(
            "--optimize and --resume contradict each other.",
            expected="a search goes on by itself when the same command is given again",
            remedy="leave out one of them",
        )
    applies = flags["skip_training"] and not flags["optimize"]
    if source is None and resume is None and not applies:
        raise UsageError(
            "Nothing says what to train.",
            expected="a recipe or a configuration file, or --resume RUN",
            remedy="see `sightline recipes`, for example: "
            "sightline train classify/basic data.root=FOLDER",
        )
    _run(source, overrides, flags, resume=resume, anyway=anyway)


def _interval_of_environment(overrides: Sequence[str]) -> list[str]:
    """What SAVE_INTERVAL sets: more than a file says, and less than the command line does."""
    given = os.environ.get(INTERVAL_VARIABLE, "").strip()
    if not given or any(one.startswith(("output.save_interval=", "output=")) for one in overrides):
        return []
    if not (given.isascii() and given.isdigit()):
        raise UsageError(
            f"The environment variable {INTERVAL_VARIABLE} is no whole number.",
            expected="the number of epochs between two kept checkpoints, 0 for none",
            got=given,
            where=INTERVAL_VARIABLE,
            remedy="set a number, or unset it and give output.save_interval=NUMBER",
        )
    setting = f"output.save_interval={int(given)}"
    if is_first_process():
        click.echo(f"{setting}, as the environment variable {INTERVAL_VARIABLE} says")
    return [setting]


def _run(
    source: str | None,
    overrides: Sequence[str],
    flags: Mapping[str, Any],
    *,
    resume: str | None = None,
    anyway: Sequence[str] = (),
) -> None:
    from sightline.categories import run_training
    from sightline.pipeline import Plan, Request
    from sightline.resume import Resume

    applies = flags.get("skip_training", False) and not flags.get("optimize", False)
    if source is not None and resume is None and not applies:
        overrides = [*_interval_of_environment(overrides), *overrides]
    run_training(
        Request(
            source,
            overrides,
            command_line(),
            plan=Plan(**flags),
            resume=None if resume is None else Resume(resume, anyway),
            say=click.echo if is_first_process() else None,
        )
    )
