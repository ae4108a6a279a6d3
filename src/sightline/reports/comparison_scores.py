"""What an evaluation says beside its scores: the pool that was searched, and what to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.reports.cells import finite_or_none

_POOLS = (("pool", "rows"), ("gallery", "pictures"), ("protocol", "gallery"))
"""Where the evaluations of compression, retrieval and re-identification tell it."""


def pool_of(evaluation: Mapping[str, Any]) -> int | None:
    """Return how many things each query of an evaluation was compared with; None if it tells none.

    >>> pool_of({"gallery": {"pictures": 40}}), pool_of({"pool": {"rows": 3000}}), pool_of({"n": 5})
    (40, 3000, None)
    """
    for section, key in _POOLS:
        found = evaluation.get(section)
        size = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(size, int):
            return size
    return None


def baseline_of(evaluation: Mapping[str, Any], name: str) -> tuple[str, float] | None:
    """Return the first baseline of an evaluation and its value of a score; None without one.

    >>> scores = {"recall_at_5": {"value": 0.7}}
    >>> baseline_of({"baselines": [{"name": "pca", "scores": scores}]}, "recall_at_5")
    ('pca', 0.7)
    """
    found = evaluation.get("baselines")
    for one in found if isinstance(found, list) else ():
        scores = one.get("scores") if isinstance(one, Mapping) else None
        score = scores.get(name) if isinstance(scores, Mapping) else None
        value = finite_or_none(score.get("value")) if isinstance(score, Mapping) else None
        if value is not None:
            return str(one.get("name") or "baseline"), value
    return None
