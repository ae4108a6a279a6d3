"""Commands that apply a trained run."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.commands.options import (
    CHECKPOINT,
    DEVICE,
    EXP_DIR_OPTION,
    JSON_OPTION,
    RUN,
    command_line,
    find,
    print_json,
    renew_report,
    say,
)


@click.command()
@RUN
@click.option("--split", type=click.Choice(["val", "test"]), default="val", show_default=True,
              help="val as often as you like; each reading of test is recorded.")  # fmt: skip
@CHECKPOINT
@DEVICE
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

    folder = find(run, exp_dir)
    result = evaluate_run(
        folder, split, command=command_line(), checkpoint=checkpoint, device=device
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


@click.command()
@RUN
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="A .csv or .json file.")  # fmt: skip
@CHECKPOINT
@DEVICE
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
        find(run, exp_dir), inputs, checkpoint=checkpoint, device=device, say=say
    )
    write_predictions(out, columns, rows)
    click.echo(f"{len(rows)} predictions in {out}")
