"""Commands that train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sightline.commands.options import (
    OVERRIDES,
    command_line,
    is_first_process,
)
from sightline.errors import UsageError


@click.command()
@click.argument("task", type=click.Choice(["classify"]), default="classify")
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
    _train_and_report(f"{task}/digits", settings, test=True)


@click.command()
@click.argument("source", required=False)
@OVERRIDES
@click.option("--resume", metavar="RUN", is_flag=False, flag_value="latest", default=None,
              help="Go on with an unfinished run: its id, its folder, or latest.")  # fmt: skip
@click.option("--resume-anyway", "anyway", metavar="KEY", multiple=True,
              help="A setting that may differ from the resumed run's.")  # fmt: skip
@click.option("--test", is_flag=True,
              help="At the end, read the sealed test split once and report it.")  # fmt: skip
def train(
    source: str | None,
    overrides: tuple[str, ...],
    resume: str | None,
    anyway: tuple[str, ...],
    test: bool,
) -> None:
    """Train a recipe or a configuration file.

    \b
    Examples:
      sightline train classify/basic data.root=photos train.epochs=20 --test
      sightline train mine.yaml train.lr=3e-4
      sightline train --resume
    """
    if source is not None and "=" in source:
        overrides, source = (source, *overrides), None
    if resume is not None and "=" in resume:
        # `--resume KEY=VALUE`: the name of the run was left out.
        overrides, resume = (resume, *overrides), "latest"
    if anyway and resume is None:
        raise UsageError(
            "--resume-anyway says what may differ from a run that goes on, and none was named.",
            remedy="add --resume RUN, or leave it out",
        )
    if source is None and resume is None:
        raise UsageError(
            "Nothing says what to train.",
            expected="a recipe or a configuration file, or --resume RUN",
            remedy="see `sightline recipes`, for example: "
            "sightline train classify/basic data.root=FOLDER",
        )
    _train_and_report(source, overrides, resume=resume, anyway=anyway, test=test)


def _train_and_report(
    source: str | None,
    overrides: Sequence[str],
    *,
    resume: str | None = None,
    anyway: Sequence[str] = (),
    test: bool = False,
) -> None:
    from sightline.pipeline import train_and_report
    from sightline.resume import Resume

    train_and_report(
        source,
        overrides,
        command=command_line(),
        resume=None if resume is None else Resume(resume, anyway),
        test=test,
        say=click.echo if is_first_process() else None,
    )
