"""Faiss behind the interface of an index: exact, by a graph, or by cells of compressed vectors.

Faiss chooses candidates; their distances are then computed from the embeddings themselves, so they
are those of the exact engine, whatever Faiss compresses or rounds (Johnson, Douze and Jegou,
Billion-scale similarity search with GPUs, 2017, for the library).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import MissingExtraError, RunError
from sightline.search.cells import default_probes, plan_cells
from sightline.search.exact import nearest
from sightline.search.gallery import FAISS_FILE
from sightline.search.index import Array, State
from sightline.search.neighbours import Metric, Neighbours
from sightline.search.rescoring import (
    best_of,
    queries_at_once,
    require_searchable,
    unit_length,
)
from sightline.search.settings import Engine, IndexSettings

_BLOCK_ROWS = 65_536


class FaissIndex:
    """What Faiss built over the embeddings, and how it is asked."""

    def __init__(
        self, built: Any, embeddings: Array, *, metric: Metric, settings: IndexSettings
    ) -> None:
        self.built, self.embeddings, self.metric, self.settings = (
            built,
            embeddings,
            metric,
            settings,
        )

    @property
    def engine(self) -> Engine:
        """Which of the three it is."""
        return self.settings.engine

    @property
    def size(self) -> int:
        """Vectors that Faiss holds."""
        return int(self.built.ntotal)

    @property
    def dimension(self) -> int:
        """Numbers of each vector that Faiss holds."""
        return int(self.built.d)

    def search(self, queries: Array, k: int) -> Neighbours:
        """The k nearest of each query among what Faiss finds; equal distances by row.

        Faiss answers -1 where the cells or links that it looked at hold fewer than k vectors. Such
        a query is compared with the whole gallery instead, so every row of the answer is one.
        """
        queries = require_searchable(queries, (self.size, self.dimension), k)
        wanted = min(self.size, k * self.settings.rescored) if self.engine == "faiss-ivfpq" else k
        distances = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        step = queries_at_once(wanted, self.dimension, self.settings.memory_mib)
        for start in range(0, len(queries), step):
            block = slice(start, start + step)
            candidates = self._candidates(queries[block], wanted)
            distances[block], rows[block] = best_of(
                queries[block], self.embeddings, candidates, k, metric=self.metric
            )
        short = np.flatnonzero(rows[:, -1] < 0)
        if len(short):
            exact = nearest(
                queries[short],
                self.embeddings,
                k,
                metric=self.metric,
                memory_mib=self.settings.memory_mib,
            )
            distances[short], rows[short] = exact
        return Neighbours(distances, rows)

    def save(self, folder: Path) -> State:
        """Write what was learned; faiss-flat is nothing but the embeddings."""
        if self.engine == "faiss-flat":
            return {}
        _faiss().write_index(self.built, str(folder / FAISS_FILE))
        return {"file": FAISS_FILE}

    def close(self) -> None:
        """Nothing is open."""

    def _candidates(self, queries: Array, wanted: int) -> npt.NDArray[np.int64]:
        faiss = _faiss()
        asked = unit_length(queries) if self.metric == "cosine" else queries
        with _threads(faiss, self.settings):
            found = self.built.search(asked, wanted, params=self._parameters(faiss, wanted))[1]
        return np.asarray(found, np.int64)

    def _parameters(self, faiss: Any, wanted: int) -> Any:
        if self.engine == "faiss-hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(self.settings.ef_search, wanted))
        if self.engine == "faiss-ivfpq":
            lists = int(self.built.nlist)
            return faiss.SearchParametersIVF(nprobe=self.settings.probes or default_probes(lists))
        return None


def build_faiss(embeddings: Array, *, metric: Metric, settings: IndexSettings) -> FaissIndex:
    """The Faiss index that the settings name.

    Two builds of the same embeddings are equal; of faiss-hnsw only with one thread.
    """
    faiss = _faiss()
    count, dimension = embeddings.shape
    with _threads(faiss, settings):
        built = faiss.index_factory(dimension, *_recipe(faiss, count, dimension, metric, settings))
        if settings.engine == "faiss-hnsw":
            built.hnsw.efConstruction = settings.ef_construction
        if settings.engine == "faiss-ivfpq":
            plan = plan_cells(count, dimension, settings)
            drawn = np.random.default_rng(0).permutation(count)[: plan.sample]
            # Distances are computed from the vectors in the end, so rough codes are enough; and
            # the order of codes, which takes ten times as long to learn, serves no search of ours.
            built.pq.cp.niter, built.pq.cp.max_points_per_centroid = 10, 64
            built.do_polysemous_training = False
            built.train(_prepared(embeddings[np.sort(drawn)], metric))
        _add(built, embeddings, metric)
    return FaissIndex(built, embeddings, metric=metric, settings=settings)


def load_faiss(
    folder: Path, embeddings: Array, *, metric: Metric, settings: IndexSettings
) -> FaissIndex:
    """The index that FaissIndex.save wrote; faiss-flat is made from the embeddings again."""
    if settings.engine == "faiss-flat":
        return build_faiss(embeddings, metric=metric, settings=settings)
    faiss = _faiss()
    try:
        built = faiss.read_index(str(folder / FAISS_FILE))
    except RuntimeError as error:
        raise RunError(
            "Faiss cannot read the index.",
            expected="the file that was written with the gallery",
            got=str(error).splitlines()[0],
            where=folder / FAISS_FILE,
            remedy="build the index anew",
        ) from error
    return FaissIndex(built, embeddings, metric=metric, settings=settings)


def _recipe(
    faiss: Any, count: int, dimension: int, metric: Metric, settings: IndexSettings
) -> tuple[str, int]:
    """What Faiss calls the index, and its metric."""
    near = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    if settings.engine == "faiss-flat":
        return "Flat", near
    if settings.engine == "faiss-hnsw":
        return f"HNSW{settings.hnsw_links},Flat", near
    plan = plan_cells(count, dimension, settings)
    # Between vectors of length 1 both metrics give one order, and codes of L2 are the more exact.
    return f"IVF{plan.lists},PQ{plan.code_bytes}", faiss.METRIC_L2 if metric == "cosine" else near


def _add(built: Any, embeddings: Array, metric: Metric) -> None:
    for start in range(0, len(embeddings), _BLOCK_ROWS):
        built.add(_prepared(embeddings[start : start + _BLOCK_ROWS], metric))


def _prepared(block: Array, metric: Metric) -> Array:
    found = np.ascontiguousarray(block, dtype=np.float32)
    return unit_length(found) if metric == "cosine" else found


@contextmanager
def _threads(faiss: Any, settings: IndexSettings) -> Iterator[None]:
    """The number of threads of Faiss in the block; the only place that sets it."""
    import torch

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(settings.threads or torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faiss() -> Any:
    try:
        with warnings.catch_warnings():
            # Types that SWIG makes lack __module__, which newer Pythons warn of.
            warnings.filterwarnings("ignore", message="builtin type", category=DeprecationWarning)
            import faiss
    except ImportError as error:
        raise MissingExtraError("faiss-cpu", "faiss", "An index of an engine faiss-*") from error
    return faiss
