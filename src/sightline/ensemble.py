"""`sightline ensemble`: several trained runs that answer together, as a run folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Manifest, shortened
from sightline.data.splits_file import read_splits
from sightline.errors import DataError, RunError, UsageError
from sightline.experiment import SPLITS_FILE, images_of
from sightline.metrics.classification import Floats
from sightline.metrics.mixture import mixture_loss, mixture_weights
from sightline.runs import RunFolder, write_atomically
from sightline.trained.calibrated import read_calibration
from sightline.trained.joined_runs import (
    Source,
    create_joined,
    open_sources,
    path_from,
    require_same_classes,
    require_sealed_test,
)
from sightline.trained.members import ENSEMBLE_FILE
from sightline.trained.predictor import Predictor, create_predictor

Weighting = Literal["uniform", "validation"]
LEAST_WEIGHT = 1e-6
"""Not 0: a member may be the only one that is allowed to judge a sample."""


def make_ensemble(  # noqa: PLR0913 (what may be said on the command line)
    runs: Sequence[RunFolder],
    *,
    exp_dir: Path,
    command: Sequence[str],
    weighting: Weighting = "uniform",
    name: str = "ensemble",
    device: str = "auto",
    say: Callable[[str], object] = print,
) -> RunFolder:
    """Make the run folder of an ensemble and return it; its members stay where they are.

    With `validation` the weights are those with the least validation loss; the test is not read.
    The folder does not become latest-train: nothing was trained. Raises RunError for runs that
    cannot answer together.
    """
    if len(runs) < 2:
        raise UsageError(
            "An ensemble has at least two members.", got=len(runs), remedy="name two runs or more"
        )
    sources = open_sources(runs)
    require_same_classes(sources)
    require_sealed_test(sources)
    weights = np.full(len(sources), 1 / len(sources))
    found: dict[str, Any] = {}
    if weighting == "validation":
        weights, found = _weighted(sources, device=device)
        say(
            f"validation loss {found['uniform_nll']:.4f} with equal weights, "
            f"{found['weighted_nll']:.4f} with these (n={found['n']})"
        )
    else:
        _note_different_validation(sources, say)
    run = create_joined(sources[0], exp_dir=exp_dir, name=name, kind="ensemble", command=command)
    members = [
        {
            "run": path_from(run.path, source.run.path),
            # Without a name: every fold's best one.
            "checkpoint": source.checkpoints[0] if len(source.checkpoints) == 1 else None,
            "weight": float(weight),
        }
        for source, weight in zip(sources, weights, strict=True)
    ]
    content = {"members": members, "weighting": weighting, **found}
    write_atomically(run.path / ENSEMBLE_FILE, json.dumps(content, indent=1) + "\n")
    run.update(members=[source.run.id for source in sources])
    run.set_status("finished")
    for source, weight in zip(sources, weights, strict=True):
        say(f"{weight:.4f} {source.run.id}")
    return run


def _weighted(sources: Sequence[Source], *, device: str) -> tuple[Floats, dict[str, Any]]:
    """The weights of least validation loss, and the losses behind them."""
    ensemble = create_predictor(sources[0].run, device=device)
    predictors = [_as_member(source, ensemble, device=device) for source in sources]
    samples = _held_out_by_all(sources, predictors)
    likelihoods = np.stack([_likelihoods(one, samples) for one in predictors])
    weights = np.maximum(mixture_weights(likelihoods), LEAST_WEIGHT)
    weights /= weights.sum()
    uniform = np.full(len(sources), 1 / len(sources))
    return weights, {
        "split": "oof" if sources[0].config.data.trains_every_fold else "val",
        "n": len(samples),
        "uniform_nll": mixture_loss(likelihoods, uniform),
        "weighted_nll": mixture_loss(likelihoods, weights),
        "member_nll": [mixture_loss(likelihoods, row) for row in np.eye(len(sources))],
    }


def _as_member(source: Source, ensemble: Predictor, *, device: str) -> Predictor:
    """A run's predictor as the ensemble will ask it: with the first run's views and wishes.

    Its models are calibrated where they are; what they say together is not.
    """
    infer = getattr(ensemble.config, "infer", None)
    calibrated = getattr(infer, "use_calibration", True) and read_calibration(source.run)
    predictor = create_predictor(
        source.run, tta=ensemble.tta, use_calibration=bool(calibrated), device=device
    )
    return replace(predictor, calibrator=None)


def _held_out_by_all(sources: Sequence[Source], predictors: Sequence[Predictor]) -> Manifest:
    """The validation samples that every member has, and that one of its models did not learn."""
    judged = _judged_by(sources[0])
    held_out = np.ones(len(judged), bool)
    ids = [str(one) for one in judged.id]
    for source, predictor in zip(sources, predictors, strict=True):
        # A sample that a run does not know may be in its training under another name.
        known = source.ids("fit", "val")
        held_out &= np.array([one in known for one in ids], bool)
        held_out &= np.any([~member.trained_on(ids) for member in predictor.members], axis=0)
    if not held_out.any():
        raise RunError(
            "No validation sample was held out by every member, so nothing can weigh them.",
            expected="the same validation samples, or every fold in each run",
            got=", ".join(f"{source.run.id}: {_described(source)}" for source in sources),
            remedy="train them on the same splits, or use --weights uniform",
        )
    return judged.select(held_out)


def _judged_by(source: Source) -> Manifest:
    """The samples a run is validated on; for all folds everything but the test."""
    split = "fit" if source.config.data.trains_every_fold else "val"
    verify = source.config.data.verify_files
    samples = read_splits(source.run.path / SPLITS_FILE, verify=verify)
    return samples.select(samples.rows(split))


def _likelihoods(predictor: Predictor, samples: Manifest) -> Floats:
    """What a run says of the true class (N,), each sample by a model that did not learn it."""
    used, _ = predictor.answer(
        samples, lambda rows, member: images_of(rows, member)[0], held_out=True
    )
    logits, targets = used["logits"], used["targets"]
    if (targets < 0).any():
        raise DataError("Some validation samples have no label.", where=predictor.run.path)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows = np.arange(len(targets))
    likelihoods: npt.NDArray[np.float64] = shifted[rows, targets] / shifted.sum(axis=1)
    return likelihoods


def _note_different_validation(sources: Sequence[Source], say: Callable[[str], object]) -> None:
    """Say which validation samples only some members can judge."""
    first = sources[0]
    if first.config.data.trains_every_fold:
        return
    learnt = {
        one
        for source in sources[1:]
        if not source.config.data.trains_every_fold
        for one in source.ids("fit") & first.ids("val")
    }
    if learnt:
        say(
            f"note: a member learnt from {len(learnt)} of {first.run.id}'s "
            f"{len(first.ids('val'))} validation samples ({shortened(sorted(learnt), 3)}); on val "
            "those are judged by the other members alone"
        )


def _described(source: Source) -> str:
    if source.config.data.trains_every_fold:
        return f"all {source.config.data.fold_count} folds"
    return f"{len(source.ids('val'))} validation samples"
