"""Among which rows neighbours are looked for: held-out ones, filled up with others if too few.

Q queries, P rows of the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sightline.data.dataset import Dataset
from sightline.data.manifest import Manifest
from sightline.errors import DataError
from sightline.random_numbers import generator

Integers = npt.NDArray[np.int64]
PoolSize = int | Literal["full", "held-out"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Which of some rows are searched, and where each query is among them."""

    places: Integers
    """(P,) places of the searched rows among queries and companions, one after the other."""
    own: Integers
    """(Q,) place of each query in the pool, -1 for one that is not in it."""
    held_out: int
    """Rows of the pool that are of the split that is judged."""

    def as_dict(self) -> dict[str, Any]:
        """How large it is, and of what."""
        return {
            "rows": len(self.places),
            "held_out": self.held_out,
            "others": len(self.places) - self.held_out,
        }

    def in_words(self) -> str:
        """The same in one sentence."""
        others = len(self.places) - self.held_out
        filled = f", {others:,} of them not held out" if others else ", all of them held out"
        return f"pool: {len(self.places):,} rows{filled}"


def require_held_out(dataset: Dataset, split: str) -> None:
    """Raise DataError where a split that is to judge has no row."""
    if not len(dataset.part(split)):
        raise DataError(
            f"There is no row to judge by in {split}.",
            expected="rows that differ from those to fit, some of them held out",
            got=f"{len(dataset.manifest)} rows, {len(dataset.part('fit'))} of them to fit",
            where=dataset.manifest.root,
            remedy="copies of a row stay together: add other rows, or set "
            f"data.group_duplicates=false; or raise data.{split}_fraction",
        )


def companions(manifest: Manifest, splits: Sequence[str], *, pool: PoolSize, seed: int) -> Manifest:
    """The samples that fill the pool of some splits up; none where those are enough.

    The test is never among those of validation.
    """
    asked = manifest.rows(*splits)
    seen = ("fit",) if "val" in splits else ("fit", "val")
    others = manifest.rows(*(one for one in seen if one not in splits))
    missing = len(others) if pool == "full" else 0
    if isinstance(pool, int):
        missing = min(max(pool - len(asked), 0), len(others))
    chosen = generator(seed, 0, "rows that fill the pool").permutation(len(others))[:missing]
    return manifest.select(others[np.sort(chosen)])


def pool_of(queries: int, others: int, *, pool: PoolSize, seed: int) -> Pool:
    """The pool of so many queries and companions; with more queries than it holds, some of them."""
    places = np.arange(queries + others)
    if isinstance(pool, int) and queries > pool:
        random = generator(seed, 0, "queries that are the pool")
        places = np.sort(random.permutation(queries)[:pool])
    own = np.full(queries, -1, np.int64)
    inside = places < queries
    own[places[inside]] = np.flatnonzero(inside)
    return Pool(places, own, int(inside.sum()))
