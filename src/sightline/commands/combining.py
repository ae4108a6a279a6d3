"""Commands that make one run of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from sightline.commands.options import DEVICE, EXP_DIR_OPTION, command_line, find

RUNS = click.argument("runs", nargs=-1, required=True, metavar="RUN...")


@click.command()
@RUNS
@click.option("--weights", type=click.Choice(["uniform", "validation"]), default="uniform",
              show_default=True, help="All alike, or those with the least validation loss.",
              )  # fmt: skip
@click.option("--name", default="ensemble", show_default=True, help="First part of its id.")
@DEVICE
@EXP_DIR_OPTION
def ensemble(
    runs: tuple[str, ...],
    weights: Literal["uniform", "validation"],
    name: str,
    device: str,
    exp_dir: Path,
) -> None:
    """Let several runs answer together: a run whose probabilities are the mean of theirs.

    \b
    Example: sightline ensemble RUN RUN --weights validation
    """
    from sightline.ensemble import make_ensemble

    made = make_ensemble(
        [find(run, exp_dir) for run in runs], weighting=weights, **_rest(name, device, exp_dir)
    )
    click.echo(f"run {made.path}")


@click.command()
@RUNS
@click.option("--name", default="soup", show_default=True, help="First part of its id.")
@DEVICE
@EXP_DIR_OPTION
def soup(runs: tuple[str, ...], name: str, device: str, exp_dir: Path) -> None:
    """Average the weights of a run's checkpoints, or of several runs, if validation gains by it.

    \b
    Example: sightline soup latest
    """
    from sightline.soup import make_soup

    made = make_soup([find(run, exp_dir) for run in runs], **_rest(name, device, exp_dir))
    if made is not None:
        click.echo(f"run {made.path}")


def _rest(name: str, device: str, exp_dir: Path) -> dict[str, Any]:
    return {
        "exp_dir": exp_dir,
        "command": command_line(),
        "name": name,
        "device": device,
        "say": click.echo,
    }
