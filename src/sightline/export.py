"""`sightline export`: a trained model as an ONNX file that was seen to answer like the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sightline.data.manifest import Manifest
from sightline.data.splits_file import read_splits
from sightline.data.vector_samples import VectorRows
from sightline.errors import DataError, RunError, UsageError
from sightline.experiment import SPLITS_FILE, open_samples
from sightline.experiment.samples import picture_loader
from sightline.exporting.description import (
    FORMAT,
    as_metadata,
    embedding_of,
    input_of,
    outputs_of,
    vector_input_of,
    versions,
)
from sightline.exporting.graph import graph_of, onnx_bytes, opset_of, require_packages
from sightline.exporting.loaded import ExportedModel, load_exported
from sightline.exporting.parity import Parity, compare
from sightline.exporting.runtime import open_session
from sightline.metrics.calibrators import IDENTITY, Calibrator
from sightline.runs import RunFolder, file_hash, write_atomically
from sightline.runs.plain import to_json
from sightline.tasks.classification_result import softmax
from sightline.tasks.config import of_pictures
from sightline.trained import TrainedModel, load_trained
from sightline.trained.predictor import Predictor, create_predictor

__all__ = ["ExportSettings", "Exported", "ExportedModel", "export_run", "load_exported"]

Say = Callable[[str], object]
Arrays = dict[str, npt.NDArray[Any]]
EXPORT_FOLDER = "export"


@dataclass(frozen=True)
class ExportSettings:
    """How a model is written, and how strictly the file is judged."""

    opset: int | None = None
    """Version of the ONNX operators; None: the exporter's own choice."""
    samples: int = 32
    """Pictures on which the file is compared with the model."""
    tolerance: float = 1e-4
    """Largest difference that is allowed, as a share of an output's largest value."""


@dataclass(frozen=True)
class Exported:
    """What was written, and what was measured before."""

    file: Path
    description: dict[str, Any]
    parity: Parity


def export_run(
    run: RunFolder,
    *,
    checkpoint: str | None = None,
    out: Path | None = None,
    settings: ExportSettings | None = None,
    say: Say = print,
) -> Exported:
    """Write one checkpoint of a run as RUN/export/model.onnx, or to `out`, with a .json beside it.

    The content is compared with the model in float32 on pictures of val, or of fit where there is
    no val, before anything is written: what was there before stays until then. Raises RunError for
    a file that would answer otherwise or a model that ONNX cannot express, UsageError where several
    models answer for the run, and MissingExtraError without the packages of the extra.
    """
    settings = settings or ExportSettings()
    require_packages()
    target = _target(run, out)
    predictor = _of_one_model(run, checkpoint)
    trained = load_trained(run, predictor.members[0].checkpoint, device="cpu")
    calibrator = _calibrator(predictor)
    if predictor.tta != "none":
        say(f"the run answers with the mean of test views ({predictor.tta}); the file with one")
    seen, samples, about_input = _samples(run, trained, settings.samples)
    answers = trained.task.answers
    expected = _expected(trained.model, answers, seen, calibrator)
    description = _describe(run, trained, expected, about_input)
    graph = graph_of(trained.model, answers, calibrator)
    content = onnx_bytes(
        graph,
        torch.from_numpy(np.resize(seen, (2, *seen.shape[1:]))),
        opset=settings.opset,
        about=as_metadata(description),
    )
    parity = compare(
        open_session(content),
        seen,
        expected,
        ids=[str(one) for one in samples.id],
        split=samples.split_text(0),
        tolerance=settings.tolerance,
    )
    parity.require_equal(where=target)
    description["file"] = {
        "name": target.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "opset": opset_of(content),
    }
    description["measured"] = parity.as_dict()
    _write(target, content, description)
    return Exported(target, description, parity)


def _write(target: Path, content: bytes, description: dict[str, Any]) -> None:
    """Write both files; the model first, which says all that is needed by itself."""
    try:
        write_atomically(target, content)
        write_atomically(target.with_suffix(".json"), to_json(description, indent=1) + "\n")
    except RunError as error:
        raise RunError(
            "The exported model cannot be written.",
            got=error.got,
            where=error.where,
            remedy="name another place, which may be written to and has room: --out FOLDER",
        ) from error


def _target(run: RunFolder, out: Path | None) -> Path:
    """The file to write, absolute; a name without ending is a folder."""
    target = run.path / EXPORT_FOLDER if out is None else out.absolute()
    if target.is_dir() or not target.suffix:
        target = target / "model.onnx"
    if target.suffix != ".onnx" or target.is_dir():
        raise UsageError(
            "The exported model cannot have this name.",
            expected="a folder, or a file that ends in .onnx",
            got=out,
            where="--out",
        )
    return target


def _of_one_model(run: RunFolder, checkpoint: str | None) -> Predictor:
    """What answers for the run with one checkpoint; UsageError where there are several."""
    predictor = create_predictor(run, checkpoint=checkpoint, device="cpu")
    if predictor.is_ensemble:
        raise UsageError(
            "An ensemble has no model of its own, and one file holds one model.",
            got=", ".join(dict.fromkeys(one.run.id for one in predictor.members)),
            where=run.path,
            remedy=f"export each member: sightline export {predictor.members[0].run.id}",
        )
    if len(predictor.members) > 1:
        names = [one.checkpoint for one in predictor.members]
        raise UsageError(
            f"{len(names)} models answer for this run together, and one file holds one model.",
            expected="one of " + ", ".join(names),
            where=run.ckpt,
            remedy=f"name it: --checkpoint {names[0]}",
        )
    return predictor


def _calibrator(predictor: Predictor) -> Any:
    """The calibrator of the one model; None where none was adopted."""
    found = predictor.members[0].calibrator
    return None if found == IDENTITY else found


def _samples(
    run: RunFolder, trained: TrainedModel, count: int
) -> tuple[npt.NDArray[Any], Manifest, dict[str, Any]]:
    """Samples (N, ...) as the model sees them, which they are, and how they became that.

    They are spread evenly over val, or over fit where there is no val.
    """
    config = trained.config
    every = read_splits(run.path / SPLITS_FILE, verify=False)
    rows = every.rows("val") if len(every.rows("val")) else every.rows("fit")
    spread = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    content, _ = open_samples(every.select(rows[spread]), config)
    if not len(content):
        raise DataError(
            "The run has no samples to compare the exported model with.",
            expected="samples of val or fit that can be decoded",
            where=run.path / SPLITS_FILE,
        )
    if isinstance(content, VectorRows):
        vectors = content.read()
        return vectors, content.manifest, vector_input_of(vectors, normalize=content.normalize)
    loader = picture_loader(content, config, device=torch.device("cpu"), training=False)
    seen = torch.cat([batch.images for batch in loader]).contiguous().numpy()
    about = input_of(seen, fit=of_pictures(config).data.fit, shorter_side=content.shorter_side)
    return seen, content.manifest, about


@torch.no_grad()
def _expected(
    model: torch.nn.Module,
    answers: str,
    samples: npt.NDArray[Any],
    calibrator: Calibrator | None,
) -> Arrays:
    """What the trained model says of the samples, by the names that the file gives its outputs."""
    output = model.eval()(torch.from_numpy(samples))
    if answers in ("neighbours", "vectors"):
        return {"embeddings": output.float().numpy()}
    if answers == "scores":
        return {"score": output.score.float().numpy(), "map": output.map.float().numpy()}
    logits = output.float().numpy()
    if calibrator is None:
        return {"logits": logits}
    # By the very code that calibrates the run's own answers, in float64.
    calibrated = softmax(calibrator.apply(logits.astype(np.float64)))
    return {"logits": logits, "probabilities": calibrated.astype(np.float32)}


def _describe(
    run: RunFolder, trained: TrainedModel, expected: Arrays, about_input: dict[str, Any]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "format": FORMAT,
        "task": trained.config.task,
        "run": {
            "id": run.id,
            "checkpoint": trained.checkpoint,
            "epoch": trained.epoch,
            "sha256": file_hash(run.ckpt / trained.checkpoint),
        },
        "input": about_input,
        "outputs": outputs_of(expected),
        "versions": versions(),
    }
    if trained.task.answers == "probabilities":
        described["class_names"] = list(trained.class_names)
    elif trained.task.answers in ("neighbours", "vectors"):
        described["embedding"] = embedding_of(expected["embeddings"])
    else:
        limits = trained.task.read_decision(run.path, trained.checkpoint, trained.config)
        described["thresholds"] = None if limits is None else limits.as_dict()
    return described
