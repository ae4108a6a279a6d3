"""The command that sends a run to trackers."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.commands.options import EXP_DIR_OPTION, OVERRIDES, RUN, find


@click.command()
@RUN
@OVERRIDES
@click.option("--to", "to", multiple=True, type=click.Choice(["wandb", "tensorboard", "mlflow"]),
              help="The tracker, once or more; default: the run's tracking.to.")  # fmt: skip
@click.option("--again", is_flag=True, help="Send all of it, to a new run of the tracker.")
@EXP_DIR_OPTION
def track(
    run: str, overrides: tuple[str, ...], to: tuple[str, ...], again: bool, exp_dir: Path
) -> None:
    """Send a run to W&B, TensorBoard or MLflow, now or long after it was trained.

    Only what the tracker does not have is sent. A run that is still trained is followed to its
    end. KEY=VALUE are keys of the section `tracking`. Variables of the trackers, such as
    WANDB_API_KEY, may stand in a file .env here.

    \b
    Examples:
      sightline track latest --to wandb project=digits tags=[first]
      sightline track latest --to tensorboard --to mlflow
      sightline track digits_20260101 --to wandb --again
    """
    from sightline.track import track_run

    if "=" in run:
        overrides, run = (run, *overrides), "latest"
    track_run(find(run, exp_dir), to, overrides, again=again, say=click.echo)
