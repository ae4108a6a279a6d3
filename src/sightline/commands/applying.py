"""Commands that apply a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sightline.commands.options import (
    CALIBRATION,
    CHECKPOINT,
    DEVICE,
    EXP_DIR_OPTION,
    JSON_OPTION,
    RUN,
    TTA,
    command_line,
    find,
    print_json,
    renew_report,
    say,
)
from sightline.errors import UsageError

if TYPE_CHECKING:
    pass

FILE = click.Path(path_type=Path)


@click.command()
@RUN
@click.option("--split", type=click.Choice(["val", "test"]), default="val", show_default=True,
              help="val as often as you like; each reading of test is recorded.")  # fmt: skip
@CHECKPOINT
@TTA
@CALIBRATION
@DEVICE
@EXP_DIR_OPTION
@JSON_OPTION
def evaluate(
    run: str,
    split: str,
    checkpoint: str | None,
    tta: str | None,
    use_calibration: bool | None,
    device: str,
    exp_dir: Path,
    as_json: bool,
) -> None:
    """Score a split with a trained run and renew its report.

    \b
    Example: sightline evaluate latest --split test
    """
    from sightline.evaluation import evaluate_run

    folder = find(run, exp_dir)
    result = evaluate_run(
        folder,
        split,
        command=command_line(),
        checkpoint=checkpoint,
        tta=tta,
        use_calibration=use_calibration,
        device=device,
    )
    report_path = renew_report(folder)
    if as_json:
        print_json({"run": folder.id, "split": split, **result.as_dict()})
        return
    for line in result.summary():
        click.echo(f"{split} {line}")
    reads = len(folder.info["test_reads"])
    if split == "test" and reads > 1:
        click.echo(f"note: the sealed test of this run was read {reads} times, now included")
    click.echo(f"report {report_path}")


@click.command("infer-config")
@click.argument("names", nargs=-1, metavar="[YYYYMMDD|RUN] FILES...")
@click.option("--latest-train", is_flag=True, help="The run that latest-train leads to.")
@click.option("--latest", is_flag=True, help="The newest run that has a checkpoint.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@EXP_DIR_OPTION
def infer_config(
    names: tuple[str, ...], latest_train: bool, latest: bool, dry_run: bool, exp_dir: Path
) -> None:
    """Point inference files at a run; all else in them stays as it is.

    \b
    Examples:
      sightline infer-config --latest-train infer.yaml
      sightline infer-config 20260901 infer.yaml --dry-run
    """
    from sightline.infer_config import apply_change, choose_run, plan_changes

    if latest_train and latest:
        raise UsageError(
            "--latest-train and --latest name two runs.", remedy="leave out one of them"
        )
    files = [Path(name) for name in (names if latest_train or latest else names[1:])]
    if not files:
        raise UsageError(
            "Nothing says which file to change, or which run to point it at.",
            expected="--latest-train, --latest, YYYYMMDD or a run, and then files",
            remedy="for example: sightline infer-config --latest-train infer.yaml",
        )
    which = None if latest_train or latest else names[0]
    run = choose_run(exp_dir, which=which, newest=latest, say=say)
    for change in plan_changes(files, run):
        backup = None if dry_run else apply_change(change)
        click.echo(f"{change.file}: {change.old} -> {change.new}")
        if change.old == change.new:
            click.echo("  unchanged")
        elif backup is not None:
            click.echo(f"  the file as it was: {backup}")
    if dry_run:
        click.echo("nothing was written (--dry-run)")
