"""One interface behind which every engine finds the nearest vectors of a gallery.

N vectors, Q queries, D numbers each, k neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.search.exact import nearest
from sightline.search.neighbours import Metric, Neighbours
from sightline.search.settings import Engine, IndexSettings

Array = npt.NDArray[np.float32]
"""Vectors (N, D), perhaps mapped from the disk."""
State = Mapping[str, str]
"""What an engine has to know of what it saved; plain text, for a JSON file."""


class Index(Protocol):
    """A gallery that can be asked for nearest neighbours."""

    @property
    def engine(self) -> Engine:
        """Which engine it is."""

    @property
    def metric(self) -> Metric:
        """What near means."""

    @property
    def size(self) -> int:
        """Vectors that the engine holds."""

    @property
    def dimension(self) -> int:
        """Numbers of each vector that the engine holds."""

    def search(self, queries: Array, k: int) -> Neighbours:
        """The k nearest of each query (Q, D), the nearest first; never a row that is none.

        Raises DataError where k is larger than the gallery, which names the largest k.
        """

    def save(self, folder: Path) -> State:
        """Write what cannot be had from the embeddings alone; what load_index needs of it."""

    def close(self) -> None:
        """Let go of a database that only one process may have open; nothing for other engines."""


class ExactIndex:
    """Compares every query with every vector; nothing is built, and nothing is missed."""

    engine: Engine = "exact"

    def __init__(self, embeddings: Array, *, metric: Metric, settings: IndexSettings) -> None:
        self.embeddings, self.metric, self.settings = embeddings, metric, settings

    @property
    def size(self) -> int:
        """Vectors of the gallery."""
        return len(self.embeddings)

    @property
    def dimension(self) -> int:
        """Numbers of each vector."""
        return int(self.embeddings.shape[1])

    def search(self, queries: Array, k: int) -> Neighbours:
        """The k nearest of each query; equal distances in the order of their rows."""
        return nearest(
            queries,
            self.embeddings,
            k,
            metric=self.metric,
            memory_mib=self.settings.memory_mib,
        )

    def save(self, folder: Path) -> State:
        """Nothing: the embeddings are all there is."""
        return {}

    def close(self) -> None:
        """Nothing is open."""


def build_index(
    embeddings: Array, *, metric: Metric = "cosine", settings: IndexSettings | None = None
) -> Index:
    """An index over the embeddings (N, D) float32 by the engine that the settings name.

    The embeddings are kept as they are, a memory map on the disk; they must not change afterwards.
    Raises MissingExtraError where the engine's package is not installed, and DataError for
    embeddings that the engine cannot take.
    """
    chosen = settings or IndexSettings()
    _require_matrix(embeddings)
    if chosen.engine == "exact":
        return ExactIndex(embeddings, metric=metric, settings=chosen)
    if chosen.engine == "milvus":
        from sightline.search.milvus_engine import build_milvus

        return build_milvus(embeddings, metric=metric, settings=chosen)
    from sightline.search.faiss_engine import build_faiss

    return build_faiss(embeddings, metric=metric, settings=chosen)


def load_index(
    folder: Path, embeddings: Array, *, metric: Metric, settings: IndexSettings, state: State
) -> Index:
    """The index that was saved in a folder, over the same embeddings.

    Raises RunError where what the engine saved is not there or cannot be read.
    """
    if settings.engine == "exact":
        return ExactIndex(embeddings, metric=metric, settings=settings)
    if settings.engine == "milvus":
        from sightline.search.milvus_engine import load_milvus

        return load_milvus(folder, embeddings, metric=metric, settings=settings, state=state)
    from sightline.search.faiss_engine import load_faiss

    return load_faiss(folder, embeddings, metric=metric, settings=settings)


def recall_against_exact(index: Index, embeddings: Array, queries: Array, k: int) -> float:
    """Share of the true k nearest that the index finds, 0..1, as a mean over the queries.

    A row counts as found too where it is as near as the k-th true one, so that among equal vectors
    none is preferred.
    """
    true = nearest(queries, embeddings, k, metric=index.metric)
    found = index.search(queries, k)
    hits = (found.rows[:, :, None] == true.rows[:, None, :]).any(axis=2)
    equal = found.distances <= true.distances[:, -1:]
    return float(np.mean(hits | equal))


def _require_matrix(embeddings: Array) -> None:
    shape = tuple(embeddings.shape)
    if len(shape) != 2 or 0 in shape:
        raise DataError(
            "There is nothing to search in.",
            expected="embeddings of shape (N, D), at least one of each",
            got=f"shape {shape}",
        )
