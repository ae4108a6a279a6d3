"""The command that writes a trained model for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.commands.options import (
    CHECKPOINT,
    EXP_DIR_OPTION,
    JSON_OPTION,
    RUN,
    find,
    print_json,
    say,
)


@click.command()
@RUN
@CHECKPOINT
@click.option("--out", type=click.Path(path_type=Path), default=None,
              help="A .onnx file or a folder; by default RUN/export.")  # fmt: skip
@click.option("--opset", type=click.IntRange(min=1), default=None,
              help="Version of the ONNX operators; by default the exporter's.")  # fmt: skip
@click.option("--samples", type=click.IntRange(3, 1024), default=32, show_default=True,
              help="Samples on which the file is compared with the model.")  # fmt: skip
@click.option("--tolerance", type=click.FloatRange(0, 1, min_open=True), default=1e-4,
              show_default=True,
              help="Largest difference, as a share of an output's largest value.")  # fmt: skip
@EXP_DIR_OPTION
@JSON_OPTION
def export(
    run: str,
    checkpoint: str | None,
    out: Path | None,
    opset: int | None,
    samples: int,
    tolerance: float,
    exp_dir: Path,
    as_json: bool,
) -> None:
    """Write a trained model as ONNX, once it is seen to answer like the model.

    The file takes uint8 RGB images, or float32 vectors where those are compressed, any number at a
    time; model.json beside it says how a picture becomes one, and what was measured.

    \b
    Examples:
      sightline export latest
      sightline export latest --out product.onnx --opset 18
    """
    from sightline.export import ExportSettings, export_run

    done = export_run(
        find(run, exp_dir),
        checkpoint=checkpoint,
        out=out,
        settings=ExportSettings(opset=opset, samples=samples, tolerance=tolerance),
        say=say,
    )
    if as_json:
        print_json({"path": str(done.file), **done.description})
        return
    for line in done.parity.summary():
        click.echo(line)
    click.echo(f"model {done.file}")
