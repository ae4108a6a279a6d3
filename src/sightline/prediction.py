"""`sightline predict`: a trained model's answers for files that were not part of its data."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sightline.config.image_size import size_of
from sightline.data.dataset import open_images
from sightline.data.decoding import every_bad_file_named
from sightline.data.image_files import list_images
from sightline.data.images import Images
from sightline.data.manifest import Manifest, shortened
from sightline.data.table import read_header, read_table
from sightline.data.tta import tta_views
from sightline.errors import DataError, RunError, UsageError
from sightline.evaluation import as_csv
from sightline.reports.overlays import write_overlays
from sightline.runs import RunFolder, file_hash, write_atomically
from sightline.tasks.config import TaskConfig, of_pictures
from sightline.tasks.retrieval_decision import RetrievalDecision, open_other_gallery
from sightline.trained import require_answers
from sightline.trained.acceptance import Table, find_acceptance, in_words, with_bins
from sightline.trained.predictor import Predictor, create_predictor
from sightline.training.runtime import cache_folder

Say = Callable[[str], object]


def predict_files(  # noqa: PLR0913 (what may be said on the command line)
    run: RunFolder,
    inputs: Sequence[Path],
    *,
    checkpoint: str | None = None,
    tta: str | None = None,
    use_calibration: bool | None = None,
    accept_accuracy: float | None = None,
    heat_maps: Path | None = None,
    index: Path | None = None,
    device: str = "auto",
    say: Say = print,
) -> Table:
    """Columns and one row per image (id, prediction, confidence, probabilities), in input order.

    Inputs are images, folders of images, or a CSV whose first column names images beside it.
    What is left out is as the run's `infer` section says. Raises DataError for a path that is
    missing, holds no image, or an image that is unreadable. `heat_maps` is a folder for each
    picture under its heat map, where the run's task makes any; `index` a gallery to compare with
    instead of the run's own.
    """
    # An image that is named twice, itself and by its folder, gets one row.
    files = list(dict.fromkeys(file for path in inputs for file in _files(path)))
    if heat_maps is not None:
        require_answers(run, "scores", "a heat map")
        _refuse_drawing_over(heat_maps, files)
    predictor = create_predictor(
        run, checkpoint=checkpoint, tta=tta, use_calibration=use_calibration, device=device
    )
    ids = [str(file) for file in files]
    manifest = Manifest.build(Path(), id=ids, path=[str(file.absolute()) for file in files])
    return predict_samples(
        predictor,
        manifest,
        accept_accuracy=accept_accuracy,
        heat_maps=heat_maps,
        index=index,
        say=say,
    )


def predict_samples(
    predictor: Predictor,
    samples: Manifest,
    *,
    accept_accuracy: float | None = None,
    heat_maps: Path | None = None,
    index: Path | None = None,
    say: Say = print,
) -> Table:
    """Columns and one row per sample, in their order; `accepted` is one where a run abstains.

    `accept_accuracy` is the run's own where it is left out, and 0 accepts everything.
    """
    infer = getattr(predictor.config, "infer", None)
    wanted = getattr(infer, "accept_accuracy", None) if accept_accuracy is None else accept_accuracy
    threshold = None
    if wanted:
        found = find_acceptance(predictor, wanted)
        say(in_words(found, wanted))
        threshold = found.threshold
    # Before the pictures are looked at, which may take long: is there all that the answer needs?
    decision = _decision(predictor, index, say)

    def note(message: str) -> None:
        say(message)

    once = len(predictor.members) * len(tta_views(predictor.tta)) == 1

    def opened(rows: Manifest, config: TaskConfig) -> Images:
        # Pictures that are looked at once are not worth keeping; more often, they are.
        changes = {"on_bad_image": "error"} | ({"cache": "off"} if once else {})
        pictures = of_pictures(config)
        settings = pictures.data.model_copy(update=changes)
        size, folder = pictures.train.img_size, pictures.data.cache_dir or cache_folder()
        return open_images(rows, settings, size=size, cache_dir=folder, say=note)[0]

    with every_bad_file_named(
        samples, shorter_side=size_of(of_pictures(predictor.config).train.img_size).shorter
    ):
        used, _ = predictor.answer(samples, opened)
    class_names = tuple(predictor.run.info["data"]["classes"])
    table = predictor.task.predict([used], class_names, decision)
    if heat_maps is not None:
        files = [samples.file(row) for row in range(len(samples))]
        drawn = write_overlays(
            heat_maps, files, used["maps"], of_pictures(predictor.config).data.fit
        )
        rows = [[*row, str(file)] for row, file in zip(table[1], drawn, strict=True)]
        table = [*table[0], "heat_map"], rows
    return with_bins(table, threshold)


def _decision(predictor: Predictor, index: Path | None, say: Say) -> Any:
    """What the run decides by, with another gallery where one is given."""
    if index is not None:
        require_answers(predictor.run, "neighbours", "a gallery to compare with")
    decision = predictor.decision
    if not isinstance(decision, RetrievalDecision):
        return decision
    if index is not None:
        member = predictor.members[0]
        sha256 = file_hash(member.run.ckpt / member.checkpoint)
        decision = open_other_gallery(decision, index, sha256)
    for note in decision.remarks():
        say(note)
    return decision


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


def refuse_overwriting(target: Path, inputs: Sequence[Path]) -> None:
    """Raise UsageError where the answers would take the place of what they are made of."""
    if target.exists() and any(one.exists() and target.samefile(one) for one in inputs):
        raise UsageError(
            "The answers would replace the file that asks for them.",
            got=target,
            where="--out",
            remedy="name another file with --out FILE",
        )


def _refuse_drawing_over(folder: Path, files: Sequence[Path]) -> None:
    """Raise UsageError where heat maps, which have the names of the pictures, would replace one."""
    if folder.exists() and not folder.is_dir():
        raise UsageError("The folder of heat maps is a file.", got=folder, where="--heat-maps")
    within = {one.parent.resolve() for file in files for one in (file, file.resolve())}
    if folder.resolve() in within:
        raise UsageError(
            "The heat maps would replace the pictures that they are of.",
            got=folder,
            where="--heat-maps",
            remedy="name another folder with --heat-maps FOLDER",
        )


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
    first = read_header(table, [])[0][0]
    names = read_table(table, {"the first column": first}).columns[first]
    files = [table.parent / str(name) for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise DataError(
            f"{len(missing)} of the {len(files)} images that the table names are not there.",
            expected="a header, then one image path per line, relative to the table",
            got=shortened(missing),
            where=table.absolute(),
        )
    return files
