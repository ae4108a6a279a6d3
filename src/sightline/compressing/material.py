"""What a search works on: rows to fit, and the held-out rows of val and test with their pools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sightline.compressing.judging import Trial, make_trial
from sightline.data.dataset import Dataset
from sightline.data.vector_samples import VectorRows
from sightline.experiment import open_samples
from sightline.metrics.distance_blocks import Space
from sightline.random_numbers import generator
from sightline.tasks import TASKS
from sightline.tasks.compress_config import CompressConfig
from sightline.tasks.compress_pool import pool_of, require_held_out

MOST_QUERIES = 5000
"""Held-out rows that ask in one split: more would hardly make the interval narrower."""


@dataclass(frozen=True, eq=False)
class Material:
    """Rows to fit, a trial to choose by, one that only reports, and what is near."""

    fit: VectorRows
    val: Trial
    test: Trial
    metric: Literal["cosine", "euclidean"]


def read_material(dataset: Dataset, config: CompressConfig) -> Material:
    """The parts of a table; DataError where nothing is held out, or less than k rows are."""
    for split in ("val", "test"):
        require_held_out(dataset, split)
    # Codecs divide by the length themselves, so that whoever uses one need not know.
    plain = config.model_copy(update={"data": config.data.model_copy(update={"normalize": False})})
    opened, _ = open_samples(dataset.manifest, plain)
    assert isinstance(opened, VectorRows)
    metric = "cosine" if config.data.normalize else config.loss.geometry
    val, test = (_trial(opened, dataset, one, config, metric) for one in ("val", "test"))
    return Material(opened.select(dataset.manifest.rows("fit")), val, test, metric)


def _trial(
    opened: VectorRows, dataset: Dataset, split: str, config: CompressConfig, metric: Any
) -> Trial:
    """The held-out rows of a split as queries, in their pool."""
    asked, seed = dataset.manifest.rows(split), config.project.seed
    order = generator(seed, 0, f"queries of {split}").permutation(len(asked))
    queries = opened.select(asked[np.sort(order[:MOST_QUERIES])])
    others = TASKS[config.task].companions(dataset, (split,), config)
    assert others is not None
    pool = pool_of(len(queries), len(others), pool=config.eval.pool, seed=seed)
    vectors = queries.read()
    every = np.concatenate([vectors, replace(opened, manifest=others).read()])[pool.places]
    groups = queries.manifest.group.codes
    return make_trial(
        split,
        Space(vectors, every, metric),
        ks=config.eval.recall_k,
        self_rows=pool.own,
        groups=groups if (groups >= 0).any() else None,
        held_out=pool.held_out,
    )
