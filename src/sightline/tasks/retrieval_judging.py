"""A split's queries with the gallery they are judged in.

Q queries, N gallery rows, D embedding size, C classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Manifest
from sightline.tasks.retrieval_decision import RetrievalDecision
from sightline.tasks.retrieval_protocol import (
    Searched,
    coded,
    is_own_gallery,
    labels_of,
    left_out,
)
from sightline.tasks.retrieve_config import RetrieveConfig


class Judged(NamedTuple):
    """Queries with the gallery they are judged in, and what the gallery's rows are called."""

    searched: Searched
    gallery_ids: npt.NDArray[Any]
    gallery_labels: npt.NDArray[Any]
    about: dict[str, Any]
    names: npt.NDArray[Any]
    """(C,) the classes in the coding of the labels."""
    own_gallery: bool


def judge(
    samples: Manifest,
    embeddings: npt.NDArray[np.float32],
    decision: RetrievalDecision | None,
    config: RetrieveConfig,
) -> Judged:
    """The gallery in which a split's queries (Q, D) are judged."""
    if decision is not None and len(samples.rows("val")) == len(samples):
        decision = decision.of_training()
    labels = [samples.label.text(row) for row in range(len(samples))]
    known = set() if decision is None else {str(one) for one in decision.gallery.labels}
    if decision is None or is_own_gallery(labels_of(samples), known):
        return _among_themselves(samples, embeddings, labels, config)
    gallery = decision.gallery
    names, (asked, shown) = coded(labels, gallery.labels)
    splits = sorted({str(one) for one in gallery.splits})
    said = " and ".join({"fit": "train"}.get(one, one) for one in splits) or "given"
    return Judged(
        Searched(embeddings, np.asarray(gallery.embeddings), asked, shown),
        gallery.ids,
        gallery.labels,
        _about("train", f"the pictures of {said}", shown),
        names,
        own_gallery=False,
    )


def _among_themselves(
    samples: Manifest,
    embeddings: npt.NDArray[np.float32],
    labels: list[str],
    config: RetrieveConfig,
) -> Judged:
    names, (codes,) = coded(labels)
    hidden = left_out(samples, config.eval.leave_out)
    without = "itself" if config.eval.leave_out == "picture" else "the pictures of its object"
    return Judged(
        Searched(embeddings, embeddings, codes, codes, (hidden, hidden)),
        samples.id,
        names[codes],
        _about("own", f"the other queries, without {without}", codes),
        names,
        own_gallery=True,
    )


def _about(kind: str, said: str, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {"kind": kind, "said": said, "pictures": len(labels), "classes": len(np.unique(labels))}
