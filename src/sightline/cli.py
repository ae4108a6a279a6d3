"""The command line: one thin function per command; whatever is heavy is imported inside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sightline.console import error_of_system, show_error, table_lines
from sightline.errors import SightlineError, UsageError

if TYPE_CHECKING:
    from sightline.runs import RunFolder

EXP_DIR = Path("experiments/train")
"""Where runs are looked for unless --exp-dir says otherwise; the default of output.exp_dir."""


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
    if _is_first_process():
        show_error(error)
    else:
        click.echo(f"process {os.environ['RANK']}: {error.what.splitlines()[0]}", err=True)
    return error.exit_code


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sightline", message="%(prog)s %(version)s")
def cli() -> None:
    """Train on your own images with numbers you can trust.

    \b
    sightline demo                                     try it: handwritten digits, about a minute
    sightline train classify/basic data.root=FOLDER    train on a folder with one folder per class
    """


RUN = click.argument("run", default="latest")
EXP_DIR_OPTION = click.option(
    "--exp-dir", type=click.Path(path_type=Path), default=EXP_DIR, help="Where the runs are."
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@cli.command()
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


@cli.command()
@click.argument("source", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
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


@cli.command()
@RUN
@click.option("--split", type=click.Choice(["val", "test"]), default="val", show_default=True,
              help="val as often as you like; each reading of test is recorded.")  # fmt: skip
@click.option("--checkpoint", default="best_model.pth", show_default=True)
@click.option("--device", default="auto", show_default=True)
@EXP_DIR_OPTION
@JSON_OPTION
def evaluate(
    run: str, split: str, checkpoint: str, device: str, exp_dir: Path, as_json: bool
) -> None:
    """Score a split with a trained run and renew its report.

    \b
    Example: sightline evaluate latest --split test
    """
    from sightline.evaluation import evaluate_run

    folder = _find(run, exp_dir)
    result = evaluate_run(folder, split, command=_command(), checkpoint=checkpoint, device=device)
    report_path = _report(folder)
    if as_json:
        _print_json({"run": folder.id, "split": split, **result.as_dict()})
        return
    for line in result.summary():
        click.echo(f"{split} {line}")
    reads = len(folder.info["test_reads"])
    if split == "test" and reads > 1:
        click.echo(f"note: the sealed test of this run was read {reads} times, now included")
    click.echo(f"report {report_path}")


@cli.command()
@RUN
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="A .csv or .json file.")  # fmt: skip
@click.option("--checkpoint", default="best_model.pth", show_default=True)
@click.option("--device", default="auto", show_default=True)
@EXP_DIR_OPTION
def predict(
    run: str, inputs: tuple[Path, ...], out: Path, checkpoint: str, device: str, exp_dir: Path
) -> None:
    """Write a trained run's answers for images, folders of images, or a CSV that lists them.

    \b
    Example: sightline predict latest new_photos --out predictions.csv
    """
    from sightline.prediction import predict_files, require_writable, write_predictions

    require_writable(out)
    columns, rows = predict_files(
        _find(run, exp_dir), inputs, checkpoint=checkpoint, device=device, say=_say
    )
    write_predictions(out, columns, rows)
    click.echo(f"{len(rows)} predictions in {out}")


@cli.command()
@click.argument("source")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
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
        _print_json(report.as_dict())
    else:
        click.echo("\n".join(report_lines(report, paint=click.style)))
    raise SystemExit(report.exit_code)


@cli.command()
@click.argument("source")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The CSV to write.")
def split(source: str, overrides: tuple[str, ...], out: Path) -> None:
    """Fix the fit, val and test splits (and folds) of some data in a file.

    Groups stay whole, classes keep their shares, the test is sealed. Train on it with
    data.manifest=FILE.

    \b
    Example: sightline split photos --out splits.csv data.test_fraction=0.2
    """
    from sightline.checking import split_source

    click.echo(split_source(source, overrides, out))


@cli.command("list")
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
        _print_json([{**info, "status": displayed_status(info)} for info in runs[:most]])
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
    _print_table(rows)
    if len(runs) > most:
        click.echo(f"... and {len(runs) - most} older runs (--most N)")


@cli.command()
@RUN
@EXP_DIR_OPTION
def plot(run: str, exp_dir: Path) -> None:
    """Draw a run's curves and confusion matrices as PNG, with the numbers behind each as CSV.

    \b
    Example: sightline plot latest
    """
    from sightline.reports.run_figures import write_run_figures

    for file in write_run_figures(_find(run, exp_dir).path):
        click.echo(str(file))


@cli.command()
@RUN
@EXP_DIR_OPTION
def report(run: str, exp_dir: Path) -> None:
    """Write a run's page: one HTML file that opens from disk.

    \b
    Example: sightline report latest
    """
    click.echo(str(_report(_find(run, exp_dir))))


@cli.command()
@JSON_OPTION
def recipes(as_json: bool) -> None:
    """List the configurations that come with Sightline.

    \b
    Example: sightline recipes
    """
    from sightline.config import recipe_names, recipe_summary

    found = [(name, recipe_summary(name)) for name in recipe_names()]
    if as_json:
        _print_json([{"name": name, "summary": summary} for name, summary in found])
    else:
        _print_table(found)


@cli.command()
@click.argument("source")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def config(source: str, overrides: tuple[str, ...]) -> None:
    """Print a recipe or file as a complete, commented configuration.

    \b
    Example: sightline config classify/basic train.epochs=20 > mine.yaml
    """
    from sightline.config import load_config, render_config
    from sightline.trained import TASK_CONFIGS

    loaded = load_config(source, overrides, tasks=TASK_CONFIGS)
    click.echo(render_config(loaded, relative_to=Path.cwd()), nl=False)


@cli.command()
@JSON_OPTION
def doctor(as_json: bool) -> None:
    """Say what this machine offers: versions, devices, precision, threads, folders.

    \b
    Example: sightline doctor
    """
    from sightline.doctor import examine

    found = examine()
    if as_json:
        _print_json(
            {one.name: {"ok": one.ok, "found": one.found, "hint": one.hint} for one in found}
        )
    else:
        for one in found:
            mark = {True: "ok  ", False: "FAIL", None: "note"}[one.ok]
            click.echo(
                f"{mark} {one.name:<22} {one.found}"
                + (f"\n       -> {one.hint}" if one.hint else "")
            )
    raise SystemExit(1 if any(one.ok is False for one in found) else 0)


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
        command=_command(),
        resume=None if resume is None else Resume(resume, anyway),
        test=test,
        say=click.echo if _is_first_process() else None,
    )


def _find(reference: str, exp_dir: Path) -> RunFolder:
    from sightline.runs import find_run

    return find_run(reference, [exp_dir])


def _report(run: RunFolder) -> Path:
    from sightline.reports.run_page import write_run_report

    return write_run_report(run.path)


def _command() -> list[str]:
    return ["sightline", *sys.argv[1:]]


def _say(message: str) -> None:
    click.echo(message, err=True)


def _print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=1, default=str))


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    for line in table_lines(rows):
        click.echo(line)
