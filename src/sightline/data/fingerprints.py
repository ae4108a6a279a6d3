"""Looks at every file once, in processes: content hash, size, whether it decodes, a thumbnail."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sightline.data.broken_files import BROKEN
from sightline.data.file_chunks import over_files
from sightline.data.manifest import Manifest, shortened
from sightline.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Digests = npt.NDArray[np.uint64]
"""(N, 2): BLAKE2b-128 of each file's bytes as two numbers."""

MODES = ("", "1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16", "other")
THUMBNAIL = (18, 16)
"""Width and height: means of 2x2 pixels give the 9x8 picture of a difference hash."""

_ALPHA = 1
_RECORD = np.dtype(
    [
        ("digest", np.uint64, 2),
        ("bytes", np.int64),
        ("width", np.int32),
        ("height", np.int32),
        ("mode", np.int8),
        ("orientation", np.int8),
        ("flags", np.int8),
    ]
)


@dataclass(frozen=True, slots=True)
class Scan:
    """What the files of a manifest's N rows hold; rows in ``problems`` have no picture.

    ``record`` has the fields digest, bytes (-1: no such file), width, height, mode (into MODES),
    orientation (EXIF 1 to 8) and flags (1: transparency). ``thumbnails`` is (N, 16 * 18) uint8 grey
    values of the picture as it is to be looked at, kept in a temporary file.
    """

    record: npt.NDArray[Any]
    thumbnails: npt.NDArray[np.uint8]
    problems: dict[int, str]


def digests(manifest: Manifest, workers: int | None = None) -> Digests:
    """The content hash of every row's file, (N, 2); DataError lists files that cannot be read."""
    result = np.zeros((len(manifest), 2), np.uint64)
    unread: list[str] = []
    chunks = over_files(manifest, _hash_chunk, workers=workers, processes=False)
    for start, (hashes, failed) in chunks:
        result[start : start + len(hashes)] = hashes
        unread += [f"{manifest.path[start + row]} ({reason})" for row, reason in failed.items()]
    if unread:
        raise DataError(
            f"{len(unread)} of {len(manifest)} files cannot be read.",
            got=shortened(unread),
            where=manifest.root,
            remedy="run `sightline check` for the whole list, then restore the files or drop "
            "their rows",
        )
    return result


def digest_text(digest: npt.NDArray[np.uint64]) -> str:
    """One hash as 32 hexadecimal digits.

    >>> digest_text(np.array([1, 255], np.uint64))
    '000000000000000100000000000000ff'
    """
    return f"{int(digest[0]):016x}{int(digest[1]):016x}"


def scan(manifest: Manifest, *, workers: int | None = None) -> Scan:
    """Read and decode every file of the manifest in full; nothing here raises for a bad file."""
    count = len(manifest)
    record = np.zeros(count, _RECORD)
    width, height = THUMBNAIL
    # The file has no name and goes with the array: memory stays small for millions of pictures.
    with tempfile.TemporaryFile() as file:
        shape = (max(count, 1), width * height)
        thumbnails = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
    problems: dict[int, str] = {}
    for start, (rows, small, failed) in over_files(manifest, _scan_chunk, workers=workers):
        record[start : start + len(rows)] = rows
        thumbnails[start : start + len(rows)] = small
        problems |= {start + row: reason for row, reason in failed.items()}
    return Scan(record, thumbnails[:count], problems)


def _hash_chunk(root: str, names: list[str]) -> tuple[Digests, dict[int, str]]:
    hashes = np.zeros((len(names), 2), np.uint64)
    failed: dict[int, str] = {}
    for row, name in enumerate(names):
        try:
            hashes[row] = _digest(_read(root, name))
        except OSError as error:
            failed[row] = error.strerror or str(error)
    return hashes, failed


def _scan_chunk(
    root: str, names: list[str]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], dict[int, str]]:
    record = np.zeros(len(names), _RECORD)
    thumbnails = np.zeros((len(names), THUMBNAIL[0] * THUMBNAIL[1]), np.uint8)
    problems: dict[int, str] = {}
    with warnings.catch_warnings():
        # Pillow warns of odd metadata and of large pictures; what matters becomes a finding.
        warnings.simplefilter("ignore")
        for row, name in enumerate(names):
            problem = _look(root, name, record[row], thumbnails[row])
            if problem:
                problems[row] = problem
    return record, thumbnails, problems


def _look(root: str, name: str, record: np.void, thumbnail: npt.NDArray[np.uint8]) -> str:
    """Fill in one row; the reason why there is no picture, or the empty string."""
    from PIL import Image, UnidentifiedImageError

    try:
        content = _read(root, name)
    except OSError as error:
        record["bytes"] = -1
        return error.strerror or str(error)
    record["bytes"] = len(content)
    record["digest"] = _digest(content)
    if not content:
        return "empty file"
    try:
        with Image.open(io.BytesIO(content)) as image:
            record["width"], record["height"] = image.size
            record["mode"] = MODES.index(image.mode if image.mode in MODES else "other")
            record["flags"] = _ALPHA if image.has_transparency_data else 0
            record["orientation"] = _orientation(image)
            thumbnail[:] = _thumbnail(image, int(record["orientation"]))
    except UnidentifiedImageError:
        return "not a picture in a known format"
    except BROKEN as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _read(root: str, name: str) -> bytes:
    # A Path for each of a million files takes longer than opening it.
    with open(os.path.join(root, name), "rb", buffering=0) as file:  # noqa: PTH118
        return file.read()


def _digest(content: bytes) -> tuple[int, int]:
    value = blake2b(content, digest_size=16).digest()
    return int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big")


def _orientation(image: Image) -> int:
    if "exif" not in image.info and image.format != "TIFF":
        return 1
    value = image.getexif().get(0x0112, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _thumbnail(image: Image, orientation: int) -> npt.NDArray[np.uint8]:
    """Grey values (16 * 18) after a full decode, upright."""
    from PIL import Image as Pillow

    # JPEG decodes grey at a fraction of the size and still reads every byte, so a cut file is
    # found.
    image.draft("L", (8 * THUMBNAIL[0], 8 * THUMBNAIL[1]))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Converting to 8 bits would clip; the range of the picture itself shows its content.
        values = np.asarray(image, np.float32)
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255 / max(high - low, 1e-6))
        grey = Pillow.fromarray(scaled.astype(np.uint8))
    elif image.has_transparency_data:
        grey = image.convert("RGBA").convert("L")
    else:
        grey = image if image.mode == "L" else image.convert("L")
    turn = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_270,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_90,
    }.get(orientation)
    lies_on_side = orientation >= 5
    small = grey.resize(THUMBNAIL[::-1] if lies_on_side else THUMBNAIL, Pillow.Resampling.BILINEAR)
    if turn is not None:
        small = small.transpose(turn)
    return np.frombuffer(small.tobytes(), np.uint8)
