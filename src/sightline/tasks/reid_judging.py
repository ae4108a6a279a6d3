"""Which pictures of a split ask, which answer, and what of the gallery a query does not see.

Q queries, N gallery pictures, D embedding size, S samples of the split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Manifest
from sightline.data.reid_protocol import (
    HAS_MATCH,
    ReidProtocol,
    reid_protocol,
    require_answerable,
)
from sightline.errors import ConfigError
from sightline.metrics.same_camera import CameraRule, camera_rule
from sightline.tasks.reid_config import ReidConfig

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]
_SHORTEST = 1e-12


@dataclass(frozen=True)
class Judged:
    """The samples of a split, as they are judged."""

    samples: Manifest
    protocol: ReidProtocol
    rule: CameraRule
    """Identities of queries and gallery, and which pictures do not see each other."""
    normalize: bool

    @property
    def labels(self) -> tuple[Codes, Codes]:
        """Codes of the identities of queries (Q,) and gallery (N,)."""
        return self.rule.query_labels, self.rule.gallery_labels

    @property
    def cameras(self) -> int:
        """How many cameras took the pictures that are judged."""
        if self.rule.cameras is None:
            return 0
        codes = np.concatenate(self.rule.cameras)
        return len(np.unique(codes[codes >= 0]))

    def parted(self, features: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Features (S, D) of all samples as those of queries (Q, D) and gallery (N, D)."""
        vectors = np.asarray(features, np.float32)
        if self.normalize:
            vectors = unit_rows(vectors)
        return vectors[self.protocol.queries], vectors[self.protocol.gallery]


def judge(samples: Manifest, config: ReidConfig) -> Judged:
    """How validation, or else the test, is judged; DataError where no query can be answered."""
    split = "val" if len(samples.rows("val")) == len(samples) else "test"
    protocol = reid_protocol(samples, split, same_camera=config.eval.same_camera)
    require_answerable(samples, protocol)
    labels = samples.label.codes.astype(np.int64)
    cameras = samples.camera.codes.astype(np.int64)
    asks, held = protocol.queries, protocol.gallery
    knows = bool((cameras[asks] >= 0).any() and (cameras[held] >= 0).any())
    place = np.full(len(samples), -1, np.int64)
    place[held] = np.arange(len(held))
    rule = camera_rule(
        labels[asks],
        labels[held],
        query_cameras=cameras[asks] if knows else None,
        gallery_cameras=cameras[held] if knows else None,
        same_camera="filter" if protocol.filters_camera else "keep",
        query_rows=place[asks],
    )
    return Judged(samples, protocol, rule, config.eval.normalize)


def require_monitored_rank(judged: Judged, config: ReidConfig) -> None:
    """Raise ConfigError where `train.monitor` is a rank beyond what some query of validation sees.

    Such a rank is undefined (see ReidScores), so no epoch would ever have it.
    """
    monitor = config.train.monitor or ""
    rank = monitor.removesuffix("_reranked").removeprefix("rank_")
    seen = _fewest_seen(judged)
    if not rank.isdecimal() or int(rank) <= seen:
        return
    raise ConfigError(
        f"Validation is too small for train.monitor={monitor}.",
        expected=f"a rank up to {seen}, the pictures that are ranked for some query of validation",
        got=monitor,
        where="train.monitor",
        remedy="set train.monitor=map, or give validation more pictures",
    )


def _fewest_seen(judged: Judged) -> int:
    """The gallery pictures that are ranked for the query with a match that sees fewest."""
    asked, held = judged.rule.exclude
    asked = asked[judged.protocol.reasons == HAS_MATCH]
    hidden = np.bincount(held[held >= 0], minlength=int(asked.max(initial=0)) + 1)
    return int((len(held) - np.where(asked >= 0, hidden[asked], 0)).min())


def in_order_of_distance(queries: Floats, gallery: Floats) -> tuple[Floats, Floats]:
    """Vectors (Q, D + 1) and (N, D + 1) whose dot products order a gallery as distances do.

    |q - g|^2 = |q|^2 - 2 (q g - |g|^2 / 2), and |q|^2 is the same for the whole gallery.
    """
    ones = np.ones((len(queries), 1), np.float32)
    lengths = np.square(gallery.astype(np.float64)).sum(1, keepdims=True)
    return np.hstack([queries, ones]), np.hstack([gallery, (-0.5 * lengths).astype(np.float32)])


def unit_rows(vectors: Floats) -> Floats:
    """The rows divided by their lengths."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units: Floats = (vectors / np.maximum(lengths, _SHORTEST)).astype(np.float32)
    return units
