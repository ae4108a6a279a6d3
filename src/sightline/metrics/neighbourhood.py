"""A loss of a gallery: how probable neighbours of a query's own class are.

Q N D are queries, gallery rows and embedding size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.signedinteger]

TEMPERATURE = 0.1
_CELLS_AT_ONCE = 1 << 23


def neighbourhood_loss(
    queries: Floats,
    gallery: Floats,
    *,
    query_labels: Codes,
    gallery_labels: Codes,
    exclude: tuple[Codes, Codes] | None = None,
) -> float:
    """The mean negative log-probability that a neighbour drawn for a query is of its class.

    Neighbourhood components analysis (Goldberger et al. 2004, equations 1 and 6), with cosines of
    unit vectors (Q, D) and (N, D) over a temperature of 0.1 for distances. Gallery rows whose code
    in `exclude` (codes (Q,) and (N,)) is the query's are never drawn. Queries without any row of
    their class are left out; NaN where that leaves none.

    >>> same = np.eye(2, dtype=np.float32)
    >>> labels = np.arange(2)
    >>> round(neighbourhood_loss(same, same, query_labels=labels, gallery_labels=labels), 5)
    5e-05
    """
    total, count = 0.0, 0
    columns = torch.from_numpy(np.ascontiguousarray(gallery))
    theirs = torch.from_numpy(np.ascontiguousarray(gallery_labels))
    step = max(1, _CELLS_AT_ONCE // max(len(gallery), 1))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        logits = torch.from_numpy(np.ascontiguousarray(queries[part])) @ columns.T / TEMPERATURE
        own = torch.from_numpy(np.ascontiguousarray(query_labels[part]))[:, None] == theirs
        if exclude is not None:
            here, there = (torch.from_numpy(np.ascontiguousarray(one)) for one in exclude)
            hidden = here[part, None] == there
            logits, own = logits.masked_fill(hidden, -torch.inf), own & ~hidden
        usable = own.any(1)
        if usable.any():
            logits, own = logits[usable], own[usable]
            kept = logits.masked_fill(~own, -torch.inf).logsumexp(1)
            total += float((logits.logsumexp(1) - kept).double().sum())
            count += int(usable.sum())
    return total / count if count else float("nan")
