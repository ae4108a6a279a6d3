"""What the commands share: their options, and small steps that most of them end with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sightline.console import table_lines

if TYPE_CHECKING:
    from sightline.runs import RunFolder

EXP_DIR = Path("experiments/train")
"""Where runs are looked for unless --exp-dir says otherwise; the default of output.exp_dir."""

RUN = click.argument("run", default="latest")
SOURCE = click.argument("source")
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
EXP_DIR_OPTION = click.option(
    "--exp-dir", type=click.Path(path_type=Path), default=EXP_DIR, help="Where the runs are."
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
CHECKPOINT = click.option(
    "--checkpoint", default=None, help="One checkpoint; by default the best, of folds each."
)
DEVICE = click.option("--device", default="auto", show_default=True)
TTA = click.option(
    "--tta", type=click.Choice(["none", "flip", "essential", "comprehensive"]), default=None,
    help="Views of each picture to average; by default as the run says.",
)  # fmt: skip
CALIBRATION = click.option(
    "--use-calibration/--no-calibration", "use_calibration", default=None,
    help="By default a calibration is used where the run has one.",
)  # fmt: skip


def find(reference: str, exp_dir: Path) -> RunFolder:
    """Return the run that a RUN argument means."""
    from sightline.runs import find_run

    return find_run(reference, [exp_dir])


def renew_report(run: RunFolder) -> Path:
    """Write the run's page anew and return its path."""
    from sightline.reports.run_page import write_run_report

    return write_run_report(run.path)


def is_typed(name: str) -> bool:
    """Tell whether a parameter of the command was given, and is not its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def typed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if is_typed(name)}


def command_line() -> list[str]:
    """Return the command under way, as run.json records it."""
    return ["sightline", *sys.argv[1:]]


def is_first_process() -> bool:
    """Tell whether this process speaks for those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str) -> None:
    """Print a remark beside the result."""
    click.echo(message, err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    import json

    click.echo(json.dumps(value, indent=1, default=str))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns."""
    for line in table_lines(rows):
        click.echo(line)
