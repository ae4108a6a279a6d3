"""Who asks for whom: queries, their gallery, and what of it a query does not see.

Q N are queries and gallery rows.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Integers, Manifest, shortened
from sightline.errors import DataError

SameCamera = Literal["auto", "filter", "keep"]
HAS_MATCH, NOT_IN_GALLERY, SAME_CAMERA_ONLY = 0, 1, 2
"""Codes of ReidProtocol.reasons."""
CAMERA_HINT = "data.camera_pattern=REGEX finds them in the paths, data.camera_col=NAME in a table"


class ReidProtocol(NamedTuple):
    """How a split is judged; rows are indices into the samples it was made for."""

    queries: Integers
    """(Q,) rows that are asked for."""
    gallery: Integers
    """(N,) rows that are searched."""
    own_gallery: bool
    """The queries are their own gallery: each sees all others but not itself."""
    filters_camera: bool
    """A query does not see pictures of its identity by its own camera."""
    said: str
    """The protocol in words, without a full stop."""
    matched: int
    """Queries that have a picture to find."""
    reasons: npt.NDArray[np.int8]
    """(Q,) HAS_MATCH, NOT_IN_GALLERY (no other picture of the identity is there), or
    SAME_CAMERA_ONLY (there are some, all by the query's camera)."""


def reid_protocol(samples: Manifest, split: str, *, same_camera: SameCamera) -> ReidProtocol:
    """How a split is judged.

    ``test`` is the query and the gallery of the data where it has them. Any other split, and a test
    without them, is its own gallery. ``auto`` filters by camera where every row of queries and
    gallery has one (Market-1501's rule, Zheng et al. 2015). A split without rows has no queries.

    Raises DataError for a query without gallery or the reverse, and where ``filter`` is asked for
    and the camera of a row is unknown.
    """
    queries, gallery = _parts(samples, split)
    own = queries is gallery
    judged = queries if own else np.concatenate([queries, gallery])
    unknown = judged[samples.camera.codes[judged] < 0]
    if same_camera == "filter" and len(unknown):
        raise _unknown_cameras(samples, judged, unknown)
    filters = same_camera != "keep" and not len(unknown) and len(judged) > 0
    reasons = _reasons(samples, queries, gallery, own=own, filters=filters)
    matched = int((reasons == HAS_MATCH).sum())
    said = _said(samples, split, queries, gallery, own=own)
    said += f"; {_rule(samples, judged, same_camera=same_camera, own=own)}"
    said += f"; {matched:,} of {len(queries):,} have a match"
    said += " by another camera" if filters else ""
    return ReidProtocol(queries, gallery, own, filters, said, matched, reasons)


def require_answerable(samples: Manifest, protocol: ReidProtocol) -> None:
    """Raise DataError where no query has a picture to find, with the protocol that would work."""
    if protocol.matched:
        return
    queries, gallery = protocol.queries, protocol.gallery
    cameras = np.unique(samples.camera.codes[np.concatenate([queries, gallery])])
    if not len(queries):
        remedy = "give some identities to the split, or more identities to the data"
    elif (protocol.reasons == SAME_CAMERA_ONLY).any():
        seen = "one camera" if len(cameras) == 1 else "one camera each"
        remedy = (
            f"identities are seen by {seen}: let their pictures find each other with "
            "eval.same_camera=keep, or add pictures by another camera"
        )
    elif protocol.own_gallery:
        remedy = (
            "every identity has a single picture: add a second one of each, or judge where they "
            "have several, with folders or a column of splits query and gallery"
        )
    else:
        remedy = (
            "the identities of query and gallery are written differently or are others: write them "
            "alike, or leave query and gallery out, and identities of train become the test"
        )
    raise DataError(
        "Nothing can be found: no query has another picture of its identity to find.",
        expected="a second picture of some identity in the gallery"
        + (", by another camera" if protocol.filters_camera else ""),
        got=protocol.said,
        where=samples.root,
        remedy=remedy,
    )


def _parts(samples: Manifest, split: str) -> tuple[Integers, Integers]:
    """The rows of queries and gallery; one and the same array where they are one."""
    queries, gallery = samples.rows("query"), samples.rows("gallery")
    if split != "test" or not (len(queries) or len(gallery)):
        rows = samples.rows(split)
        return rows, rows
    for rows, name, other in ((queries, "query", "gallery"), (gallery, "gallery", "query")):
        if not len(rows):
            raise DataError(
                f"There is a {other} and no {name}.",
                expected="pictures that are asked for (query) and pictures that are searched "
                "(gallery)",
                where=samples.root,
                remedy=f"add the {name}, or call the {other} test: then each of its pictures asks "
                "for the others",
            )
    return queries, gallery


def _reasons(
    samples: Manifest, queries: Integers, gallery: Integers, *, own: bool, filters: bool
) -> npt.NDArray[np.int8]:
    """(Q,) why each query has no match, or HAS_MATCH."""
    labels = samples.label.codes.astype(np.int64)
    pairs = labels * (len(samples.camera.names) + 1) + samples.camera.codes + 1
    known = labels[gallery] >= 0
    of_identity = _count(labels[gallery[known]], labels[queries]) - int(own)
    of_camera = _count(pairs[gallery[known]], pairs[queries]) - int(own)
    reasons = np.full(len(queries), HAS_MATCH, np.int8)
    if filters:
        reasons[of_identity == of_camera] = SAME_CAMERA_ONLY
    reasons[of_identity < 1] = NOT_IN_GALLERY
    return reasons


def _count(values: Integers, wanted: Integers) -> Integers:
    """How often each wanted value (Q,) occurs among the values (N,)."""
    distinct, counts = np.unique(values, return_counts=True)
    if not len(distinct):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    result: Integers = np.where(distinct[place] == wanted, counts[place], 0)
    return result


def _said(samples: Manifest, split: str, queries: Integers, gallery: Integers, *, own: bool) -> str:
    """Who asks for whom."""
    if own:
        return f"each of the {len(queries):,} pictures of {split} asks for the others of {split}"
    asked = len(np.unique(samples.label.codes[queries]))
    return (
        f"{len(queries):,} pictures of query ({asked:,} identities) ask for {len(gallery):,} "
        "pictures of gallery"
    )


def _rule(samples: Manifest, judged: Integers, *, same_camera: SameCamera, own: bool) -> str:
    """What of the gallery a query does not see."""
    codes = samples.camera.codes[judged]
    cameras, unknown = len(np.unique(codes[codes >= 0])), int((codes < 0).sum())
    if same_camera != "keep" and not unknown:
        count = "1 camera" if cameras == 1 else f"{cameras} cameras"
        return f"pictures of the same identity by the same camera are dropped ({count})"
    dropped = "only the picture itself is dropped" if own else "nothing is dropped"
    if same_camera == "keep":
        return f"{dropped}, whatever camera took it (eval.same_camera=keep)"
    if not cameras:
        return f"no cameras are known, so {dropped} ({CAMERA_HINT})"
    return f"the camera of {unknown:,} pictures is unknown, so {dropped} ({CAMERA_HINT})"


def _unknown_cameras(samples: Manifest, judged: Integers, unknown: Integers) -> DataError:
    return DataError(
        f"eval.same_camera=filter needs the camera of every picture that is judged, and "
        f"{len(unknown)} of {len(judged)} have none.",
        expected="a camera for every picture",
        got=shortened(samples.id[unknown]),
        where="eval.same_camera",
        remedy=f"name the cameras: {CAMERA_HINT}; or go on without the rule: eval.same_camera=keep",
    )
