"""Which gallery pictures count for a query of re-identification: the camera rule.

Q queries, N gallery pictures. A picture of the query's identity by the query's own camera proves
nothing: the two may be frames of one second. Nor does the query itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts
from sightline.metrics.vectors import whole_numbers

SameCamera = Literal["filter", "keep", "auto"]


@dataclass(frozen=True, slots=True)
class CameraRule:
    """Who is in each picture, and which gallery pictures are left out for which query."""

    query_labels: Counts
    """(Q,) identities."""
    gallery_labels: Counts
    """(N,) identities; one that no query has never matches."""
    exclude: tuple[Counts, Counts]
    """Codes (Q,) and (N,): what has the query's code, where that is 0 or more, is left out."""
    same_camera: Literal["filter", "keep"]
    """What is done with pictures of the query's identity by the query's camera."""
    cameras: tuple[Counts, Counts] | None = None
    """(Q,) and (N,), below 0 where unknown."""
    query_rows: Counts | None = None
    """(Q,) the gallery row that is the query's own picture, -1 where there is none."""


def camera_rule(
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    *,
    query_cameras: npt.ArrayLike | None = None,
    gallery_cameras: npt.ArrayLike | None = None,
    same_camera: SameCamera = "auto",
    query_rows: npt.ArrayLike | None = None,
) -> CameraRule:
    """Return what is relevant and what is left out, from whole numbers for identity and camera.

    ``filter`` drops a gallery picture for a query of the same identity and the same camera, the
    rule of Market-1501 (Zheng et al., Scalable Person Re-identification, 2015); pictures of other
    identities by that camera stay. A camera below 0 is unknown and drops nothing. ``keep`` drops
    nothing by camera. ``auto`` is ``filter`` where there are cameras, else ``keep``.

    ``query_rows`` (Q,) holds the gallery row that is the query's own picture, -1 where there is
    none; it is dropped whatever the cameras. A split that is its own gallery has
    ``np.arange(N)``.

    Raises DataError where lengths differ, cameras are missing that ``filter`` needs or are given
    for one side only, or a query's own row is another identity or camera.

    >>> found = camera_rule(
    ...     [1, 2], [1, 1, 2], query_cameras=[0, 0], gallery_cameras=[0, 1, 1]
    ... )
    >>> found.same_camera, (found.exclude[0][0] == found.exclude[1]).tolist()
    ('filter', [True, False, False])
    """
    asked, held = np.asarray(query_labels), np.asarray(gallery_labels)
    asked, held = whole_numbers(asked, asked.size), whole_numbers(held, held.size)
    cameras = _cameras(query_cameras, gallery_cameras, len(asked), len(held))
    rule = _rule(same_camera, cameras is not None)
    codes = np.full(len(asked), -1), np.full(len(held), -1)
    if rule == "filter" and cameras is not None:
        codes = _pair_codes((asked, held), cameras)
    rows = None
    if query_rows is not None:
        rows = _own_rows(query_rows, len(asked), len(held))
        _check_same(rows, asked, held, "identity")
        if cameras is not None:
            _check_same(rows, *cameras, "camera")
        codes = _with_own_rows(codes, rows)
    return CameraRule(asked, held, codes, rule, cameras, rows)


def _cameras(
    queries: npt.ArrayLike | None, gallery: npt.ArrayLike | None, q: int, n: int
) -> tuple[Counts, Counts] | None:
    if queries is None and gallery is None:
        return None
    if queries is None or gallery is None:
        raise DataError(
            "Only one of queries and gallery has cameras.",
            expected="cameras for both, or for neither",
            got=f"none for the {'queries' if queries is None else 'gallery'}",
            remedy="name the cameras of both, or of neither and keep every picture",
        )
    return whole_numbers(queries, q), whole_numbers(gallery, n)


def _rule(same_camera: SameCamera, has_cameras: bool) -> Literal["filter", "keep"]:
    if same_camera not in ("filter", "keep", "auto"):
        raise DataError(
            "There is no such camera rule.", expected="filter, keep, auto", got=same_camera
        )
    if same_camera == "filter" and not has_cameras:
        raise DataError(
            "Pictures by the query's own camera cannot be dropped: there are no cameras.",
            expected="a camera for each picture",
            got="none",
            remedy="name the cameras, or set same_camera to keep",
        )
    if same_camera == "auto":
        return "filter" if has_cameras else "keep"
    return same_camera


def _pair_codes(
    labels: tuple[Counts, Counts], cameras: tuple[Counts, Counts]
) -> tuple[Counts, Counts]:
    """One code from 0 for each identity by a camera, -1 where the camera is unknown."""
    camera = np.concatenate(cameras)
    pairs = np.stack([np.concatenate(labels), camera], axis=1)
    codes = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    codes = np.where(camera >= 0, codes, -1).astype(np.int64)
    at = len(labels[0])
    return codes[:at], codes[at:]


def _own_rows(query_rows: npt.ArrayLike, q: int, n: int) -> Counts:
    rows = whole_numbers(query_rows, q)
    wrong = rows[(rows < -1) | (rows >= n)]
    if len(wrong):
        raise DataError(
            "A query's own row is not in the gallery.", expected=f"-1 to {n - 1}", got=wrong[0]
        )
    return rows


def _check_same(rows: Counts, asked: Counts, held: Counts, name: str) -> None:
    has_row = np.flatnonzero(rows >= 0)
    bad = has_row[asked[has_row] != held[rows[has_row]]]
    if len(bad):
        raise DataError(
            f"A query and its own gallery row differ in their {name}.",
            expected=f"one {name} for one picture",
            got=f"{asked[bad[0]]} and {held[rows[bad[0]]]}",
            where=f"query {bad[0]}, gallery row {rows[bad[0]]}",
        )


def _with_own_rows(codes: tuple[Counts, Counts], rows: Counts) -> tuple[Counts, Counts]:
    """A code of its own for each picture that has none yet: its gallery row."""
    asked, held = codes
    free = int(max(asked.max(initial=-1), held.max(initial=-1))) + 1
    own = np.where(rows >= 0, rows + free, -1)
    return (
        np.where(asked >= 0, asked, own),
        np.where(held >= 0, held, np.arange(len(held)) + free),
    )
