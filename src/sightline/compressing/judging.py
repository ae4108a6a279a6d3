"""How many neighbours a codec keeps, how sure that is, and what it costs.

Q queries, N vectors of the pool, D numbers each.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from sightline.compressing.candidates import Spec
from sightline.compressing.finding import find_by_codes
from sightline.compressing.fitting import Fitted
from sightline.errors import DataError
from sightline.metrics.classification import Floats
from sightline.metrics.distance_blocks import Space
from sightline.metrics.intervals import Estimate
from sightline.metrics.neighbours import (
    mean_lower_bound,
    recall_difference,
    recall_estimate,
    without_self,
)
from sightline.search.neighbours import Neighbours
from sightline.tasks.neighbour_judging import judge_rows, true_neighbours

_TIMED_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Trial:
    """Queries whose true neighbours in a pool are known; every codec is judged by the same."""

    split: str
    x: Space
    """Queries (Q, D) and pool (N, D), float32, with the metric that says what is near."""
    self_rows: npt.NDArray[np.int64]
    """(Q,) row of each query in the pool, -1 for none."""
    truth: Neighbours
    ks: tuple[int, ...]
    groups: npt.NDArray[Any] | None = None
    """(Q,) one name for queries that are copies of each other."""
    held_out: int | None = None
    """Rows of the pool that nothing was fitted to; None: not known."""

    @property
    def pool(self) -> dict[str, Any]:
        """How large the pool is, and of what, as plain data."""
        rows = len(self.x.pool)
        if self.held_out is None:
            return {"rows": rows}
        return {"rows": rows, "held_out": self.held_out, "others": rows - self.held_out}


def make_trial(
    split: Literal["val", "test"] | str,
    x: Space,
    *,
    ks: Sequence[int],
    self_rows: npt.NDArray[np.int64] | None = None,
    groups: npt.NDArray[Any] | None = None,
    held_out: int | None = None,
) -> Trial:
    """A trial with the true neighbours, found once by exact search; DataError for a k too large."""
    own = np.full(len(x.queries), -1, np.int64) if self_rows is None else self_rows
    truth = true_neighbours(x, max(ks), self_rows=own)
    return Trial(split, x, own, truth, tuple(sorted(set(ks))), groups, held_out)


@dataclass(frozen=True, eq=False)
class Judged:
    """What one form keeps in one trial."""

    spec: Spec
    split: str
    recalls: dict[int, Floats]
    """(Q,) of each query for each k."""
    estimates: dict[int, Estimate]
    """The mean with its two-sided interval of 95 %."""
    lower: dict[int, float]
    """What the mean exceeds with a confidence of 95 %, one-sided."""
    pool: dict[str, Any]
    build_seconds: float
    encode_microseconds: float
    """For one vector, in blocks, on this machine and its threads."""

    def meets(self, k: int, recall: float) -> bool:
        """Whether the lower bound, not only the mean, reaches the recall."""
        return self.lower[k] >= recall


def judge(fitted: Fitted, trial: Trial) -> Judged:
    """The recall of a codec's codes in a trial: float queries, coded pool.

    Raises DataError for vectors of another size than the codec's.
    """
    codec = fitted.codec
    pool = torch.from_numpy(np.ascontiguousarray(trial.x.pool, np.float32))
    queries = torch.from_numpy(np.ascontiguousarray(trial.x.queries, np.float32))
    inside = int((trial.self_rows >= 0).any())
    most = max(trial.ks)
    found = find_by_codes(codec, queries, codec.encode(pool), most + inside)
    rows, _ = without_self(found.rows, found.distances, self_rows=trial.self_rows, k=most)
    recalls = judge_rows(trial.x, rows, trial.truth, ks=trial.ks, self_rows=trial.self_rows)
    return Judged(
        spec=fitted.spec,
        split=trial.split,
        recalls=recalls,
        estimates={k: recall_estimate(v, groups=trial.groups) for k, v in recalls.items()},
        lower={k: mean_lower_bound(v, groups=trial.groups) for k, v in recalls.items()},
        pool=trial.pool,
        build_seconds=fitted.seconds,
        encode_microseconds=_encode_microseconds(fitted, pool[:_TIMED_ROWS]),
    )


def difference(one: Judged, other: Judged, k: int, trial: Trial) -> Estimate:
    """How much more of the neighbours `one` keeps than `other`, paired by query, with an interval.

    Raises DataError where the two were not judged by the trial.
    """
    if {one.split, other.split} != {trial.split}:
        raise DataError(
            "Two forms were not judged by the same queries.",
            expected=trial.split,
            got=f"{one.split} and {other.split}",
        )
    return recall_difference(one.recalls[k], other.recalls[k], groups=trial.groups)


def _encode_microseconds(fitted: Fitted, vectors: torch.Tensor) -> float:
    fitted.codec.encode(vectors[:64])
    start = time.perf_counter()
    fitted.codec.encode(vectors)
    return 1e6 * (time.perf_counter() - start) / len(vectors)
