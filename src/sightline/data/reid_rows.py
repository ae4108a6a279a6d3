"""What the readers of re-identification give: pictures of identities, and remarks on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Literal, NamedTuple

from sightline.data.manifest import Category, Manifest, shortened
from sightline.errors import DataError

JUNK = "-1"
"""Market-1501's identity of bad detections: neither right nor wrong, so nobody looks at them."""
_ZERO_RULE = "if 0 is an identity like others, give it another number"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about the data that a reader decided; `check` shows it, training notes it."""

    kind: str
    """What it is about, in the words of Finding.kind."""
    count: int
    text: str
    """A sentence."""
    severity: Literal["info", "warning"] = "info"
    """How grave `check` takes it."""


class Identities(NamedTuple):
    """Samples whose labels are identities, before any split is carved, and remarks on them."""

    manifest: Manifest
    remarks: list[Remark]


@dataclass(slots=True)
class Rows:
    """Columns of pictures; paths are relative to the root, an empty camera is unknown."""

    path: list[str] = field(default_factory=list)
    identity: list[str] = field(default_factory=list)
    camera: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)

    def add(self, path: list[str], identity: list[str], camera: list[str], split: str) -> None:
        """Append pictures of one split."""
        self.path += path
        self.identity += identity
        self.camera += camera
        self.split += [split] * len(path)

    def manifest(self, root: Path) -> Manifest:
        """The samples, in the order they were added; ids are the paths."""
        return Manifest.build(
            root,
            id=self.path,
            path=self.path,
            label=Category.encode(self.identity),
            camera=Category.encode(self.camera),
            split=self.split,
        )


def without_junk(rows: Rows) -> tuple[Rows, list[Remark]]:
    """The rows but for those of identity -1, and a remark that says how many those are."""
    left, junk = _kept(rows, [name != JUNK for name in rows.identity])
    if not junk:
        return rows, []
    return left, [
        Remark(
            "junk", junk,
            f"{junk} pictures of identity {JUNK} (junk, as Market-1501 marks it) are left out.",
        )
    ]  # fmt: skip


def without_distractors(rows: Rows, root: Path) -> tuple[Rows, list[Remark]]:
    """The rows with distractors, identity 0000 of Market-1501, in the gallery only, and remarks.

    What is trained on, or is its own gallery, cannot have pictures that nobody asks for. Raises
    DataError where a query shows one: it would ask for what is no identity.
    """
    pairs = list(zip(rows.identity, rows.split, strict=True))
    asking = [rows.path[row] for row, pair in enumerate(pairs) if _is_distractor(pair, "query")]
    if asking:
        raise DataError(
            f"{len(asking)} queries ask for identity 0, which stands for distractors in "
            "Market-1501's names: nobody can be found by them.",
            expected="distractors in the gallery only",
            got=shortened(asking),
            where=root,
            remedy=f"remove these queries; {_ZERO_RULE}",
        )
    left, gone = _kept(
        rows, [_is_distractor(one, "gallery") or bool(one[0].strip("0")) for one in pairs]
    )
    remarks = []
    if gone:
        text = (
            f"{gone} pictures of identity 0 (distractors, as Market-1501 marks them) are left out, "
            f"because they are in no gallery; {_ZERO_RULE}."
        )
        remarks.append(Remark("distractors_left_out", gone, text))
    shown = sum(_is_distractor(one, "gallery") for one in pairs)
    if shown:
        text = f"{shown} pictures of the gallery show identity 0, distractors that nobody asks for."
        remarks.append(Remark("distractors", shown, text))
    return left, remarks


def _is_distractor(pair: tuple[str, str], split: str) -> bool:
    """Whether identity and split are those of a distractor there."""
    return not pair[0].strip("0") and pair[1] == split


def _kept(rows: Rows, keep: Sequence[bool]) -> tuple[Rows, int]:
    """Some of the rows, and how many the others are."""
    columns = (rows.path, rows.identity, rows.camera, rows.split)
    left = Rows(*(list(compress(column, keep)) for column in columns))
    return left, len(rows.path) - len(left.path)
