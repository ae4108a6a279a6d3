"""The command that runs a sweep file of W&B."""

from __future__ import annotations

from dataclasses import asdict

import click

from sightline.commands.options import JSON_OPTION, OVERRIDES, command_line, print_json, say


@click.command()
@click.argument("source", required=False)
@OVERRIDES
@click.option("--sweep-config", required=True, metavar="FILE", help="A sweep file of W&B.")
@click.option("--count", type=click.IntRange(min=1),
              help="Trials of the whole sweep; by default run_cap of the file, or 10.")  # fmt: skip
@click.option("--to", "steered_by", type=click.Choice(["local", "wandb"]), default="local",
              show_default=True,
              help="Who chooses the values: this machine, without an account, or W&B.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True,
              help="Trials at a time.")  # fmt: skip
@click.option("--storage", metavar="FILE|URL",
              help="An SQLite file or postgresql://...; by default with the study.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="No trial begins after this time.")  # fmt: skip
@JSON_OPTION
def sweep(
    source: str | None,
    overrides: tuple[str, ...],
    sweep_config: str,
    count: int | None,
    steered_by: str,
    workers: int,
    storage: str | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Run a sweep file of W&B: each trial is a training in a process of its own.

    SOURCE is a recipe or configuration file; by default what `program` of the sweep file names. The
    same command goes on with a sweep that was interrupted.

    \b
    Example: sightline sweep --sweep-config sweep.yaml --count 20 reid/baseline data.root=photos
    """
    from sightline.sweep import SweepOptions, run_sweep, sweep_on_wandb

    if source is not None and "=" in source:
        overrides, source = (source, *overrides), None
    tell = say if as_json else click.echo
    if steered_by == "wandb":
        unread = {"--workers": workers != 1, "--storage": storage, "--timeout": timeout}
        for name in (name for name, value in unread.items() if value):
            raise click.UsageError(f"{name} is not read with --to wandb")
    options = SweepOptions(command_line(), count, workers, storage, timeout)
    if steered_by == "wandb":
        done = sweep_on_wandb(sweep_config, source, overrides, options, say=tell)
        tell(f"{done.finished} trials finished, {done.failed} failed; logs in {done.folder}/logs")
        if as_json:
            print_json(asdict(done))
        return
    outcome = run_sweep(sweep_config, source, overrides, options, say=tell)
    if as_json:
        trials = [trial.as_dict() for trial in outcome.trials]
        print_json({**outcome.summary, "folder": outcome.folder, "trials": trials})
