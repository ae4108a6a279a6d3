"""Scores of re-identification: CMC, mAP and mINP under the camera rule, from ranks of matches.

Q queries, N gallery pictures, D numbers in each vector, B queries of one block. A match is a
gallery picture of the query's identity that ``camera_rule`` does not leave out. All scores are
kept for each query, so that means and their intervals (``grouped_means``) need no second look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts, Floats
from sightline.metrics.ranking import (
    RankBlock,
    RankingSettings,
    Scores,
    rank_relevant,
    ranks_of_distances,
)
from sightline.metrics.retrieval import average_precision, first_ranks, relevant_counts
from sightline.metrics.same_camera import CameraRule
from sightline.metrics.vectors import Vectors

_NAMES = ("first_rank", "relevant", "ranked", "average_precision", "inverse_penalty")


@dataclass(frozen=True)
class ReidScores:
    """Scores of each query, (Q,) in the order of the queries.

    A query without a match is unmatched: its first rank is 0, its scores NaN, and no mean counts
    it. Where fewer gallery pictures than K are ranked for some matched query, whether it is found
    by rank K means nothing: that rank alone is NaN, and ``undefined[K]`` says why.
    """

    first_rank: Counts
    """Rank of the nearest match, from 1; 0 for an unmatched query."""
    relevant: Counts
    """Matches in the gallery."""
    ranked: Counts
    """Gallery pictures that were ranked."""
    average_precision: Floats
    """0..1, the mean of the precision at each match, not interpolated; its mean is mAP."""
    inverse_penalty: Floats
    """0..1, matches divided by the rank of the hardest one; its mean is mINP."""
    ranks: tuple[int, ...]
    """Those that ``columns`` and ``undefined`` tell of."""
    undefined: dict[int, str]

    @property
    def matched(self) -> npt.NDArray[np.bool_]:
        """Which queries have a match in the gallery, (Q,)."""
        return self.relevant > 0

    @property
    def unmatched(self) -> int:
        """How many queries have none."""
        return int((~self.matched).sum())

    def cmc(self, max_rank: int = 50) -> Floats:
        """Return the cumulative match curve (K,): the share of matched queries found by rank k.

        A rank beyond the gallery pictures ranked for some matched query is NaN.
        """
        first = self.first_rank[self.matched]
        found = np.bincount(np.minimum(first, max_rank + 1), minlength=max_rank + 2)
        curve = np.cumsum(found[1 : max_rank + 1]) / len(first)
        curve[self.ranked[self.matched].min() :] = np.nan
        return curve.astype(np.float64)

    def rank_hits(self, k: int) -> Floats:
        """Return 1 where a match is among the first k, else 0, (Q,); NaN where undefined."""
        _check_ranks((k,))
        if (self.ranked[self.matched] < k).any():
            return np.full(len(self.first_rank), np.nan)
        return np.where(self.matched, (self.first_rank <= k).astype(np.float64), np.nan)

    def columns(self) -> dict[str, Floats]:
        """Return the scores of each query by name, (Q,): rank_K, average_precision, ..."""
        hits = {f"rank_{k}": self.rank_hits(k) for k in self.ranks}
        return hits | {
            "average_precision": self.average_precision,
            "inverse_penalty": self.inverse_penalty,
        }

    def mean(self, name: str) -> float:
        """Return the mean of a column over the matched queries; NaN where it is undefined."""
        return float(self.columns()[name][self.matched].mean())


def reid_scores(
    queries: Vectors,
    gallery: Vectors,
    protocol: CameraRule,
    *,
    ranks: Sequence[int] = (1, 5, 10),
    settings: RankingSettings | None = None,
) -> ReidScores:
    """Return the scores of queries (Q, D) in a gallery (N, D), the largest dot product first.

    On unit vectors this is the order of the cosine, of the Euclidean distance and of its square;
    vectors of other lengths are not ranked by distance. Ties count against the model. Raises
    DataError where no query has a match.

    >>> import numpy as np
    >>> from sightline.metrics.same_camera import camera_rule
    >>> found = reid_scores(
    ...     np.array([[1.0, 0.0]]),
    ...     np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]),
    ...     camera_rule([7], [7, 3, 7], query_cameras=[0], gallery_cameras=[0, 1, 1]),
    ...     ranks=(1, 2),
    ... )
    >>> found.first_rank.tolist(), found.mean("rank_2"), found.mean("average_precision")
    ([2], 1.0, 0.5)
    """
    blocks = rank_relevant(
        queries,
        gallery,
        query_labels=protocol.query_labels,
        gallery_labels=protocol.gallery_labels,
        exclude=protocol.exclude,
        settings=settings,
    )
    return reid_scores_of_ranks(blocks, ranks=ranks)


def reid_scores_of_distances(
    blocks: Iterable[tuple[Counts, Scores]],
    protocol: CameraRule,
    *,
    ranks: Sequence[int] = (1, 5, 10),
    settings: RankingSettings | None = None,
) -> ReidScores:
    """Return the scores of distances that come in blocks, as those of ``rerank`` do.

    A block is the numbers of its queries (B,), in order and without gaps, and their distances
    (B, N), smaller is nearer; neither is changed. Raises DataError as ``reid_scores`` does, and
    where blocks do not fit the protocol or a distance is not finite.
    """
    found = ranks_of_distances(
        blocks,
        query_labels=protocol.query_labels,
        gallery_labels=protocol.gallery_labels,
        exclude=protocol.exclude,
        settings=settings,
    )
    return reid_scores_of_ranks(found, ranks=ranks)


def reid_scores_of_ranks(
    blocks: Iterable[RankBlock], *, ranks: Sequence[int] = (1, 5, 10)
) -> ReidScores:
    """Return the scores of queries whose ranks come in blocks, in the order of the blocks."""
    _check_ranks(ranks)
    parts = [
        {
            "first_rank": first_ranks(block),
            "relevant": relevant_counts(block),
            "ranked": block.ranked,
            "average_precision": average_precision(block),
            "inverse_penalty": inverse_penalty(block),
        }
        for block in blocks
    ]
    first, relevant, ranked, precision, penalty = (
        np.concatenate([np.empty(0), *(part[name] for part in parts)]) for name in _NAMES
    )
    if not relevant.any():
        raise DataError(
            "No query has a match in the gallery.",
            expected="at least one query whose identity another camera of the gallery saw",
            got=f"{len(relevant)} queries, none with one",
            remedy="use a gallery of the same identities; if each was seen by one camera only, "
            "set same_camera to keep",
        )
    matched = relevant > 0
    return ReidScores(
        first_rank=first.astype(np.int64),
        relevant=relevant.astype(np.int64),
        ranked=ranked.astype(np.int64),
        average_precision=np.where(matched, precision, np.nan),
        inverse_penalty=np.where(matched, penalty, np.nan),
        ranks=tuple(ranks),
        undefined=_undefined(ranks, ranked[matched].astype(np.int64)),
    )


def inverse_penalty(block: RankBlock) -> Floats:
    """Return matches divided by the rank of the hardest one, of each query, (B,); 0 without one.

    1 minus the negative penalty of Ye et al., Deep Learning for Person Re-identification: A
    Survey and Outlook (2021), section 4.1, the mean of which is mINP.
    """
    counts = relevant_counts(block)
    hardest = np.append(block.ranks, 0).astype(np.int64)[block.offsets[1:] - 1]
    penalty: Floats = np.where(counts > 0, counts / np.maximum(hardest, 1), 0.0)
    return penalty


def _check_ranks(ranks: Sequence[int]) -> None:
    wrong = [k for k in ranks if k < 1]
    if wrong:
        raise DataError("Ranks are counted from 1.", expected="1 or more", got=wrong[0])


def _undefined(ranks: Sequence[int], ranked: Counts) -> dict[int, str]:
    """Why some ranks mean nothing, by rank."""
    return {
        k: f"rank {k} is more than the {ranked.min()} gallery pictures that are ranked for "
        f"{int((ranked < k).sum())} of {len(ranked)} queries"
        for k in ranks
        if (ranked < k).any()
    }
