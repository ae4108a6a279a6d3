"""Commands that show what runs there are and what they found."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.commands.options import (
    EXP_DIR_OPTION,
    JSON_OPTION,
    RUN,
    find,
    print_json,
    print_table,
    renew_report,
)


@click.command("list")
@EXP_DIR_OPTION
@click.option("--most", type=click.IntRange(min=1), default=30, show_default=True,
              help="How many of the newest runs.")  # fmt: skip
@JSON_OPTION
def list_command(exp_dir: Path, most: int, as_json: bool) -> None:
    """List runs, the newest first.

    \b
    Example: sightline list --most 5
    """
    from sightline.runs import displayed_status, list_runs

    runs = list_runs(exp_dir)
    if as_json:
        print_json([{**info, "status": displayed_status(info)} for info in runs[:most]])
        return
    if not runs:
        click.echo(f"no runs in {exp_dir.absolute()}")
        return
    rows = [("RUN", "TASK", "STATUS", "BEST", "EPOCH")]
    for info in runs[:most]:
        best = info.get("best") or {}
        value = best.get("value")
        score = "" if value is None else f"{best.get('metric')} {value:.4f}"
        rows.append(
            (
                info["id"],
                info.get("task") or "",
                displayed_status(info),
                score,
                str(best.get("epoch") or ""),
            )
        )
    print_table(rows)
    if len(runs) > most:
        click.echo(f"... and {len(runs) - most} older runs (--most N)")


@click.command()
@RUN
@EXP_DIR_OPTION
def plot(run: str, exp_dir: Path) -> None:
    """Draw a run's curves and confusion matrices as PNG, with the numbers behind each as CSV.

    \b
    Example: sightline plot latest
    """
    from sightline.reports.run_figures import write_run_figures

    for file in write_run_figures(find(run, exp_dir).path):
        click.echo(str(file))


@click.command()
@RUN
@EXP_DIR_OPTION
def report(run: str, exp_dir: Path) -> None:
    """Write a run's page: one HTML file that opens from disk.

    \b
    Example: sightline report latest
    """
    click.echo(str(renew_report(find(run, exp_dir))))
