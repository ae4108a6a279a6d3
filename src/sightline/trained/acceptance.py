"""Abstaining: from which confidence a run's answers are right often enough, by its validation."""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline.errors import DataError, UsageError
from sightline.experiment import SPLITS_FILE, images_of, read_dataset
from sightline.metrics.selective import Acceptance, choose_threshold, confidence_bins
from sightline.trained.predictor import Predictor

Table = tuple[list[str], list[list[Any]]]
"""Column names, and one row per sample."""


def find_acceptance(predictor: Predictor, accept_accuracy: float) -> Acceptance:
    """The least confidence above which the run's answers are right with this probability.

    The validation samples are answered anew, with the same views and calibration, each by models
    that did not learn from it. Raises DataError where no confidence is enough.
    """
    run, config = predictor.run, predictor.config
    if predictor.task.answers == "neighbours":
        raise UsageError(
            "Retrieval accepts answers by thresholds of its own.",
            got="an accuracy to accept from",
            where=run.path,
            remedy=f"leave it out, or: sightline threshold {run.id} error_rate=0.05",
        )
    split = "fit" if config.data.trains_every_fold else "val"
    dataset = read_dataset(run, config)
    samples = dataset.part(split)
    if not len(samples):
        raise DataError(
            "The run has no validation samples, so nothing says which answers to trust.",
            where=run.path / SPLITS_FILE,
            remedy="train with data.val_fraction above 0, or leave out accept_accuracy",
        )
    _, left_out = images_of(samples, config)
    kept = dataset.without(left_out).part(split)
    used, _ = predictor.answer(kept, lambda rows, member: images_of(rows, member)[0], held_out=True)
    columns, rows = predictor.task.predict([used], dataset.class_names)
    place, answer = _confidence(columns), columns.index("prediction")
    truth = {str(one): kept.label.text(row) for row, one in enumerate(kept.id)}
    return choose_threshold(
        [row[place] for row in rows],
        np.array([row[answer] == truth[row[0]] for row in rows], bool),
        accept_accuracy,
    )


def in_words(found: Acceptance, accept_accuracy: float) -> str:
    """The threshold and what it is worth, in one line.

    The bound is one of choose_threshold, whose delta is 0.05.
    """
    return (
        f"accepted from confidence {found.threshold:.6f} up: {found.coverage:.1%} of "
        f"{found.n} validation images, {found.accuracy:.1%} of them right; "
        f"at least {accept_accuracy:.1%} with 95% confidence"
    )


def with_bins(table: Table, threshold: float | None) -> Table:
    """The table with the tenth of each confidence, and with a threshold whether it is accepted."""
    columns, rows = table
    if threshold is None and "confidence" not in columns:
        return table
    place = _confidence(columns)
    bins = confidence_bins([row[place] for row in rows])
    added = ["bin"] if threshold is None else ["bin", "accepted"]
    wider = []
    for row, tenth in zip(rows, bins, strict=True):
        verdict = [] if threshold is None else [row[place] >= threshold]
        wider.append([*row[: place + 1], tenth, *verdict, *row[place + 1 :]])
    return [*columns[: place + 1], *added, *columns[place + 1 :]], wider


def _confidence(columns: list[str]) -> int:
    if "confidence" not in columns:
        raise UsageError(
            "The answers of this task have no confidence to abstain by.", got=", ".join(columns)
        )
    return columns.index("confidence")
