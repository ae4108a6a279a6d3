"""Findings about single files: missing, unreadable, small, in a mode that training converts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sightline.data.findings import MOST_EXAMPLES, Finding, Severity
from sightline.data.fingerprints import MODES, Scan
from sightline.data.manifest import Manifest

_GREY = ("1", "L")
_DEEP = ("I", "F", "I;16")


def file_findings(manifest: Manifest, seen: Scan) -> Iterator[Finding]:
    """Missing, empty and unreadable files: each stops training."""
    size = seen.record["bytes"]
    bad = np.zeros(len(manifest), np.bool_)
    bad[list(seen.problems)] = True
    kinds = (
        ("missing_file", size < 0, "files are not there or cannot be opened"),
        ("empty_file", bad & (size == 0), "files have no content"),
        ("unreadable_image", bad & (size > 0), "files cannot be decoded in full"),
    )
    for kind, rows, what in kinds:
        if rows.any():
            yield Finding(
                "error",
                kind,
                int(rows.sum()),
                what,
                tuple(
                    f"{manifest.path[row]} ({seen.problems[row]})"
                    for row in np.flatnonzero(rows)[:MOST_EXAMPLES].tolist()
                ),
                "restore the files or drop their rows"
                + ("; data.on_bad_image=skip leaves them out" if kind != "missing_file" else ""),
            )


def picture_findings(manifest: Manifest, seen: Scan, *, min_image_size: int) -> Iterator[Finding]:
    """Sizes, colour modes and EXIF orientation of the files that decode."""
    width, height = seen.record["width"], seen.record["height"]
    good = width > 0
    good[list(seen.problems)] = False
    if not good.any():
        return
    area = np.where(good, width.astype(np.int64) * height, -1)
    least, most = int(np.argmin(np.where(good, area, area.max() + 1))), int(np.argmax(area))
    yield Finding(
        "info",
        "image_size",
        int(good.sum()),
        f"pictures, {width[least]}x{height[least]} to {width[most]}x{height[most]} pixels, "
        f"median {int(np.median(width[good]))}x{int(np.median(height[good]))}",
    )
    rows = _Rows(manifest, good)
    small = np.minimum(width, height) < min_image_size
    if min_image_size:
        yield from rows.finding(
            "warning",
            "small_image",
            small,
            f"pictures are narrower or lower than {min_image_size} pixels",
            "leave them out, or lower data.min_image_size",
        )
    mode = seen.record["mode"]
    yield from rows.finding(
        "warning",
        "deep_image",
        np.isin(mode, [MODES.index(name) for name in _DEEP]),
        "pictures have more than 8 bits per channel, which training cuts to 8",
        "convert them to 8 bits with the contrast you want",
    )
    yield from rows.finding(
        "info",
        "transparent_image",
        (seen.record["flags"] & 1).astype(np.bool_),
        "pictures have transparency, which training does not see",
        "lay them on the background you want if the hidden colours differ",
    )
    grey = np.isin(mode, [MODES.index(name) for name in _GREY])
    if not grey[good].all():
        yield from rows.finding(
            "info", "grey_image", grey, "pictures are grey among coloured ones", ""
        )
    yield from rows.finding(
        "info",
        "rotated_by_exif",
        seen.record["orientation"] > 1,
        "pictures are stored turned and are set upright by their EXIF tag",
        "",
    )


class _Rows:
    """Makes findings from masks over the rows that decode."""

    def __init__(self, manifest: Manifest, good: npt.NDArray[np.bool_]) -> None:
        self._manifest, self._good = manifest, good

    def finding(
        self, severity: Severity, kind: str, rows: npt.NDArray[np.bool_], what: str, remedy: str
    ) -> Iterator[Finding]:
        """One finding, or none where no row is meant."""
        chosen = np.flatnonzero(rows & self._good)
        if len(chosen):
            examples = tuple(str(self._manifest.path[row]) for row in chosen[:MOST_EXAMPLES])
            yield Finding(severity, kind, len(chosen), what, examples, remedy)
