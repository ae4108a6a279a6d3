"""Inference files: which run answers for which images, and where the answers go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sightline.config import Section, load_config
from sightline.config.layers import read_source
from sightline.errors import UsageError
from sightline.prediction import (
    Say,
    predict_files,
    refuse_overwriting,
    require_writable,
    write_predictions,
)
from sightline.runs import find_run
from sightline.submission import write_submission
from sightline.trained import run_config


class AppliedConfig(Section):
    """How the run is applied; what is left null is as the run's own `infer` section says."""

    tta: Literal["none", "flip", "essential", "comprehensive"] | None = None
    """Views of each picture whose probabilities are averaged: 1, 2, 5 or 15."""
    use_calibration: bool | None = None
    """Use the run's calibration; true is an error where it has none."""
    accept_accuracy: float | None = Field(default=None, ge=0, lt=1)
    """Abstain below the confidence above which validation shows this accuracy; 0: never."""


class InferenceFile(Section):
    """One inference: a run, images, and where the answers go."""

    task: Literal["infer"] = "infer"
    """Inference with a trained run, whatever its task."""
    run: str = Field(default="latest", min_length=1)
    """A run's id or a beginning of it, latest, or its folder, relative to this file."""
    exp_dir: Path = Path("experiments/train")
    """Where the runs are."""
    checkpoint: str | None = None
    """One checkpoint; null: the best, of folds each."""
    images: Path | None = None
    """A folder of images, one image, or a CSV that lists them; with sample_csv a folder."""
    sample_csv: Path | None = None
    """A sample submission, whose ids and order the answers have; null without images: the run's
    data.sample_csv."""
    out: Path | None = None
    """The file of answers; null: a name made of the run's, below submissions/."""
    device: str = "auto"
    """auto, cpu, cuda, or cuda:N."""
    infer: AppliedConfig = AppliedConfig()

    @model_validator(mode="after")
    def _predictions_have_a_place(self) -> InferenceFile:
        if self.out is None and self.images is not None and self.sample_csv is None:
            raise ValueError("images without sample_csv need out, the file of the predictions")
        return self


INFERENCE_CONFIGS: dict[str, type[Section]] = {"infer": InferenceFile}
"""Configuration class of inference files, as load_config wants it."""


def load_inference(
    source: str, overrides: Sequence[str] = (), *, flags: Mapping[str, object] | None = None
) -> InferenceFile:
    """The inference that a file or recipe describes, with KEY=VALUE and flags above it.

    A `run` that is a path starts from the file's folder, as all paths of a file do.
    """
    config = load_config(source, overrides, tasks=INFERENCE_CONFIGS, flags=flags)
    assert isinstance(config, InferenceFile)
    typed = {text.partition("=")[0].strip() for text in overrides} | set(flags or {})
    if "run" in typed or not ("/" in config.run or os.sep in config.run):
        return config
    folder = read_source(source).folder(("run",))
    return config.model_copy(update={"run": os.path.normpath(folder / config.run)})


def run_inference(config: InferenceFile, *, say: Say = print) -> Path:
    """Answer as the file says, and return the file of answers."""
    run, infer = find_run(config.run, [config.exp_dir]), config.infer
    sample = config.sample_csv
    if config.images is None and sample is None:
        sample = getattr(run_config(run).data, "sample_csv", None)
    if sample is not None:
        return write_submission(
            run,
            sample=sample,
            images=config.images,
            out=config.out,
            checkpoint=config.checkpoint,
            tta=infer.tta,
            use_calibration=infer.use_calibration,
            accept_accuracy=infer.accept_accuracy,
            device=config.device,
            say=say,
        )
    if config.images is None or config.out is None:
        raise UsageError(
            "Nothing says which images to answer for.",
            expected="images, or a sample submission",
            remedy="set images=FOLDER out=FILE, or sample_csv=FILE",
        )
    refuse_overwriting(config.out, [config.images])
    require_writable(config.out)
    columns, rows = predict_files(
        run,
        [config.images],
        checkpoint=config.checkpoint,
        tta=infer.tta,
        use_calibration=infer.use_calibration,
        accept_accuracy=infer.accept_accuracy,
        device=config.device,
        say=say,
    )
    write_predictions(config.out, columns, rows)
    say(f"{len(rows)} predictions in {config.out}")
    return config.out
