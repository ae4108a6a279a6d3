"""How well neighbours survive compression: recall in a pool, beside PCA of the same size.

Q queries, C companions that fill the pool, D numbers before and d after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.vector_samples import unit_length
from sightline.metrics.distance_blocks import Space
from sightline.metrics.distance_preservation import (
    normalised_stress,
    rank_correlation,
)
from sightline.metrics.neighbours import mean_lower_bound, recall_difference, recall_estimate
from sightline.models.pca import PrincipalComponents
from sightline.tasks.compress_config import CompressConfig
from sightline.tasks.compress_pool import Pool, pool_of
from sightline.tasks.compress_result import Baseline, CompressResult
from sightline.tasks.neighbour_judging import judge_neighbours

Floats = npt.NDArray[np.float32]
Pair = tuple[Floats, Floats]
"""The same rows before (N, D) and after (N, d)."""
Recalls = dict[int, npt.NDArray[np.float64]]

MOST_QUERIES = 1000
"""Of so many queries all distances in the pool are compared."""


def recalls_of(queries: Pair, others: Pair, config: CompressConfig) -> tuple[Recalls, Pool]:
    """Recall@k of each query (Q,) for each k, and the pool it was found in."""
    pool = _pool(queries, others, config)
    before, after = _spaces(queries, others, pool, config)
    return judge_neighbours(before, after, ks=config.eval.recall_k, self_rows=pool.own), pool


def compress_result(
    ids: list[str],
    queries: Pair,
    others: Pair,
    config: CompressConfig,
    *,
    components: PrincipalComponents | None,
    codes: npt.NDArray[Any] | None = None,
) -> CompressResult:
    """Every score of the queries, in their order; with components PCA beside it.

    `codes` (Q,) name queries that are copies of each other, which intervals draw together.
    """
    recalls, pool = recalls_of(queries, others, config)
    settings = config.eval
    sampling: dict[str, Any] = {
        "groups": codes,
        "resamples": settings.bootstrap,
        "confidence": settings.confidence,
        "seed": config.project.seed,
    }
    baselines = []
    if components is not None:
        width = config.model.latent_dim
        theirs = _recalls_of_components(queries, others, config, components)
        baselines.append(_baseline("pca", width, theirs, recalls, sampling))
    return CompressResult(
        ids=ids,
        recalls=recalls,
        headline={
            f"recall_at_{k}": recall_estimate(values, **sampling) for k, values in recalls.items()
        },
        lower_bounds={
            f"recall_at_{k}": mean_lower_bound(
                values, groups=codes, confidence=settings.confidence, seed=config.project.seed
            )
            for k, values in recalls.items()
        },
        more=_distances_kept(queries, others, pool, config, sampling),
        baselines=baselines,
        pool=pool,
        sizes=_sizes(queries, config),
    )


def _pool(queries: Pair, others: Pair, config: CompressConfig) -> Pool:
    rows = len(queries[0]), len(others[0])
    return pool_of(*rows, pool=config.eval.pool, seed=config.project.seed)


def _recalls_of_components(
    queries: Pair, others: Pair, config: CompressConfig, components: PrincipalComponents
) -> Recalls:
    """The recall of principal components, by distance: around their mean, angles say nothing."""
    pool, width = _pool(queries, others, config), config.model.latent_dim
    before, _ = _spaces(queries, others, pool, config)
    of_unit = config.loss.geometry == "cosine"
    shorter = [
        components.project(unit_length(x) if of_unit else x, width) for x, _ in (queries, others)
    ]
    after = Space(shorter[0], np.concatenate(shorter)[pool.places])
    return judge_neighbours(before, after, ks=config.eval.recall_k, self_rows=pool.own)


def _baseline(
    name: str, width: int, theirs: Recalls, ours: Recalls, sampling: dict[str, Any]
) -> Baseline:
    return Baseline(
        name=name,
        width=width,
        recalls=theirs,
        estimates={f"recall_at_{k}": recall_estimate(v, **sampling) for k, v in theirs.items()},
        gains={f"recall_at_{k}": recall_difference(ours[k], theirs[k], **sampling) for k in theirs},
    )


def _distances_kept(
    queries: Pair, others: Pair, pool: Pool, config: CompressConfig, sampling: dict[str, Any]
) -> dict[str, Any]:
    """How well all distances in the pool are kept, those of far neighbours too."""
    rows = slice(MOST_QUERIES)
    before, after = (
        Space(space.queries[rows], space.pool, space.metric)
        for space in _spaces(queries, others, pool, config)
    )
    own = pool.own[rows]
    ranks = rank_correlation(before, after, self_rows=own)
    stress = normalised_stress(before, after, self_rows=own, best_scale=True)
    codes = sampling["groups"]
    kept = sampling | {"groups": None if codes is None else codes[rows]}
    return {
        "rank_correlation": recall_estimate(ranks, **kept).as_dict(),
        "stress": {"value": stress, "n": len(own)},
    }


def _spaces(queries: Pair, others: Pair, pool: Pool, config: CompressConfig) -> list[Space]:
    """Queries and pool before and after."""
    return [
        Space(mine, np.concatenate([mine, theirs])[pool.places], config.loss.geometry)
        for mine, theirs in zip(queries, others, strict=True)
    ]


def _sizes(queries: Pair, config: CompressConfig) -> dict[str, int]:
    """Numbers and bytes of a vector before, as float32, and after."""
    before, after = queries[0].shape[1], queries[1].shape[1]
    return {
        "numbers": before,
        "bytes": 4 * before,
        "latent_numbers": after,
        "latent_bytes": after * (1 if config.model.int8 else 4),
    }
