"""A submission: a run's answers in the order, and under the header, of a sample submission."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.data.image_files import list_images
from sightline.data.listed_files import (
    find_files,
    refuse_missing,
    refuse_repeated,
    refuse_shared,
    require_folder,
)
from sightline.data.manifest import Manifest, shortened
from sightline.data.table import Table, read_header, read_table
from sightline.errors import DataError, UsageError
from sightline.experiment.recording import logged
from sightline.prediction import (
    Say,
    predict_samples,
    refuse_overwriting,
    require_writable,
    write_predictions,
)
from sightline.runs import RunFolder, log, write_atomically
from sightline.tasks.config import PictureTaskConfig, of_pictures
from sightline.trained import require_answers, run_config
from sightline.trained.predictor import Predictor, create_predictor

SUBMISSIONS = Path("submissions")
"""Where submissions go unless a file is named, one folder for each day."""


@dataclass(frozen=True)
class Sample:
    """A sample submission: what a submission must look like."""

    table: Table
    header: list[str]
    delimiter: str
    id_col: str
    target_col: str

    @property
    def ids(self) -> Any:
        """(N,) texts in the order of the file."""
        return self.table.columns[self.id_col]


def write_submission(  # noqa: PLR0913 (what may be said on the command line)
    run: RunFolder,
    *,
    sample: Path,
    images: Path | None,
    out: Path | None = None,
    checkpoint: str | None = None,
    tta: str | None = None,
    use_calibration: bool | None = None,
    accept_accuracy: float | None = None,
    device: str = "auto",
    say: Say = print,
) -> Path:
    """Answer the sample's ids, write the submission, and return its path.

    Beside it, NAME.probabilities.csv holds the probabilities of each image. Images are looked for
    in `images`, else in the run's data.image_dir_test, else beside the sample. Without `out` the
    name is made of the run's name and date, and never that of a file that is there. What else is
    left out is as the run's `infer` section says. Raises DataError for ids without image, images
    without id, and ids that come twice.
    """
    require_answers(run, "probabilities", "a submission")
    config = of_pictures(run_config(run))
    with logged(run, config, kind="infer"):
        read = read_sample(sample, config)
        if out is not None:
            refuse_overwriting(out, [sample])
            refuse_overwriting(probabilities_beside(out), [sample])
        pictures = find_pictures(read, config, images=images, say=say)
        predictor = create_predictor(
            run, checkpoint=checkpoint, tta=tta, use_calibration=use_calibration, device=device
        )
        log("MODEL", f"{run.id} {predictor.describe()}")
        _require_place(out, predictor, say=say)
        columns, rows = predict_samples(
            predictor, pictures, accept_accuracy=accept_accuracy, say=say
        )
        target = _free_name(predictor) if out is None else out
        answers = [str(row[columns.index("prediction")]) for row in rows]
        write_atomically(target, _as_submission(read, answers))
        details = probabilities_beside(target)
        write_predictions(details, columns, rows)
        say(f"submission {target} ({len(rows)} rows)")
        say(f"probabilities {details}")
    return target


def read_sample(file: Path, config: PictureTaskConfig) -> Sample:
    """The sample submission; DataError where it has no rows, no ids, or an id twice.

    The columns are those of data.id_col and data.target_col; under other names, the first is the
    id, and of two the other the target.
    """
    data = config.data
    header, delimiter = read_header(file, [data.id_col, data.target_col])
    id_col = data.id_col if data.id_col in header else header[0]
    others = [name for name in header if name != id_col]
    target_col = data.target_col if data.target_col in others else others[0] if others else ""
    if not target_col or (target_col != data.target_col and len(others) > 1):
        raise DataError(
            "The sample submission does not show where the answers go.",
            expected=f"a column {data.target_col!r}, or two columns: id and answer",
            got=f"the columns {shortened(header, 20)}",
            where=file,
            remedy="name the columns as in the training table",
        )
    table = read_table(file, {name: name for name in header})
    ids = table.columns[id_col]
    if not len(ids):
        raise DataError(
            "The sample submission has a header and no rows.",
            expected="one row per image",
            where=file,
            remedy="name the right file",
        )
    table.refuse(ids == "", "{count} rows have no id.", column=id_col, remedy="fill them in")
    refuse_repeated(table, id_col)
    return Sample(table, header, delimiter, id_col, target_col)


def find_pictures(
    sample: Sample, config: PictureTaskConfig, *, images: Path | None, say: Say
) -> Manifest:
    """The picture of each id, in the sample's order; DataError for ids and pictures left over."""
    folder = images or config.data.image_dir_test
    setting = "data.image_dir_test" if folder == config.data.image_dir_test else "--images"
    named = folder is not None
    folder = folder or sample.table.file.parent
    require_folder(folder, setting=setting)
    there = list_images(folder)
    paths, missing = find_files(sample.ids, there, image_ext=config.data.image_ext)
    refuse_missing(sample.table, missing, column=sample.id_col, folder=folder, setting=setting)
    refuse_shared(sample.table, paths, column=sample.id_col)
    used = {str(path) for path in paths}
    extra = [str(name) for name in there if str(name) not in used]
    if extra and named:
        raise DataError(
            f"{len(extra)} of {len(there)} images are not in the sample submission.",
            expected="an id for each image of the folder, and an image for each id",
            got=shortened(extra),
            where=folder,
            remedy="add their rows to the sample, move them elsewhere, or name another folder with "
            "--images",
        )
    if extra:
        # Nobody said that this folder holds the test alone: the sample happens to lie in it.
        say(f"note: {len(extra)} images in {folder} have no row in the sample and are passed over")
    return Manifest.build(folder, id=sample.ids, path=paths)


def _require_place(out: Path | None, predictor: Predictor, *, say: Say) -> None:
    """Raise, before any work is done, where the submission could not be written."""
    if out is None:
        _default_folder(predictor.run).mkdir(parents=True, exist_ok=True)
        return
    if out.suffix.lower() != ".csv":
        raise UsageError(
            "A submission is a CSV file.", expected="a name that ends in .csv", got=out,
            where="--out",
        )  # fmt: skip
    require_writable(out)
    require_writable(probabilities_beside(out))
    if out.exists():
        say(f"note: {out} is replaced")


def _default_folder(run: RunFolder) -> Path:
    return SUBMISSIONS / f"{run.created:%Y%m%d}"


def _free_name(predictor: Predictor) -> Path:
    """submissions/YYYYMMDD/NAME_YYYYMMDD_HHMMSS_AUGMENTATION.csv, numbered if it is taken.

    Name and moment are the run's: they are the same whenever the submission is written.
    """
    run = predictor.run
    ensemble = "_ensemble" if len(predictor.members) > 1 else ""
    view = predictor.config.data.variant
    stem = f"{run.info['name']}{ensemble}_{run.created:%Y%m%d_%H%M%S}_{view}"
    folder, number = _default_folder(run), 1
    target = folder / f"{stem}.csv"
    while True:
        # Made at once, so that no other process takes the name in the meantime.
        with suppress(FileExistsError):
            target.touch(exist_ok=False)
            return target
        number += 1
        target = folder / f"{stem}_{number}.csv"


def probabilities_beside(target: Path) -> Path:
    """Where the probabilities of a submission go.

    >>> probabilities_beside(Path("submissions/a.v2.csv")).name
    'a.v2.probabilities.csv'
    """
    return target.with_name(f"{target.stem}.probabilities.csv")


def _as_submission(sample: Sample, answers: Sequence[str]) -> str:
    """The sample's text with the answers in place of its targets."""
    columns = {name: sample.table.columns[name] for name in sample.header}
    columns[sample.target_col] = np.asarray(answers, dtype=sample.ids.dtype)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=sample.delimiter, lineterminator="\n")
    writer.writerow(sample.header)
    writer.writerows(zip(*(columns[name] for name in sample.header), strict=True))
    return text.getvalue()
