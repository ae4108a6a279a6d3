"""What retrieval decides by beside the embeddings: a gallery, and when to ask for another photo."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sightline.errors import RunError
from sightline.metrics.reliability import Reliability
from sightline.runs.files import file_hash, write_atomically
from sightline.search.gallery import Gallery
from sightline.search.index import Index
from sightline.search.saved import open_gallery
from sightline.tasks.retrieve_config import AnswerConfig, VoteConfig

INDEX_FOLDER = "index"
RELIABILITY_FILE = "reliability.json"


@dataclass(frozen=True)
class FittedReliability:
    """The thresholds of a checkpoint, and what kind of gallery the answers were given from."""

    thresholds: Reliability
    own_gallery: bool
    """Whether validation's queries were each other's gallery: its classes were new."""
    checkpoint: str
    sha256: str
    """Of the checkpoint whose embeddings they are of."""


@dataclass(frozen=True)
class RetrievalDecision:
    """A gallery to compare with, and by which thresholds an answer is accepted, if any."""

    gallery: Gallery
    index: Index
    answer: VoteConfig
    fitted: FittedReliability | None = None
    is_runs_own: bool = True
    """Whether it is the gallery of the run, and not one that was given instead."""
    has_new_classes: bool = False
    """Whether training saw none of its classes."""

    @property
    def reliability(self) -> Reliability | None:
        """The thresholds, where they were fitted with a gallery such as this one.

        Those of known classes hold for the run's own gallery; those of new classes, where the
        gallery's classes were never trained on, for another.
        """
        if self.fitted is None:
            return None
        alike = self.has_new_classes if self.fitted.own_gallery else self.is_runs_own
        return self.fitted.thresholds if alike else None

    def remarks(self) -> list[str]:
        """Sentences about what the answers will lack."""
        said = []
        if self.answer.top_k is not None and self.index.size < self.answer.top_k:
            said.append(
                f"the gallery has {self.index.size} pictures, so these vote and not "
                f"{self.answer.top_k}"
            )
        if not isinstance(self.answer, AnswerConfig):
            return said
        if self.fitted is None:
            said.append("no answer is held back: no thresholds were fitted (sightline threshold)")
        elif self.reliability is None:
            kind = "new classes" if self.fitted.own_gallery else "the run's own gallery"
            said.append(f"no answer is held back: the thresholds were fitted for {kind}")
        elif self.reliability.max_distance is None:
            said.append(f"no answer is held back: {self.reliability.reason}")
        elif self.is_runs_own and (self.gallery.splits == "val").any():
            said.append("the thresholds were fitted with the pictures of train, without val")
        return said

    def of_training(self) -> RetrievalDecision:
        """The same with the training pictures alone, as validation is judged."""
        rows = np.flatnonzero(self.gallery.splits == "fit")
        if len(rows) == len(self.gallery):
            return self
        from sightline.search.index import build_index

        every = self.gallery
        gallery = replace(
            every,
            embeddings=every.embeddings[rows],
            ids=every.ids[rows],
            labels=every.labels[rows],
            groups=every.groups[rows],
            splits=every.splits[rows],
            paths=every.paths[rows],
        )
        index = build_index(gallery.embeddings, metric=gallery.metric)
        return replace(self, gallery=gallery, index=index)


def read_decision(run_folder: Path, checkpoint: str, answer: VoteConfig) -> RetrievalDecision:
    """The run's index and thresholds for a checkpoint.

    Raises RunError where there is no index, or one of other weights.
    """
    folder = run_folder / INDEX_FOLDER
    if not folder.is_dir():
        raise RunError(
            "The run has no gallery to compare with.",
            expected="the index that training ends with",
            where=folder,
            remedy=f"make it: sightline index {run_folder.name}",
        )
    sha256 = file_hash(run_folder / "ckpt" / checkpoint)
    gallery, index = open_gallery(folder, model_sha256=sha256)
    fitted = read_reliability(run_folder, checkpoint, sha256)
    return RetrievalDecision(gallery, index, answer, fitted)


def open_other_gallery(
    decision: RetrievalDecision, folder: Path, model_sha256: str
) -> RetrievalDecision:
    """The decision with another gallery; RunError for one that another model made."""
    gallery, index = open_gallery(folder, model_sha256=model_sha256)
    trained = {str(one) for one in decision.gallery.labels}
    is_new = not trained & {str(one) for one in gallery.labels}
    return replace(
        decision, gallery=gallery, index=index, is_runs_own=False, has_new_classes=is_new
    )


def write_reliability(run_folder: Path, fitted: FittedReliability) -> None:
    """Write reliability.json; beside it first, then renamed."""
    content = {
        "checkpoint": fitted.checkpoint,
        "sha256": fitted.sha256,
        "own_gallery": fitted.own_gallery,
        "thresholds": fitted.thresholds.as_dict(),
    }
    write_atomically(run_folder / RELIABILITY_FILE, json.dumps(content, indent=1) + "\n")


def read_reliability(run_folder: Path, checkpoint: str, sha256: str) -> FittedReliability | None:
    """The thresholds for a checkpoint; None where none were fitted, or for other weights.

    Raises RunError where the file is damaged.
    """
    file = run_folder / RELIABILITY_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_bytes())
        fitted = FittedReliability(
            Reliability.from_dict(content["thresholds"]),
            bool(content["own_gallery"]),
            str(content["checkpoint"]),
            str(content["sha256"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            "The thresholds cannot be read.",
            got=f"{type(error).__name__}: {error}".splitlines()[0],
            where=file,
            remedy="set them anew: sightline threshold RUN",
        ) from error
    return fitted if (fitted.checkpoint, fitted.sha256) == (checkpoint, sha256) else None
