"""A map of embeddings in two dimensions, to look at and not to measure.

N embeddings of D numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_POINTS = 1000
"""More cannot be told apart on a page, and the map takes longer than their square."""
_PERPLEXITY = 30
_FEWEST = 5


def embedding_map(
    embeddings: npt.NDArray[np.float32], ids: Sequence[str], *, seed: int = 0
) -> dict[str, npt.NDArray[Any]]:
    """Places `map` (M, 2) float32 of some embeddings (N, D), and their `map_ids` (M,).

    t-SNE (van der Maaten and Hinton 2008) with cosine distances, from a start by principal
    components; of more than 1000 embeddings a random choice. Nearness on the map tells who is near
    whom; distances between far groups tell nothing. Nothing for fewer than 5 embeddings.
    """
    if len(embeddings) < _FEWEST:
        return {}
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(seed)
    chosen = np.arange(len(embeddings))
    if len(chosen) > MOST_POINTS:
        chosen = np.sort(random.permutation(len(chosen))[:MOST_POINTS])
    vectors = np.asarray(embeddings, np.float32)[chosen]
    if not vectors.std(axis=0).any():
        # Equal vectors have no principal components; they are one point.
        places = np.zeros((len(chosen), 2), np.float32)
    else:
        perplexity = min(_PERPLEXITY, (len(chosen) - 1) / 3)
        mapper = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=seed % 2**32)
        # Threads that wait for each other in each of a thousand short steps cost fifty times as
        # much where the machine has other work.
        with threadpool_limits(1):
            places = mapper.fit_transform(vectors).astype(np.float32)
    return {"map": places, "map_ids": np.array([str(ids[row]) for row in chosen.tolist()])}
