"""What the readers of re-identification give: pictures of identities, and remarks on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sightline.data.manifest import Category, Manifest, shortened
from sightline.errors import DataError

JUNK = "-1"
"""Market-1501's identity of bad detections: neither right nor wrong, so nobody looks at them."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about the data that a reader decided; `check` shows it, training notes it."""

    kind: str
    """What it is about, in the words of Finding.kind."""
    count: int
    text: str
    """A sentence."""


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
        """The samples, in the order they were added; ids are the paths.

        Raises DataError for fewer than two identities.
        """
        label = Category.encode(self.identity)
        if len(label.names) < 2:
            raise DataError(
                f"All {len(self.path)} pictures show one identity: {shortened(label.names)}.",
                expected="at least 2 identities",
                where=root,
                remedy="add pictures of others, or correct data.name_pattern",
            )
        return Manifest.build(
            root,
            id=self.path,
            path=self.path,
            label=label,
            camera=Category.encode(self.camera),
            split=self.split,
        )


def without_junk(rows: Rows) -> tuple[Rows, list[Remark]]:
    """The rows but for those of identity -1, and a remark that says how many those are."""
    kept = [row for row, name in enumerate(rows.identity) if name != JUNK]
    junk = len(rows.path) - len(kept)
    if not junk:
        return rows, []
    columns = (rows.path, rows.identity, rows.camera, rows.split)
    left = Rows(*([column[row] for row in kept] for column in columns))
    return left, [
        Remark(
            "junk", junk,
            f"{junk} pictures of identity {JUNK} (junk, as Market-1501 marks it) are left out.",
        )
    ]  # fmt: skip


def distractor_remarks(rows: Rows, root: Path) -> list[Remark]:
    """A remark on distractors, identity 0000 of Market-1501, in the gallery.

    Raises DataError where a query shows one: it would ask for what is no identity.
    """
    places: dict[str, list[str]] = {}
    for path, identity, split in zip(rows.path, rows.identity, rows.split, strict=True):
        if not identity.strip("0"):
            places.setdefault(split, []).append(path)
    if "query" in places:
        raise DataError(
            f"{len(places['query'])} queries ask for identity 0, which stands for distractors in "
            "Market-1501's names: nobody can be found by them.",
            expected="distractors in the gallery only",
            got=shortened(places["query"]),
            where=root,
            remedy="remove these queries; if 0 is an identity like others, give it another number",
        )
    shown = places.get("gallery", [])
    if not shown:
        return []
    return [
        Remark(
            "distractors", len(shown),
            f"{len(shown)} pictures of the gallery show identity 0, distractors that nobody asks "
            "for.",
        )
    ]  # fmt: skip
