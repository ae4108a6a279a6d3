"""`sightline predict`: a trained model's answers for files that were not part of its data."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sightline.data.dataset import open_images
from sightline.data.image_files import list_images
from sightline.data.manifest import Manifest, shortened
from sightline.errors import DataError, RunError, UsageError
from sightline.evaluation import as_csv
from sightline.experiment import loader_for
from sightline.runs import RunFolder, write_atomically
from sightline.trained import load_trained
from sightline.training.runtime import cache_folder


def predict_files(
    run: RunFolder,
    inputs: Sequence[Path],
    *,
    checkpoint: str = "best_model.pth",
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> tuple[list[str], list[list[Any]]]:
    """Columns and one row per image (id, prediction, confidence, probabilities), in input order.

    Inputs are images, folders of images, or a CSV whose first column names images beside it.
    Raises DataError for a path that is missing, holds no image, or an image that is unreadable.
    """
    # An image that is named twice, itself and by its folder, gets one row.
    files = list(dict.fromkeys(file for path in inputs for file in _files(path)))
    trained = load_trained(run, checkpoint=checkpoint, device=device)
    ids = [str(file) for file in files]
    manifest = Manifest.build(Path(), id=ids, path=[str(file.absolute()) for file in files])
    images, _ = open_images(
        manifest,
        trained.config.data.model_copy(update={"cache": "off", "on_bad_image": "error"}),
        size=trained.config.train.img_size,
        cache_dir=cache_folder(),
        say=say,
    )
    loader = loader_for(images, trained.config, device=trained.device, training=False)
    return trained.task.predict(trained.outputs(loader), trained.class_names)


def require_writable(target: Path) -> None:
    """Raise, before any work is done, where the predictions could not be written to this file."""
    if target.suffix.lower() not in (".csv", ".json"):
        raise UsageError(
            "The ending of the predictions' file does not say what it is to hold.",
            expected="a name that ends in .csv or .json",
            got=target,
            where="--out",
        )
    if target.is_dir():
        raise UsageError("The predictions' file is a folder.", got=target, where="--out")
    existed = target.exists()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab"):
            pass
        if not existed:
            target.unlink()
    except OSError as error:
        raise _unwritable(target, error.strerror) from error


def write_predictions(target: Path, columns: list[str], rows: list[list[Any]]) -> None:
    """Write a CSV, or JSON records where the name ends in .json; beside it first, then renamed."""
    text = as_csv([columns, *rows])
    if target.suffix.lower() == ".json":
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        text = json.dumps(records, indent=1) + "\n"
    try:
        write_atomically(target, text)
    except RunError as error:
        raise _unwritable(target, error.got) from error


def _unwritable(target: Path, reason: object) -> DataError:
    return DataError(
        "The predictions cannot be written.",
        got=reason,
        where=target.absolute(),
        remedy="name a file in a folder you may write to, with room on the disk: --out FILE",
    )


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = [path / str(name) for name in list_images(path)]
        if not found:
            raise DataError(
                "The folder holds no images.",
                expected="jpg, jpeg, png, webp, bmp or tif files in it or its folders",
                where=path.absolute(),
            )
        return found
    if not path.exists():
        raise DataError(
            "The input is not there.",
            expected="an image, a folder of images, or a CSV",
            where=path.absolute(),
            remedy="paths on the command line are relative to the working directory",
        )
    return _listed_in(path) if path.suffix.lower() == ".csv" else [path]


def _listed_in(table: Path) -> list[Path]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as handle:
            names = [row[0] for row in csv.reader(handle) if row][1:]
    except UnicodeDecodeError as error:
        raise DataError(
            "The table is not UTF-8 text.",
            got=f"byte {error.object[error.start]:#04x} at position {error.start}",
            where=table.absolute(),
            remedy="save it as CSV UTF-8",
        ) from error
    files = [table.parent / name for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise DataError(
            f"{len(missing)} of the {len(files)} images that the table names are not there.",
            expected="a header, then one image path per line, relative to the table",
            got=shortened(missing),
            where=table.absolute(),
        )
    return files
