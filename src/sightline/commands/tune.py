"""The command that searches."""

from __future__ import annotations

import click

from sightline.commands.options import (
    JSON_OPTION,
    OVERRIDES,
    SOURCE,
    command_line,
    print_json,
    say,
)


@click.command()
@SOURCE
@OVERRIDES
@click.option("--space", required=True, metavar="RECIPE|FILE",
              help="What to search: classify/optuna, classify/optuna-fast, or a file.")  # fmt: skip
@click.option("--n-trials", type=click.IntRange(min=1),
              help="Trials of the whole study; by default as the search file says.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True,
              help="Trials at a time.")  # fmt: skip
@click.option("--storage", metavar="FILE|URL",
              help="An SQLite file or postgresql://...; by default with the study.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="No trial begins after this time.")  # fmt: skip
@click.option("--study-name", metavar="NAME", help="Go on with this study, or make it.")
@JSON_OPTION
def tune(
    source: str,
    overrides: tuple[str, ...],
    space: str,
    n_trials: int | None,
    workers: int,
    storage: str | None,
    timeout: float | None,
    study_name: str | None,
    as_json: bool,
) -> None:
    """Search for better settings with real, pruned training runs.

    The same command goes on with a search that was interrupted.

    \b
    Example: sightline tune classify/basic data.root=photos --space classify/optuna
    """
    from sightline.tune import search

    outcome = search(
        source,
        overrides,
        space=space,
        command=command_line(),
        n_trials=n_trials,
        workers=workers,
        storage=storage,
        timeout=timeout,
        study_name=study_name,
        say=say if as_json else click.echo,
    )
    if as_json:
        print_json(
            {
                **outcome.summary,
                "folder": outcome.folder,
                "trials": [trial.as_dict() for trial in outcome.trials],
            }
        )
