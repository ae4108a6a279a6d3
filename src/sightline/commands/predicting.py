"""The command that answers for pictures and vectors with a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sightline.commands.options import (
    CALIBRATION,
    CHECKPOINT,
    DEVICE,
    EXP_DIR_OPTION,
    RUN,
    TTA,
    find,
    is_typed,
    say,
    typed_options,
)
from sightline.errors import UsageError

if TYPE_CHECKING:
    from sightline.runs import RunFolder

FILE = click.Path(path_type=Path)


@click.command()
@RUN
@click.argument("inputs", nargs=-1)
@click.option(
    "--out", type=FILE, default=None, help="A .csv or .json file; of vectors .npy or .csv."
)
@click.option("--sample", type=FILE, default=None,
              help="A sample submission: answer its ids, in its order.")  # fmt: skip
@click.option("--images", type=FILE, default=None, help="The folder of the sample's images.")
@click.option("--config", "source", default=None, metavar="FILE",
              help="An inference file; KEY=VALUE and options change it.")  # fmt: skip
@TTA
@CALIBRATION
@click.option("--accept-accuracy", type=click.FloatRange(0, 1, max_open=True), default=None,
              help="Abstain where validation shows less than this accuracy; 0: never.")  # fmt: skip
@click.option("--heat-maps", type=FILE, default=None,
              help="A folder for each image under its heat map (anomaly detection).")  # fmt: skip
@click.option("--index", type=FILE, default=None,
              help="A gallery made with `sightline index` (retrieval).")  # fmt: skip
@CHECKPOINT
@DEVICE
@EXP_DIR_OPTION
def predict(run: str, inputs: tuple[str, ...], source: str | None, **options: Any) -> None:
    """Write a run's answers for images, folders of images, a CSV of images, or tables of vectors.

    \b
    Examples:
      sightline predict latest new_photos --out predictions.csv
      sightline predict latest parts --out scores.csv --heat-maps seen
      sightline predict latest photos --out answers.csv --index gallery
      sightline predict latest vectors.npy --out shorter.npy
      sightline predict RUN/codec vectors.npy --out codes.npy
      sightline predict latest --sample sample_submission.csv --images test
      sightline predict --config infer.yaml infer.tta=flip
    """
    if source is not None:
        _refuse_for_inputs_only(options)
        words = [run, *inputs] if is_typed("run") else []
        _predict_by_file(source, words, typed_options(options))
    elif options["sample"] is not None:
        _refuse_for_inputs_only(options)
        _predict_sample(run, inputs, options)
    else:
        _predict_inputs(run, inputs, options)


def _refuse_for_inputs_only(options: dict[str, Any]) -> None:
    """Take out options that only images on the command line have; UsageError where one is given."""
    for name, flag in (("heat_maps", "--heat-maps"), ("index", "--index")):
        if options.pop(name) is not None:
            raise UsageError(
                f"{flag} is used only with images that are named after the run.",
                remedy=f"leave it out, or: sightline predict RUN FOLDER --out FILE {flag} FOLDER",
            )


def _predict_by_file(source: str, words: list[str], given: dict[str, Any]) -> None:
    """What --config does: the words are KEY=VALUE, but for one that may name a run."""
    from sightline.inference import load_inference, run_inference

    runs = [word for word in words if "=" not in word]
    if len(runs) > 1:
        raise UsageError(
            "With --config, the images are named in the file.",
            expected="KEY=VALUE, or a run",
            got=" ".join(runs),
            remedy="set images=FOLDER",
        )
    keys = {"sample": "sample_csv"}
    keys |= {name: f"infer.{name}" for name in ("tta", "use_calibration", "accept_accuracy")}
    flags = {keys.get(name, name): value for name, value in given.items()}
    if runs:
        flags["run"] = runs[0]
    config = load_inference(source, [word for word in words if "=" in word], flags=flags)
    run_inference(config, say=click.echo)


def _predict_sample(run: str, inputs: tuple[str, ...], options: dict[str, Any]) -> None:
    from sightline.submission import write_submission

    if inputs:
        raise UsageError(
            "With --sample, the ids say which images are answered for.",
            got=" ".join(inputs),
            remedy="name their folder with --images FOLDER",
        )
    folder = find(run, options.pop("exp_dir"))
    write_submission(folder, **options, say=click.echo)


def _predict_inputs(run: str, inputs: tuple[str, ...], options: dict[str, Any]) -> None:
    from sightline.encoding import codec_of
    from sightline.prediction import (
        predict_files,
        refuse_overwriting,
        require_writable,
        write_predictions,
    )

    if options.pop("images") is not None:
        raise UsageError(
            "--images is used only with --sample or --config.",
            remedy="name the images after the run: sightline predict RUN FOLDER --out FILE",
        )
    if not inputs:
        raise click.MissingParameter(param_hint="'INPUTS...'", param_type="argument")
    out, exp_dir = options.pop("out"), options.pop("exp_dir")
    if out is None:
        raise click.MissingParameter(param_hint="'--out'", param_type="option")
    del options["sample"]
    files = [Path(name) for name in inputs]
    refuse_overwriting(out, files)
    source = codec_of(Path(run)) or find(run, exp_dir)
    if not isinstance(source, Path) and source.info.get("kind") == "compression search":
        source = Path(source.info["codec"])
    if isinstance(source, Path) or source.info.get("task") == "compress":
        _encode(source, files, out, options)
        return
    require_writable(out)
    columns, rows = predict_files(source, files, **options, say=say)
    write_predictions(out, columns, rows)
    click.echo(f"{len(rows)} predictions in {out}")


def _encode(
    source: RunFolder | Path, files: list[Path], out: Path, options: dict[str, Any]
) -> None:
    """Write the shorter vectors, or codes, of tables; UsageError for options of pictures."""
    from sightline.encoding import encode_files, encoder_of_codec, encoder_of_run

    is_codec = isinstance(source, Path)
    read = {} if is_codec else {name: options.pop(name) for name in ("checkpoint", "device")}
    given = [name for name, value in options.items() if value not in (None, "auto")]
    if given:
        kind = "codecs" if is_codec else "runs that compress vectors"
        raise UsageError(
            f"--{given[0].replace('_', '-')} is not for {kind}.",
            remedy="leave it out: sightline predict RUN VECTORS --out FILE.npy",
        )
    if isinstance(source, Path):
        encoder = encoder_of_codec(source)
    else:
        encoder = encoder_of_run(source, **read)
    count = encode_files(encoder, files, out)
    click.echo(f"{count} vectors of {encoder.width} {encoder.dtype} numbers in {out}")
