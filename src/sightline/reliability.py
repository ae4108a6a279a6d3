"""When a retrieval run asks for another photo: thresholds fitted on its validation answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Manifest
from sightline.experiment import images_of, read_dataset
from sightline.metrics.reliability import Reliability, fit_reliability
from sightline.metrics.voting import Criteria
from sightline.random_numbers import generator
from sightline.runs import History, RunFolder, file_hash
from sightline.tasks.retrieval_answers import answers_in, answers_without_own_class
from sightline.tasks.retrieval_decision import FittedReliability, write_reliability
from sightline.tasks.retrieval_judging import judge
from sightline.tasks.retrieval_protocol import left_out
from sightline.tasks.retrieve_config import AnswerConfig, RetrieveConfig
from sightline.trained import require_answers
from sightline.trained.predictor import Predictor, create_predictor

DELTA = 0.05
"""Probability, over the choice of validation objects, that a promised rate is not kept."""


def fit_run_reliability(
    run: RunFolder,
    settings: AnswerConfig | None = None,
    *,
    device: str = "auto",
    say: Callable[[str], object] = print,
) -> Reliability:
    """Fit the thresholds of a run as `settings` say (its own, if left out): reliability.json.

    By one validation picture of each object, since pictures of one object succeed or fail
    together. Too few of them leave the run without thresholds, and the file says why. Raises
    UsageError for a run of another task.
    """
    require_answers(run, "neighbours", "a threshold on distance, margin and concentration")
    predictor = create_predictor(run, device=device)
    config = predictor.config
    assert isinstance(config, RetrieveConfig)
    settings = settings or config.answer
    samples = read_dataset(run, config).part("val")
    own_gallery, found = False, _none("there are no validation pictures", settings)
    if len(samples):
        own_gallery, found = _fitted(predictor, samples, config, settings)
    checkpoint = predictor.members[0].checkpoint
    fitted = FittedReliability(found, own_gallery, checkpoint, file_hash(run.ckpt / checkpoint))
    write_reliability(run.path, fitted)
    History(run.metrics_file).append({"event": "threshold", "method": "reliability", **_row(found)})
    say(f"threshold {in_words(found)}")
    return found


def in_words(found: Reliability) -> str:
    """The thresholds and what they are worth, in one line."""
    if found.max_distance is None:
        return f"none: {found.reason}"
    return (
        f"accept up to distance {found.max_distance:.4f}, from margin {found.min_margin:.4f} and "
        f"concentration {found.min_concentration:.4f} on: {found.accepted} of {found.n} validation "
        f"objects ({found.coverage:.1%}), {found.accuracy:.1%} of them right; at most "
        f"{found.error_rate:.1%} wrong with {1 - found.delta:.0%} confidence"
    )


def _fitted(
    predictor: Predictor, samples: Manifest, config: RetrieveConfig, settings: AnswerConfig
) -> tuple[bool, Reliability]:
    """Whether validation was its own gallery, and the thresholds from its answers."""
    rows, _ = predictor.answer(samples, lambda one, member: images_of(one, member)[0])
    judged = judge(samples, rows["embeddings"], predictor.decision, config)
    answers = answers_in(judged.searched, settings.top_k)
    strangers = answers_without_own_class(judged.searched, settings.top_k)
    shown = judged.searched.query_labels
    right = answers.votes.winner == shown
    # A picture without any neighbour has no answer to be judged.
    usable = np.isfinite(answers.votes.nearest) & _one_of_each(samples, config.project.seed)
    if not usable.any():
        return judged.own_gallery, _none("no validation picture sees another one", settings)
    unknown = usable & np.isfinite(strangers.nearest)
    if settings.false_accept_rate is not None and not unknown.any():
        return judged.own_gallery, _none("there is no other class to mistake one for", settings)
    return judged.own_gallery, fit_reliability(
        _of(answers.votes.criteria, usable),
        right[usable],
        error_rate=settings.error_rate,
        delta=DELTA,
        unknown=_of(strangers.criteria, unknown) if unknown.any() else None,
        false_accept_rate=settings.false_accept_rate,
    )


def _one_of_each(samples: Manifest, seed: int) -> npt.NDArray[np.bool_]:
    """(N,) whether a picture is the one that stands for its object."""
    random = generator(seed, 0, "the picture that stands for its object")
    order = np.argsort(samples.id, kind="stable")
    order = order[random.permutation(len(samples))]
    _, first = np.unique(left_out(samples, "object")[order], return_index=True)
    chosen = np.zeros(len(samples), bool)
    chosen[order[first]] = True
    return chosen


def _of(criteria: Criteria, rows: npt.NDArray[np.bool_]) -> Criteria:
    return Criteria(*(one[rows] for one in criteria))


def _none(reason: str, settings: AnswerConfig) -> Reliability:
    return Reliability(None, None, None, settings.error_rate, DELTA, 0, reason=reason)


def _row(found: Reliability) -> dict[str, Any]:
    keys = ("max_distance", "min_margin", "min_concentration", "coverage", "accuracy", "n")
    plain = found.as_dict()
    return {key: plain[key] for key in keys}
