"""A gallery: embeddings, what each of them is of, and which model made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.search.neighbours import Metric

FORMAT = 1
DESCRIPTION, EMBEDDINGS, ROWS = "index.json", "embeddings.npy", "rows.csv"
ENGINE_FILES = FAISS_FILE, MILVUS_FILE = "index.faiss", "milvus.db"
COLUMNS = ("id", "label", "group", "split", "path")
UNIT_TOLERANCE = 1e-3
"""How far the length of a vector of metric cosine may be from 1."""

Texts = npt.NDArray[Any]
"""(N,) numpy StringDType."""
TEXT = np.dtypes.StringDType()


@dataclass(frozen=True)
class Gallery:
    """N embeddings (N, D) float32, perhaps mapped from the disk, and a text of each kind for each.

    Ids are unique; a path may be empty. `model` says what made the embeddings: `run`, `checkpoint`
    and its `sha256`. For metric cosine the embeddings have length 1.
    """

    embeddings: npt.NDArray[np.float32]
    ids: Texts
    labels: Texts
    groups: Texts
    splits: Texts
    paths: Texts
    model: Mapping[str, str]
    metric: Metric = "cosine"

    def __post_init__(self) -> None:
        """Raise DataError unless there is one of each for every embedding."""
        columns = (self.ids, self.labels, self.groups, self.splits, self.paths)
        lengths = [len(column) for column in columns]
        if self.embeddings.ndim != 2 or lengths != [len(self.embeddings)] * len(columns):
            raise DataError(
                "The parts of the gallery do not fit together.",
                expected=f"(N, D) embeddings and N of each of {', '.join(COLUMNS)}",
                got=f"embeddings of shape {self.embeddings.shape} and columns of {lengths} values",
            )

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(  # noqa: PLR0913 (the columns of the table, each named at the call)
        cls,
        embeddings: npt.NDArray[np.float32],
        *,
        ids: Sequence[str] | Texts,
        labels: Sequence[str] | Texts,
        groups: Sequence[str] | Texts | None = None,
        splits: Sequence[str] | Texts | None = None,
        paths: Sequence[str] | Texts | None = None,
        model: Mapping[str, str],
        metric: Metric = "cosine",
    ) -> Gallery:
        """A gallery from plain columns; those left out are empty. Checked when it is written."""
        empty = np.full(len(ids), "", dtype=TEXT)
        return cls(
            embeddings=embeddings,
            ids=np.asarray(ids, dtype=TEXT),
            labels=np.asarray(labels, dtype=TEXT),
            groups=empty if groups is None else np.asarray(groups, dtype=TEXT),
            splits=empty if splits is None else np.asarray(splits, dtype=TEXT),
            paths=empty if paths is None else np.asarray(paths, dtype=TEXT),
            model=dict(model),
            metric=metric,
        )


def require_values(embeddings: npt.NDArray[np.float32], metric: Metric, *, first: int = 0) -> None:
    """Raise DataError unless every number is finite and, for cosine, every vector has length 1.

    `first` is the number of the first row in the gallery.
    """
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} embeddings hold NaN or infinity.",
            expected="finite numbers",
            got=f"the first in row {first + int(bad[0])}",
            remedy="embed with a model whose training did not diverge",
        )
    if metric != "cosine":
        return
    lengths = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
    bad = np.flatnonzero(np.abs(lengths - 1) > UNIT_TOLERANCE)
    if len(bad):
        raise DataError(
            f"{len(bad)} embeddings do not have length 1, as metric cosine needs.",
            expected=f"lengths within {UNIT_TOLERANCE:g} of 1",
            got=f"{lengths[bad[0]]:.6g} in row {first + int(bad[0])}",
            remedy="divide each vector by its length, or use metric euclidean or dot",
        )


def require_unique(ids: Texts, where: Path) -> None:
    """Raise DataError for an id that stands in two rows."""
    sorted_ids = np.sort(ids)
    repeated = sorted_ids[1:][sorted_ids[1:] == sorted_ids[:-1]]
    if len(repeated):
        raise DataError(
            f"{len(repeated)} rows of the gallery repeat an id.",
            expected="every id once",
            got=", ".join(str(one) for one in repeated[:5]),
            where=where,
            remedy="embed every picture once",
        )


def to_json(content: Mapping[str, object]) -> str:
    """The description as it is written."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
