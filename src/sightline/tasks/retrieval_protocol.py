"""Which gallery a split is compared with, and what of it a query does not see.

Q N D are queries, gallery rows and embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.dataset import Dataset
from sightline.data.groups import units
from sightline.data.manifest import Manifest

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


class Searched(NamedTuple):
    """Queries, the gallery they are compared with, and the truth about both."""

    queries: Floats
    """(Q, D)."""
    gallery: Floats
    """(N, D)."""
    query_labels: Codes
    """(Q,), in the same coding as those of the gallery."""
    gallery_labels: Codes
    """(N,)."""
    exclude: tuple[Codes, Codes] | None = None
    """Codes (Q,) and (N,): a query does not see the gallery rows of its own code."""

    @property
    def vectors(self) -> tuple[Floats, Floats]:
        """Queries and gallery."""
        return self.queries, self.gallery

    @property
    def truth(self) -> dict[str, Any]:
        """What scores need beside the vectors, by the names they give it."""
        return {
            "query_labels": self.query_labels,
            "gallery_labels": self.gallery_labels,
            "exclude": self.exclude,
        }


@dataclass(frozen=True)
class Protocol:
    """How a split is judged while training: its queries, and the splits that are their gallery."""

    samples: Manifest
    """All that is looked at."""
    split: str
    own_gallery: bool
    leave_out: str = "object"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are looked at."""
        return (self.split,) if self.own_gallery else ("fit", self.split)

    def search_space(self, rows: dict[str, Any]) -> Searched:
        """Joined rows (ids, embeddings) of all samples that are looked at, parted by their role."""
        place = {str(one): row for row, one in enumerate(self.samples.id)}
        table = self.samples.select([place[one] for one in rows["ids"]])
        labels = table.label.codes.astype(np.int64)
        embeddings = np.asarray(rows["embeddings"], np.float32)
        if self.own_gallery:
            codes = left_out(table, self.leave_out)
            return Searched(embeddings, embeddings, labels, labels, (codes, codes))
        asks = table.rows(self.split)
        shown = table.rows("fit")
        return Searched(embeddings[asks], embeddings[shown], labels[asks], labels[shown])


def choose_protocol(dataset: Dataset, split: str, *, leave_out: str) -> Protocol:
    """How a split is judged: against train, or with classes that train never saw against itself."""
    known = labels_of(dataset.part("fit"))
    own = is_own_gallery(labels_of(dataset.part(split)), known)
    samples = dataset.part(split) if own else dataset.part("fit", split)
    return Protocol(samples, split, own, leave_out)


def is_own_gallery(asked: set[str], known: set[str]) -> bool:
    """Whether queries of these classes have to be each other's gallery: none of theirs is known."""
    return bool(asked) and not asked & known


def labels_of(samples: Manifest) -> set[str]:
    """The classes that occur."""
    return {str(samples.label.names[code]) for code in np.unique(samples.label.codes) if code >= 0}


def left_out(samples: Manifest, leave_out: str) -> Codes:
    """Codes (N,) that are equal for pictures which do not see each other."""
    if leave_out == "picture":
        return np.arange(len(samples), dtype=np.int64)
    codes: Codes = units(samples).unit.astype(np.int64)
    return codes


def coded(*columns: Sequence[str] | npt.NDArray[Any]) -> tuple[npt.NDArray[np.str_], list[Codes]]:
    """The distinct names (C,) of several columns, sorted, and each column in their numbers."""
    texts = [np.asarray(column, dtype=object).astype(str) for column in columns]
    names, codes = np.unique(np.concatenate(texts), return_inverse=True)
    cuts = np.cumsum([len(one) for one in texts])[:-1]
    return names, [part.astype(np.int64) for part in np.split(codes.reshape(-1), cuts)]
