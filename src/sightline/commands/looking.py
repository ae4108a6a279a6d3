"""Commands that show what runs there are and what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sightline.commands.options import (
    EXP_DIR_OPTION,
    JSON_OPTION,
    RUN,
    find,
    is_typed,
    print_json,
    print_table,
    renew_report,
    say,
)
from sightline.errors import UsageError
from sightline.runs.folder import RUN_FILE
from sightline.runs.listing import SORT_KEYS, Info, best_of, run_seconds, sorted_runs

if TYPE_CHECKING:
    from sightline.reports.training_panels import Recall


@click.command("list")
@EXP_DIR_OPTION
@click.option("--task", default=None, help="Only runs of this task.")
@click.option("--sort", type=click.Choice(SORT_KEYS), default="created", show_default=True,
              help="best: the best of each metric first; duration: the longest first.")  # fmt: skip
@click.option("--most", type=click.IntRange(min=1), default=30, show_default=True,
              help="How many runs to show.")  # fmt: skip
@JSON_OPTION
def list_command(exp_dir: Path, task: str | None, sort: str, most: int, as_json: bool) -> None:
    """List runs, the newest first.

    \b
    Examples:
      sightline list --most 5
      sightline list --task reid --sort best
    """
    from sightline.runs import displayed_status, list_runs

    known = list_runs(exp_dir)
    runs = sorted_runs([one for one in known if task in (None, one.get("task"))], sort)
    if as_json:
        print_json([{**info, "status": displayed_status(info)} for info in runs[:most]])
    elif runs:
        _print_runs(runs, most, with_time=sort == "duration")
    else:
        click.echo(f"no runs {f'of {task} ' if task and known else ''}in {exp_dir.absolute()}")


def _print_runs(runs: Sequence[Info], most: int, *, with_time: bool) -> None:
    from sightline.runs import displayed_status

    rows = [["RUN", "TASK", "STATUS", "BEST", "EPOCH", *(["TIME"] if with_time else [])]]
    for info in runs[:most]:
        best, seconds = best_of(info), run_seconds(info)
        chosen = info.get("best")
        epoch = chosen.get("epoch") if isinstance(chosen, Mapping) else None
        cells = [str(info["id"]), str(info.get("task") or ""), displayed_status(info)]
        cells += [f"{best[0]} {best[1]:.4f}" if best else "", str(epoch or "")]
        time = "" if seconds is None else _clock(seconds)
        rows.append([*cells, *([time] if with_time else [])])
    print_table(rows)
    if len(runs) > most:
        click.echo(f"... and {len(runs) - most} more runs (--most N)")


def _clock(seconds: float) -> str:
    """The time as hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


@click.command()
@RUN
@EXP_DIR_OPTION
@click.option("--experiment-id", metavar="UUID", default=None, help="Another way to name the run.")
@click.option("--save", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="Only the picture of the training, as .png or .html.")  # fmt: skip
@click.option("--no-recall", is_flag=True, help="Leave kNN recall out.")
@click.option("--recall-history", is_flag=True, help="Draw recall by epoch instead of at the end.")
@click.option("--list", "only_list", is_flag=True, help="List the runs there are, draw nothing.")
@click.pass_context
def plot(
    context: click.Context,
    run: str,
    exp_dir: Path,
    experiment_id: str | None,
    save: Path | None,
    no_recall: bool,
    recall_history: bool,
    only_list: bool,
) -> None:
    """Draw a run's curves and confusion matrices as PNG, with the numbers behind each as CSV.

    \b
    Examples:
      sightline plot latest
      sightline plot latest --recall-history --save curves.html
    """
    if only_list:
        context.invoke(list_command, exp_dir=exp_dir)
        return
    folder = _folder_of(_named(run, experiment_id), exp_dir)
    for file in _draw(folder, save, _recall_shown(no_recall, recall_history)):
        click.echo(str(file))


def _draw(folder: Path, save: Path | None, recall: Recall) -> list[Path]:
    from sightline.reports.comparison_page import checked_target
    from sightline.reports.record import read_run_record
    from sightline.reports.run_figures import write_run_figures
    from sightline.reports.training_page import notes_on, write_training_curves

    target = checked_target(save) if save else folder / "figures" / "training_curves.png"
    record = read_run_record(folder)
    for note in notes_on(record):
        say(f"note: {note}")
    if save:
        return write_training_curves(record, target, recall=recall)
    files = write_run_figures(folder)
    if record.computed or not any(row.get("event") == "epoch" for row in record.rows):
        return files
    return [*files, *write_training_curves(record, target, recall=recall)]


def _named(run: str, experiment_id: str | None) -> str:
    if experiment_id is None:
        return run
    if is_typed("run"):
        raise UsageError(
            "The run is named twice.",
            expected="RUN or --experiment-id, not both",
            got=f"{run} and --experiment-id {experiment_id}",
        )
    return experiment_id


def _folder_of(reference: str, exp_dir: Path) -> Path:
    """The folder of the run; one whose run.json lacks what a run must have can be drawn as well."""
    folder = Path(reference)
    return folder.absolute() if (folder / RUN_FILE).is_file() else find(reference, exp_dir).path


def _recall_shown(no_recall: bool, recall_history: bool) -> Recall:
    if no_recall and recall_history:
        raise UsageError(
            "--no-recall and --recall-history contradict each other.",
            expected="at most one of the two",
            got="both",
        )
    return "none" if no_recall else "history" if recall_history else "final"


@click.command()
@RUN
@EXP_DIR_OPTION
def report(run: str, exp_dir: Path) -> None:
    """Write a run's page: one HTML file that opens from disk.

    \b
    Example: sightline report latest
    """
    click.echo(str(renew_report(find(run, exp_dir))))
