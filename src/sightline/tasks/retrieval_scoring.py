"""Every score of a split's queries in their gallery, and the answers with their evidence.

Q queries, N gallery rows, D embedding size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.metrics.embedding_map import embedding_map
from sightline.metrics.grouped_means import class_means, mean_estimate
from sightline.metrics.intervals import Estimate
from sightline.metrics.reliability import false_accept_estimate
from sightline.metrics.retrieval import RetrievalScores, retrieval_scores
from sightline.metrics.voting import Votes
from sightline.tasks.retrieval_answers import (
    Answers,
    answers_in,
    answers_without_own_class,
)
from sightline.tasks.retrieval_evidence import found_by
from sightline.tasks.retrieval_judging import Judged, judge
from sightline.tasks.retrieval_result import RetrievalResult
from sightline.tasks.retrieve_config import RetrieveConfig
from sightline.tasks.task import Truth


def retrieval_result(rows: dict[str, Any], truth: Truth, config: RetrieveConfig) -> RetrievalResult:
    """Scores of joined rows (ids, embeddings); the gallery is that of the truth's decision.

    Queries of classes that the gallery does not have are each other's gallery instead; so is the
    split without a decision. Intervals resample pictures, or objects (Q,) where they are known.
    """
    samples, decision = truth.samples, truth.decision
    judged = judge(samples, rows["embeddings"], decision, config)
    searched = judged.searched
    scores = retrieval_scores(
        *searched.vectors, **searched.truth, recall_k=tuple(sorted({1, *config.eval.recall_k}))
    )
    answers = answers_in(searched, config.answer.top_k, shown=config.answer.evidence)
    fitted = None if decision is None else decision.fitted
    fits = fitted is not None and fitted.own_gallery == judged.own_gallery
    thresholds = fitted.thresholds if fitted is not None and fits else None
    found = found_by(
        answers,
        gallery_ids=judged.gallery_ids,
        gallery_labels=judged.gallery_labels,
        names=judged.names,
        evidence=config.answer.evidence,
        thresholds=thresholds,
    )
    labels = [samples.label.text(row) for row in range(len(samples))]
    right = np.array([a == b for a, b in zip(found.predictions, labels, strict=True)], float)
    estimates = _Estimates(truth.groups, config)
    headline, more = _headline(scores, right, labels, estimates, config)
    return RetrievalResult(
        ids=rows["ids"],
        labels=labels,
        objects=[samples.group.text(row) for row in range(len(samples))],
        scores=scores,
        found=found,
        headline=headline,
        more=more,
        per_class=_per_class(scores, right, labels),
        gallery=judged.about,
        answers=_answers(judged, answers, right, scores, thresholds, estimates, config),
        thresholds=thresholds,
        maps=embedding_map(rows["embeddings"], rows["ids"], seed=config.project.seed),
    )


class _Estimates:
    """Means with intervals as the configuration asks for them."""

    def __init__(self, groups: Any, config: RetrieveConfig) -> None:
        self.groups, self._eval, self._seed = groups, config.eval, config.project.seed

    def __call__(self, values: Any, classes: Any = None, rows: Any = None) -> Estimate:
        keep = np.arange(len(values)) if rows is None else np.flatnonzero(rows)
        return mean_estimate(
            np.asarray(values, float)[keep],
            groups=None if self.groups is None else np.asarray(self.groups)[keep],
            classes=None if classes is None else np.asarray(classes)[keep],
            resamples=self._eval.bootstrap,
            confidence=self._eval.confidence,
            seed=self._seed,
        )


def _headline(
    scores: RetrievalScores,
    right: npt.NDArray[Any],
    labels: list[str],
    estimate: _Estimates,
    config: RetrieveConfig,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    columns, matched = scores.columns(), scores.matched
    first = [
        f"recall_at_{k}" for k in sorted({1, *config.eval.recall_k}) if k not in scores.undefined
    ]
    headline = {name: estimate(columns[name]) for name in (*first, "ap_at_r")}
    headline["map_at_r"] = headline.pop("ap_at_r")
    headline["knn_accuracy"] = estimate(right, rows=matched)
    names = np.array(labels, dtype=object).astype(str)
    more = {
        "macro_recall_at_1": estimate(columns["recall_at_1"], classes=names),
        "r_precision": estimate(columns["r_precision"]),
        "mrr": estimate(columns["reciprocal_rank"]),
    }
    if estimate.groups is not None:
        more["object_recall_at_1"] = estimate(columns["recall_at_1"], classes=estimate.groups)
    return headline, more


def _per_class(
    scores: RetrievalScores, right: npt.NDArray[Any], labels: list[str]
) -> list[dict[str, Any]]:
    """Queries and mean scores of each class that has a match in the gallery."""
    names = np.array(labels, dtype=object).astype(str)
    columns = {
        "recall_at_1": scores.recall[1],
        "map_at_r": scores.ap_at_r,
        "knn_accuracy": np.where(scores.matched, right, np.nan),
    }
    means = {key: class_means(values, names) for key, values in columns.items()}
    first = means["map_at_r"]
    return [
        {
            "name": str(name),
            "queries": int(first.counts[place]),
            **{key: _plain(one, name) for key, one in means.items()},
        }
        for place, name in enumerate(first.classes)
    ]


def _plain(means: Any, name: str) -> float | None:
    place = np.searchsorted(means.classes, name)
    found = place < len(means.classes) and means.classes[place] == name
    return float(means.means[place]) if found else None


def _answers(  # noqa: PLR0913 (one thing each)
    judged: Judged,
    answers: Answers,
    right: npt.NDArray[Any],
    scores: RetrievalScores,
    thresholds: Any,
    estimate: _Estimates,
    config: RetrieveConfig,
) -> dict[str, Any]:
    """What the thresholds do on this split: how much is answered, how well, and on strangers."""
    if thresholds is None:
        return {}
    if thresholds.max_distance is None:
        return {"reason": thresholds.reason}
    accepted, matched = thresholds.accepts(*answers.votes.criteria), scores.matched
    made = {
        "error_rate": thresholds.error_rate,
        "coverage": estimate(accepted, rows=matched).as_dict(),
        "accepted_accuracy": estimate(right, rows=matched & accepted).as_dict(),
    }
    strangers = answers_without_own_class(judged.searched, config.answer.top_k)
    has_one = np.isfinite(strangers.nearest)
    made["false_accepts"] = _accepts(strangers, has_one, thresholds, estimate.groups)
    if (~matched).any():
        made["unknown_accepts"] = _accepts(answers.votes, ~matched, thresholds, estimate.groups)
    return made


def _accepts(votes: Votes, rows: npt.NDArray[Any], thresholds: Any, groups: Any) -> Any:
    accepted = thresholds.accepts(*votes.criteria)[rows]
    if not len(accepted):
        return None
    return false_accept_estimate(accepted, None if groups is None else groups[rows]).as_dict()
