"""The table of answers for new pictures, from the nearest pictures of a gallery."""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline.errors import RunError
from sightline.tasks.retrieval_answers import answers_from, voters
from sightline.tasks.retrieval_decision import RetrievalDecision
from sightline.tasks.retrieval_evidence import found_by
from sightline.tasks.retrieval_protocol import coded


def answers_table(
    rows: dict[str, Any], decision: RetrievalDecision | None
) -> tuple[list[str], list[list[Any]]]:
    """Column names and one row per picture: its class by vote, the verdict, and the nearest.

    `rows` hold ids and embeddings (B, D). Raises RunError where there is no gallery.
    """
    if decision is None:
        raise RunError(
            "There is no gallery to compare with.", remedy="make it: sightline index RUN"
        )
    names, (codes,) = coded(decision.gallery.labels)
    answer, size = decision.answer, decision.index.size
    k = min(voters(answer.top_k, codes), size)
    wanted = min(max(k, answer.evidence), size)
    neighbours = decision.index.search(np.asarray(rows["embeddings"], np.float32), wanted)
    found = found_by(
        answers_from(neighbours, codes, k),
        gallery_ids=decision.gallery.ids,
        gallery_labels=decision.gallery.labels,
        names=names,
        evidence=decision.answer.evidence,
        thresholds=decision.reliability,
    )
    table = [
        [one, *found.row(place), *found.evidence(place)] for place, one in enumerate(rows["ids"])
    ]
    return ["id", *found.columns, *found.evidence_columns()], table
