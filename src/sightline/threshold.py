"""`sightline threshold`: what a run accepts or raises an alarm at, set without any test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.config import load_config
from sightline.data.dataset import Dataset
from sightline.data.defect_labels import is_normal
from sightline.data.manifest import Manifest
from sightline.errors import UsageError
from sightline.experiment import images_of, read_dataset
from sightline.metrics.auroc import roc_curve
from sightline.metrics.conformal import conformal_threshold, needed_normals, smallest_budget
from sightline.metrics.conformal_pixels import pixel_threshold
from sightline.metrics.reliability import Reliability
from sightline.reliability import fit_run_reliability
from sightline.runs import History, RunFolder, file_hash
from sightline.tasks.anomaly_config import AnomalyConfig, ThresholdConfig
from sightline.tasks.anomaly_trainers import sets_threshold
from sightline.tasks.masked_images import HeatMaps
from sightline.tasks.retrieve_config import RetrieveConfig
from sightline.tasks.thresholds import Threshold, Thresholds, require_both_kinds, write_thresholds
from sightline.trained import TASK_CONFIGS, require_answers, run_config
from sightline.trained.predictor import create_predictor


def set_thresholds(
    run: RunFolder,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    say: Callable[[str], object] = print,
) -> Thresholds | Reliability:
    """Set what a run decides by, a detector's alarms or a retrieval's second photos.

    `overrides` are KEY=VALUE of the section `threshold` of a detector, or `answer` of retrieval.
    Raises UsageError for a run that decides by neither.
    """
    config = run_config(run)
    section = "answer" if isinstance(config, RetrieveConfig) else "threshold"
    if section == "threshold":
        require_answers(run, "scores", "a threshold")
    named = [one if one.startswith(f"{section}.") else f"{section}.{one}" for one in overrides]
    if section == "answer":
        _refuse_other_votes(named)
    loaded = load_config(str(run.config_file), named, tasks=TASK_CONFIGS)
    if isinstance(loaded, RetrieveConfig):
        return fit_run_reliability(run, loaded.answer, device=device, say=say)
    assert isinstance(loaded, AnomalyConfig)
    return set_threshold(run, loaded.threshold, device=device, say=say)


def _refuse_other_votes(named: Sequence[str]) -> None:
    """Raise UsageError for keys that change the votes: thresholds hold for the run's own alone."""
    rates = ("error_rate", "false_accept_rate")
    for one in named:
        if one.partition("=")[0].removeprefix("answer.") not in rates:
            raise UsageError(
                "The thresholds of a run are fitted on its answers as it gives them.",
                expected=" or ".join(f"{rate}=..." for rate in rates),
                got=one.removeprefix("answer."),
            )


def set_threshold(
    run: RunFolder,
    settings: ThresholdConfig | None = None,
    *,
    device: str = "auto",
    say: Callable[[str], object] = print,
) -> Thresholds:
    """Set the thresholds of a run as `settings` say (its own, if left out): threshold.json.

    By validation pictures alone; those that chose the epoch take no part. Too few of them leave
    the run without a threshold, and the file says why. Raises UsageError for a run that is no
    detector, and DataError for method f1 without defects in validation.
    """
    require_answers(run, "scores", "a threshold")
    predictor = create_predictor(run, device=device)
    config = predictor.config
    assert isinstance(config, AnomalyConfig)
    settings = settings or config.threshold
    dataset = read_dataset(run, config)
    checkpoint = predictor.members[0].checkpoint
    image: Threshold | None = None
    pixel: Threshold | None = None
    reason = None
    if settings.method == "fixed":
        assert settings.value is not None
        image = Threshold(settings.value, "fixed")
    else:
        samples = _held_out(dataset, config, defects=settings.method == "f1")
        reason = _why_none(len(samples), settings, config)
        if reason is None:
            rows, _ = predictor.answer(samples, lambda one, member: images_of(one, member)[0])
            if settings.method == "f1":
                image = best_f1(samples, rows["scores"])
            else:
                image, pixel = _conformal(samples, rows, settings, config)
    found = Thresholds(image, pixel, reason, checkpoint, file_hash(run.ckpt / checkpoint))
    write_thresholds(run.path, found)
    History(run.metrics_file).append(
        {
            "event": "threshold",
            "method": settings.method,
            "threshold": None if image is None else image.value,
            "pixel_threshold": None if pixel is None else pixel.value,
        }
    )
    say(f"threshold {found.summary()}")
    return found


def _held_out(dataset: Dataset, config: AnomalyConfig, *, defects: bool) -> Manifest:
    """Validation pictures that did not choose the epoch; normal ones, or with defects all."""
    val = dataset.part("val")
    normal = is_normal(val)
    if config.train.epochs > 0:
        ids = [str(one) for one in val.id[normal]]
        normal[normal] = sets_threshold(ids, config.project.seed)
    return val.select(np.flatnonzero(normal | (defects & ~is_normal(val))))


def _why_none(n: int, settings: ThresholdConfig, config: AnomalyConfig) -> str | None:
    """Why n held-out pictures cannot set a threshold, or None."""
    if config.eval.protocol == "published":
        return "the published protocol holds no normal pictures out of training"
    budget = settings.false_alarm_budget
    needed = needed_normals(budget, settings.confidence)
    if settings.method == "f1" or n >= needed:
        return None
    least = smallest_budget(n, settings.confidence)
    could = f"; the smallest budget that these can keep is {least:.3g}" if n else ""
    return (
        f"a budget of {budget:g} needs {needed} held-out normal pictures, and there are {n}{could}."
        " Raise data.val_fraction, or threshold.false_alarm_budget"
    )


def _conformal(
    samples: Manifest, rows: dict[str, Any], settings: ThresholdConfig, config: AnomalyConfig
) -> tuple[Threshold, Threshold | None]:
    """Thresholds of pictures and of pixels; none of pixels where that budget is too small."""
    n, budget, sure = len(samples), settings.false_alarm_budget, settings.confidence
    found = conformal_threshold(rows["scores"], budget, confidence=sure)
    least = smallest_budget(n, sure)
    image = Threshold(found.value, "conformal", budget, n, found.rank, sure, least)
    of_pixels, least = settings.pixel_budget or budget, smallest_budget(n)
    if n < needed_normals(of_pixels):
        return image, None
    heat_maps = HeatMaps(samples, rows["maps"], np.arange(n), config.data.fit)
    limit = pixel_threshold(heat_maps, of_pixels).value
    pixel = Threshold(limit, "conformal risk control", of_pixels, n, smallest_budget=least)
    return image, pixel


def best_f1(samples: Manifest, scores: npt.NDArray[Any]) -> Threshold:
    """The threshold with the best F1, in the middle between two scores."""
    anomalous = ~is_normal(samples)
    require_both_kinds(int((~anomalous).sum()), int(anomalous.sum()))
    fpr, tpr, reached = roc_curve(scores, anomalous)
    hits, alarms = tpr * anomalous.sum(), fpr * (~anomalous).sum()
    best = int(np.argmax(2 * hits / (hits + alarms + anomalous.sum())))
    below = scores[scores < reached[best]]
    limit = (
        (reached[best] + below.max()) / 2 if len(below) else np.nextafter(reached[best], -np.inf)
    )
    return Threshold(float(limit), "f1", n=len(samples))
