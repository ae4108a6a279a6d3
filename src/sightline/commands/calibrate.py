"""The command that calibrates a run."""

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
    say,
)


@click.command()
@RUN
@click.option("--method", type=click.Choice(["temperature", "vector"]), default="temperature",
              show_default=True, help="One number, or a scale and offset per class.")  # fmt: skip
@EXP_DIR_OPTION
@JSON_OPTION
def calibrate(run: str, method: str, exp_dir: Path, as_json: bool) -> None:
    """Make a run's probabilities say how often they are right, judged on its validation images.

    \b
    Example: sightline calibrate latest
    """
    from sightline.calibrate import calibrate_run

    folder = find(run, exp_dir)
    found = calibrate_run(folder, method, say)
    report_path = renew_report(folder)
    if as_json:
        print_json({"run": folder.id, **found.as_dict()})
        return
    rows = [("", "BEFORE", "AFTER")]
    for name, before in found.before.items():
        rows.append((name, f"{before:.4f}", f"{found.after[name]:.4f}"))
    print_table(rows)
    used = sum(one.adopted for one in found.members.values())
    count = len(found.members)
    if found.combined is not None:
        used, count = used + found.combined.adopted, count + 1
    click.echo(
        f"{method} on {found.n} {found.split} images, {used} of {count} adopted; "
        "AFTER is of images that were not fitted on"
    )
    click.echo(f"report {report_path}")
