"""Findings about files that occur twice, byte for byte or as the same picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sightline.data.findings import MOST_EXAMPLES, Finding
from sightline.data.fingerprints import Scan
from sightline.data.groups import identical
from sightline.data.manifest import Integers, Manifest
from sightline.data.near_duplicates import joined, near_duplicates
from sightline.data.roles import ROLE_NAMES, roles

_SHOWN = 3


def duplicate_findings(manifest: Manifest, seen: Scan) -> Iterator[Finding]:
    """Sets of byte-identical files: across splits and with two labels an error, else a warning."""
    readable = np.flatnonzero(seen.record["bytes"] > 0)
    same = np.full(len(manifest), -1, np.int64)
    same[readable] = identical(seen.record["digest"][readable])
    sets = _Sets(manifest, same)
    across = sets.differing(roles(manifest))
    labels = sets.differing(manifest.label.codes)
    kinds = (
        (
            "error",
            "duplicate_across_splits",
            across,
            "sets of identical files reach over splits: the score would be too good",
            "remove the copies, or make the splits with `sightline split`, which keeps copies "
            "together",
        ),
        (
            "error",
            "duplicate_with_other_label",
            labels,
            "sets of identical files carry different labels: at most one can be right",
            "correct or remove them",
        ),
        (
            "warning",
            "duplicate",
            sets.of_several() & ~across & ~labels,
            "sets of identical files lie within one class and split",
            "remove the copies; splits made with data.group_duplicates=true keep them together",
        ),
    )
    for severity, kind, chosen, what, remedy in kinds:
        if chosen.any():
            yield Finding(
                "error" if severity == "error" else "warning",
                kind,
                int(chosen.sum()),
                what,
                sets.examples(chosen),
                remedy,
            )


def near_duplicate_findings(manifest: Manifest, seen: Scan) -> Iterator[Finding]:
    """Sets of pictures that look the same: across splits a warning, else an information."""
    readable = seen.record["bytes"] > 0
    readable[list(seen.problems)] = False
    rows = np.flatnonzero(readable)
    # Copies of one file would fill the candidates; one of each stands for all.
    same = identical(seen.record["digest"][rows])
    first = rows[np.unique(same, return_index=True)[1]]
    pairs = near_duplicates(seen.thumbnails, np.sort(first))
    if not len(pairs):
        return
    # Copies of one file join their sets, so that a pair is seen across splits through its copy.
    stand_in = first[same]
    links = np.concatenate([pairs, np.stack([rows, stand_in], axis=1)])
    component = joined(links, len(manifest))
    involved = np.isin(component, component[pairs[:, 0]])
    sets = _Sets(manifest, np.where(involved, component, -1))
    across = sets.differing(roles(manifest))
    within = sets.of_several() & ~across
    if across.any():
        yield Finding(
            "warning",
            "near_duplicate_across_splits",
            int(across.sum()),
            "sets of pictures that look the same reach over splits",
            sets.examples(across),
            "look at them; give copies of one picture a common group and make the splits again",
        )
    if within.any():
        yield Finding(
            "info",
            "near_duplicate",
            int(within.sum()),
            "sets of pictures look the same",
            sets.examples(within),
            "give copies of one picture a common group before the splits are made",
        )


class _Sets:
    """Rows by a number (N,) of the set they belong to, -1 for none."""

    def __init__(self, manifest: Manifest, number: Integers) -> None:
        self._manifest, self._number = manifest, number
        self._size = int(number.max(initial=-1)) + 1
        self._roles = roles(manifest)
        self._inside = np.flatnonzero(number >= 0)

    def of_several(self) -> npt.NDArray[np.bool_]:
        """Which sets (S,) have more than one row."""
        return np.bincount(self._number[self._inside], minlength=self._size) > 1

    def differing(self, values: Integers) -> npt.NDArray[np.bool_]:
        """Which sets (S,) hold rows of more than one value."""
        pairs = np.stack([self._number[self._inside], values[self._inside]], axis=1)
        return np.bincount(np.unique(pairs, axis=0)[:, 0], minlength=self._size) > 1

    def examples(self, chosen: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        """The files of the first few chosen sets, with label and split where there is one."""
        order = np.argsort(self._number, kind="stable")
        lines = []
        for number in np.flatnonzero(chosen)[:MOST_EXAMPLES]:
            start, stop = np.searchsorted(self._number, [number, number + 1], sorter=order)
            rows = order[start:stop]
            # One row of each split first: those are what the finding is about.
            leading = rows[np.sort(np.unique(self._roles[rows], return_index=True)[1])]
            rows = np.concatenate([leading, np.setdiff1d(rows, leading)])
            rest = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
            lines.append(" = ".join(self._describe(row) for row in rows[:_SHOWN]) + rest)
        return tuple(lines)

    def _describe(self, row: int) -> str:
        split = ROLE_NAMES[self._roles[row]]
        facts = [split] if self._manifest.split[row] else []
        label = self._manifest.label.text(row)
        if label and not str(self._manifest.path[row]).startswith(f"{label}/"):
            facts.insert(0, label)
        return str(self._manifest.path[row]) + (f" [{', '.join(facts)}]" if facts else "")
