"""Scores of retrieval: how far up the gallery the relevant items of each query stand.

Q queries, N gallery items, D numbers in each vector, B queries of one block. An item is relevant
to a query with its label. All scores follow from the ranks of the relevant items (``ranking``)
and are kept for each query, so that means over all, over classes or over objects, and their
intervals (``grouped_means``), need no second look at the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts, Floats
from sightline.metrics.ranking import RankBlock, rank_relevant
from sightline.metrics.vectors import Vectors

_SCORES = ("ap_at_r", "r_precision", "reciprocal_rank", "average_precision")


@dataclass(frozen=True)
class RetrievalScores:
    """Scores of each query, (Q,) in the order of the queries.

    A query without a relevant item in the gallery is unmatched: its ranks are 0, its scores NaN,
    and no mean counts it. Recall at a K that is more than the gallery items ranked for some query
    is NaN for all, and ``undefined[K]`` says why: every such query would be a hit.
    """

    first_rank: Counts
    """Rank of the nearest relevant item, from 1; 0 for an unmatched query."""
    relevant: Counts
    """Relevant items in the gallery."""
    ranked: Counts
    """Gallery items that were ranked."""
    recall: dict[int, Floats]
    """By K: 1 where a relevant item is among the first K, else 0."""
    ap_at_r: Floats
    """Average precision at R; its mean is MAP@R."""
    r_precision: Floats
    reciprocal_rank: Floats
    average_precision: Floats
    undefined: dict[int, str]

    @property
    def matched(self) -> npt.NDArray[np.bool_]:
        """Which queries have a relevant item in the gallery, (Q,)."""
        return self.relevant > 0

    @property
    def unmatched(self) -> int:
        """How many queries have none."""
        return int((~self.matched).sum())

    def columns(self) -> dict[str, Floats]:
        """Return the scores of each query by name, (Q,): recall_at_K for each K, ap_at_r, ..."""
        recalls = {f"recall_at_{k}": values for k, values in self.recall.items()}
        return recalls | {name: getattr(self, name) for name in _SCORES}

    def mean(self, name: str) -> float:
        """Return the mean of a column over the matched queries; NaN where it is undefined."""
        return float(self.columns()[name][self.matched].mean())


def retrieval_scores(
    queries: Vectors,
    gallery: Vectors,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    exclude: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    recall_k: Sequence[int] = (1, 5),
) -> RetrievalScores:
    """Return the scores of queries (Q, D) in a gallery (N, D), ranked as by ``rank_relevant``.

    ``scores_of_ranks`` does the same for a ranking with settings of its own. Raises DataError
    where no query has a relevant item.

    >>> import numpy as np
    >>> found = retrieval_scores(
    ...     np.array([[1.0, 0.0], [0.0, 1.0]]),
    ...     np.array([[0.8, 0.6], [1.0, 0.0], [0.6, 0.8]]),
    ...     query_labels=[5, 7],
    ...     gallery_labels=[5, 7, 5],
    ...     recall_k=(1, 2),
    ... )
    >>> found.first_rank.tolist(), found.mean("recall_at_2")
    ([2, 3], 0.5)
    """
    blocks = rank_relevant(
        queries,
        gallery,
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        exclude=exclude,
    )
    return scores_of_ranks(blocks, recall_k=recall_k)


def scores_of_ranks(
    blocks: Iterable[RankBlock], *, recall_k: Sequence[int] = (1, 5)
) -> RetrievalScores:
    """Return the scores of queries whose ranks come in blocks, in the order of the blocks."""
    wrong = [k for k in recall_k if k < 1]
    if wrong:
        raise DataError("Recall at K needs K of at least 1.", expected="K >= 1", got=wrong[0])
    parts = [_block_columns(block) for block in blocks]
    columns = {
        name: np.concatenate([np.empty(0), *(part[name] for part in parts)])
        for name in ("first_rank", "relevant", "ranked", *_SCORES)
    }
    first, relevant, ranked = (
        columns[name].astype(np.int64) for name in ("first_rank", "relevant", "ranked")
    )
    if not relevant.any():
        raise DataError(
            "No query has a relevant item in the gallery.",
            expected="at least one query whose label the gallery holds",
            got=f"{len(relevant)} queries, none with one",
            remedy="use a gallery of the same classes, or look at what is left out of the ranking",
        )
    undefined = _undefined(recall_k, ranked[relevant > 0])
    recall = {
        k: np.full(len(first), np.nan)
        if k in undefined
        else np.where(relevant > 0, (first <= k).astype(np.float64), np.nan)
        for k in recall_k
    }
    scores = {name: np.where(relevant > 0, columns[name], np.nan) for name in _SCORES}
    return RetrievalScores(first, relevant, ranked, recall, undefined=undefined, **scores)


def relevant_counts(block: RankBlock) -> Counts:
    """Return how many relevant items each query of a block has, (B,)."""
    return np.diff(block.offsets)


def first_ranks(block: RankBlock) -> Counts:
    """Return the rank of the nearest relevant item of each query, (B,); 0 where there is none."""
    ranks = np.append(block.ranks, 0).astype(np.int64)
    return np.where(relevant_counts(block) > 0, ranks[block.offsets[:-1]], 0)


def r_precision(block: RankBlock) -> Floats:
    """Return the share of relevant items among the first R of each query, (B,); 0 for R = 0.

    R is the number of relevant items of the query in the gallery.
    """
    counts = relevant_counts(block)
    hits = block.ranks <= np.repeat(counts, counts)
    return _sums(block, hits.astype(np.float64)) / np.maximum(counts, 1)


def average_precision_at_r(block: RankBlock) -> Floats:
    """Return the mean over the first R ranks of precision times relevance, (B,); 0 for R = 0.

    The terms of MAP@R of Musgrave, Belongie & Lim, A Metric Learning Reality Check (2020),
    section 3.2: with R relevant items in the gallery, sum the precision at those of the first R
    ranks that are relevant, and divide by R, not by the hits found.
    """
    counts = relevant_counts(block)
    within = block.ranks <= np.repeat(counts, counts)
    return _sums(block, np.where(within, _precisions(block), 0.0)) / np.maximum(counts, 1)


def average_precision(block: RankBlock) -> Floats:
    """Return the mean precision at the relevant items of each query, over the whole ranking, (B,).

    No interpolation; 0 where nothing is relevant.
    """
    return _sums(block, _precisions(block)) / np.maximum(relevant_counts(block), 1)


def _precisions(block: RankBlock) -> Floats:
    """The precision at each relevant item: how many are found by its rank, divided by it."""
    counts = relevant_counts(block)
    place = np.arange(1, len(block.ranks) + 1) - np.repeat(block.offsets[:-1], counts)
    found: Floats = place / block.ranks.astype(np.float64)
    return found


def _sums(block: RankBlock, values: Floats) -> Floats:
    """Sums of the values (M,) of each query, (B,)."""
    counts = relevant_counts(block)
    owners = np.repeat(np.arange(len(counts)), counts)
    sums: Floats = np.bincount(owners, weights=values, minlength=len(counts)).astype(np.float64)
    return sums


def _block_columns(block: RankBlock) -> dict[str, Floats | Counts]:
    first = first_ranks(block)
    return {
        "first_rank": first,
        "relevant": relevant_counts(block),
        "ranked": block.ranked,
        "ap_at_r": average_precision_at_r(block),
        "r_precision": r_precision(block),
        "reciprocal_rank": np.where(first > 0, 1 / np.maximum(first, 1), 0.0),
        "average_precision": average_precision(block),
    }


def _undefined(recall_k: Sequence[int], ranked: Counts) -> dict[int, str]:
    """Why recall at some K means nothing, by K."""
    return {
        k: f"K = {k} is more than the {ranked.min()} gallery items that are ranked for "
        f"{int((ranked < k).sum())} of {len(ranked)} queries"
        for k in recall_k
        if (ranked < k).any()
    }
