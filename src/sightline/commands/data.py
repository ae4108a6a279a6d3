"""Commands that look at data before anything is trained."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.commands.options import (
    JSON_OPTION,
    OVERRIDES,
    SOURCE,
    print_json,
)


@click.command()
@SOURCE
@OVERRIDES
@click.option("--near-duplicates/--no-near-duplicates", default=True, show_default=True)
@JSON_OPTION
def check(source: str, overrides: tuple[str, ...], near_duplicates: bool, as_json: bool) -> None:
    """Look for what would make training wrong: corrupt, missing, duplicate or leaking images.

    SOURCE is a folder, a CSV, a recipe or a configuration file. Exit code 1 when training would be
    wrong.

    \b
    Example: sightline check photos
    """
    from sightline.checking import check_source, report_lines

    report = check_source(source, overrides, near_duplicates=near_duplicates)
    if as_json:
        print_json(report.as_dict())
    else:
        click.echo("\n".join(report_lines(report, paint=click.style)))
    raise SystemExit(report.exit_code)


@click.command()
@SOURCE
@OVERRIDES
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The CSV to write; in retrieval also a folder.",
)
def split(source: str, overrides: tuple[str, ...], out: Path) -> None:
    """Fix the fit, val and test splits (and folds) of some data in a file.

    Groups stay whole, classes keep their shares, the test is sealed. Train on it with
    data.manifest=FILE. What retrieval leaves out is listed beside it.

    \b
    Example: sightline split photos --out splits.csv data.test_fraction=0.2
    """
    from sightline.checking import split_source

    click.echo(split_source(source, overrides, out))
