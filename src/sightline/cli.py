"""The command line: the group of commands, how it starts, and how it ends."""

from __future__ import annotations

import os
import sys

import click

from sightline.commands import (
    applying,
    calibrate,
    combining,
    compare,
    compress,
    data,
    export,
    index,
    looking,
    predicting,
    settings,
    sweep,
    threshold,
    track,
    training,
    tune,
)
from sightline.commands.options import is_first_process
from sightline.console import error_of_system, show_error
from sightline.errors import SightlineError


def main() -> None:
    """Run a command; exit code 0 success, 1 failure, 2 wrong use, 130 or 143 interrupted."""
    try:
        code = cli.main(prog_name="sightline", standalone_mode=False) or 0
        sys.stdout.flush()
    except SightlineError as error:
        code = _show(error)
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        # The reader went away (`sightline list | head`); nothing is wrong, and nothing can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        known = error_of_system(error)
        if known is None:
            raise
        code = _show(known)
    _leave(code)


def _leave(code: int) -> None:
    """End the process; one of several that torchrun started ends at once.

    Threads that torch keeps for a process group now and then abort the interpreter's usual way
    out, and torchrun would take that for a failure of a run that is finished.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _show(error: SightlineError) -> int:
    """Print an error; of the processes that torchrun started only the first says it in full."""
    if is_first_process():
        show_error(error)
    else:
        click.echo(f"process {os.environ['RANK']}: {error.what.splitlines()[0]}", err=True)
    return error.exit_code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sightline", message="%(prog)s %(version)s")
def cli() -> None:
    """Train on your own images with numbers you can trust.

    \b
    sightline demo                                     try it: handwritten digits, about a minute
    sightline train classify/basic data.root=FOLDER    train on a folder with one folder per class
    """


for command in (
    training.demo,
    training.train,
    tune.tune,
    sweep.sweep,
    applying.evaluate,
    predicting.predict,
    applying.infer_config,
    calibrate.calibrate,
    threshold.threshold,
    index.index,
    track.track,
    compress.compress,
    export.export,
    combining.ensemble,
    combining.soup,
    data.check,
    data.split,
    looking.list_command,
    looking.plot,
    compare.compare,
    looking.report,
    settings.recipes,
    settings.config,
    settings.doctor,
):
    cli.add_command(command)
