"""Every score of a split's queries: of each feature, plain, re-ranked and with expanded queries.

Q queries, N gallery pictures, D embedding size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.metrics.camera_pairs import camera_pair_scores, distance_histograms
from sightline.metrics.grouped_means import class_means, mean_estimate
from sightline.metrics.intervals import Estimate
from sightline.metrics.neighbourhood import neighbourhood_loss
from sightline.metrics.query_expansion import expand_queries
from sightline.metrics.reid import ReidScores, reid_scores, reid_scores_of_distances
from sightline.metrics.reranking import rerank
from sightline.tasks.reid_config import ReidConfig
from sightline.tasks.reid_evidence import find_evidence
from sightline.tasks.reid_judging import Floats, Judged, in_order_of_distance, judge, unit_rows
from sightline.tasks.reid_result import ReidResult, Row, Way
from sightline.tasks.task import Truth

CMC_RANKS = 50
"""Ranks of the curve that is drawn."""
_COLUMNS = {"average_precision": "map", "inverse_penalty": "minp"}
"""Score of a query -> what its mean is called."""


def short_scores(judged: Judged, features: npt.ArrayLike, config: ReidConfig) -> dict[str, float]:
    """What is known after an epoch: `loss`, `map`, `minp`, `rank_K`, and the same `_reranked`."""
    found = {"loss": _loss(judged, features)}
    for way in _ways(config, judged, after_epoch=True):
        scores = _scores(judged, features, config, way)
        ending = "" if way == "plain" else f"_{way}"
        found |= {f"{name}{ending}": scores.mean(column) for column, name in _named(scores)}
    return found


def reid_result(rows: dict[str, Any], truth: Truth, config: ReidConfig) -> ReidResult:
    """All scores of joined rows (ids, embeddings, and before and after a neck), with intervals.

    Whole identities are drawn for the intervals: pictures of one resemble each other.
    """
    judged = judge(truth.samples, config)
    estimates = _Estimates(judged, config)
    # Without a neck there is one feature, whatever it is called.
    answers = config.eval.feature if config.eval.feature in rows else "after"
    table, cmc, answering = [], {}, None
    for feature in [name for name in ("after", "before") if name in rows]:
        for way in _ways(config, judged):
            scores = _scores(judged, rows[feature], config, way)
            row = Row(feature, way, {name: estimates(one) for name, one in _by_name(scores)})
            table.append(row)
            cmc[f"{feature}_{way}"] = scores.cmc(CMC_RANKS)
            if (feature, way) == (answers, "plain"):
                answering = scores
    assert answering is not None
    queries, gallery = judged.parted(rows[answers])
    return ReidResult(
        judged,
        answering,
        table=table,
        cmc=cmc,
        feature=answers,
        evidence=find_evidence(judged, queries, gallery, count=config.answer.evidence),
        hardest=_hardest(judged, answering),
        camera_pairs=_camera_pairs(judged, queries, gallery),
        distances=_distances(judged, queries, gallery),
    )


class _Estimates:
    """Means over queries, with intervals that draw whole identities."""

    def __init__(self, judged: Judged, config: ReidConfig) -> None:
        self._identities, self._config = judged.labels[0], config

    def __call__(self, values: npt.ArrayLike) -> Estimate:
        found = mean_estimate(
            values,
            groups=self._identities,
            resamples=self._config.eval.bootstrap,
            confidence=self._config.eval.confidence,
            seed=self._config.project.seed,
        )
        return replace(found, unit="identity")


def _ways(config: ReidConfig, judged: Judged, *, after_epoch: bool = False) -> list[Way]:
    use = config.eval.rerank.use
    ways: list[Way] = ["plain"]
    if use == "always" or (use == "evaluate" and not after_epoch):
        ways.append("reranked")
    if _expanding(config, judged) and not after_epoch:
        ways.append("expanded")
    return ways


def _expanding(config: ReidConfig, judged: Judged) -> int:
    """How many neighbours are added to a query: no more than it sees."""
    seen = len(judged.protocol.gallery) - judged.protocol.own_gallery
    return min(config.eval.query_expansion.k, seen)


def _scores(judged: Judged, features: npt.ArrayLike, config: ReidConfig, way: Way) -> ReidScores:
    ranks = tuple(sorted({1, *config.eval.ranks}))
    queries, gallery = judged.parted(features)
    if way == "reranked":
        return reid_scores_of_distances(
            _reranked(judged, queries, gallery, config), judged.rule, ranks=ranks
        )
    if way == "expanded":
        queries = expand_queries(
            queries,
            gallery,
            k=_expanding(config, judged),
            alpha=config.eval.query_expansion.alpha,
            query_rows=judged.rule.query_rows,
        )
        # An expanded query is a direction, so it is compared with directions.
        gallery = unit_rows(gallery)
    elif not judged.normalize:
        queries, gallery = in_order_of_distance(queries, gallery)
    return reid_scores(queries, gallery, judged.rule, ranks=ranks)


def _reranked(
    judged: Judged, queries: Floats, gallery: Floats, config: ReidConfig
) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """Blocks of distances; pictures that are queries and gallery at once are compared once."""
    settings = config.eval.rerank
    return rerank(
        queries,
        None if judged.protocol.own_gallery else gallery,
        k1=settings.k1,
        k2=settings.k2,
        lambda_value=settings.lambda_value,
    )


def _loss(judged: Judged, features: npt.ArrayLike) -> float:
    units = unit_rows(np.asarray(features, np.float32))
    asked, shown = judged.labels
    return neighbourhood_loss(
        units[judged.protocol.queries],
        units[judged.protocol.gallery],
        query_labels=asked,
        gallery_labels=shown,
        exclude=judged.rule.exclude,
    )


def _named(scores: ReidScores) -> list[tuple[str, str]]:
    """Columns of the scores with the names of their means; ranks that mean nothing are left out."""
    defined = [column for column in scores.columns() if not _is_undefined(column, scores)]
    return [(column, _COLUMNS.get(column, column)) for column in defined]


def _is_undefined(column: str, scores: ReidScores) -> bool:
    return any(column == f"rank_{rank}" for rank in scores.undefined)


def _by_name(scores: ReidScores) -> list[tuple[str, npt.NDArray[np.float64]]]:
    columns = scores.columns()
    return [(name, columns[column]) for column, name in _named(scores)]


def _hardest(judged: Judged, scores: ReidScores) -> list[dict[str, Any]]:
    """Identities of the queries with their mean scores, the least mAP first."""
    names = judged.samples.label.names
    identities = judged.labels[0]
    precision = class_means(scores.average_precision, identities)
    first = class_means(scores.rank_hits(1), identities)
    return [
        {
            "identity": str(names[code]),
            "queries": int(precision.counts[place]),
            "map": float(precision.means[place]),
            "rank_1": float(first.means[place]) if len(first.means) else None,
        }
        for place in np.argsort(precision.means, kind="stable").tolist()
        for code in [int(precision.classes[place])]
    ]


def _camera_pairs(judged: Judged, queries: Floats, gallery: Floats) -> dict[str, Any]:
    """Scores by the camera that asks and the camera that answers; empty without cameras."""
    if judged.rule.cameras is None:
        return {}
    if not judged.normalize:
        queries, gallery = in_order_of_distance(queries, gallery)
    found = camera_pair_scores(queries, gallery, judged.rule)
    names = judged.samples.camera.names
    return {
        "cameras": [str(names[code]) for code in found.cameras],
        "of": judged.cameras,
        "rank_1": _plain(found.rank_1),
        "map": _plain(found.average_precision),
        "queries": found.queries.tolist(),
    }


def _distances(judged: Judged, queries: Floats, gallery: Floats) -> dict[str, Any]:
    """How many pairs of each kind there are at each distance; empty where no length is one."""
    if not judged.normalize:
        return {}
    found = distance_histograms(queries, gallery, judged.rule)
    return {name: np.asarray(values).tolist() for name, values in vars(found).items()}


def _plain(table: npt.NDArray[np.float64]) -> list[list[float | None]]:
    return [[one if np.isfinite(one) else None for one in row] for row in table.tolist()]
