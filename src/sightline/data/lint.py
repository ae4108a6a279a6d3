"""Checks data before training: files, duplicates, leaks between splits, classes, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from sightline.data.content_checks import file_findings, picture_findings
from sightline.data.duplicate_checks import duplicate_findings, near_duplicate_findings
from sightline.data.findings import MOST_EXAMPLES, CheckReport, Finding, sort_findings
from sightline.data.fingerprints import scan
from sightline.data.image_files import is_image
from sightline.data.manifest import SPLITS, Manifest
from sightline.data.roles import ROLE_NAMES, TRAIN_ROLE, roles

_IMBALANCE = 10


def check(
    manifest: Manifest,
    *,
    workers: int | None = None,
    near_duplicates: bool = True,
    min_image_size: int = 0,
    open_set: bool = False,
    of_labels: Iterable[Finding] | None = None,
) -> CheckReport:
    """Read and decode every file once and report what would make training or its score wrong.

    ``open_set`` is for tasks whose test has other classes than training (re-identification,
    search): labels that training never sees are no error then. ``of_labels`` are the findings that
    stand in place of those about classes in anomaly detection (`defect_findings`) and
    re-identification (`identity_findings`). Nothing is changed, and a bad file raises nothing: it
    becomes a finding.
    """
    seen = scan(manifest, workers=workers)
    findings = [
        *file_findings(manifest, seen),
        *duplicate_findings(manifest, seen),
        *(near_duplicate_findings(manifest, seen) if near_duplicates else ()),
        *_group_leaks(manifest),
        *(_class_findings(manifest, open_set=open_set) if of_labels is None else of_labels),
        *picture_findings(manifest, seen, min_image_size=min_image_size),
        *_unused_files(manifest),
    ]
    return CheckReport(len(manifest), sort_findings(findings), class_counts(manifest))


def class_counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Class name -> split name -> number of pictures; rows without split count as "all"."""
    labels, splits, size = manifest.label.codes, manifest.split, len(SPLITS)
    cells = (len(manifest.label.names) + 1) * size
    table = np.bincount((labels + 1) * size + splits, minlength=cells)
    counts = table.reshape(-1, size)[1:]
    return {
        str(name): {SPLITS[code] or "all": int(row[code]) for code in np.flatnonzero(row)}
        for name, row in zip(manifest.label.names, counts, strict=True)
        if row.any()
    }


def _group_leaks(manifest: Manifest) -> Iterator[Finding]:
    role, group = roles(manifest), manifest.group.codes
    rows = group >= 0
    pairs = np.unique(np.stack([group, role], axis=1)[rows], axis=0)
    groups, counts = np.unique(pairs[:, 0], return_counts=True)
    leaking = groups[counts > 1]
    if len(leaking):
        examples = []
        for code in leaking[:MOST_EXAMPLES]:
            places = ", ".join(ROLE_NAMES[place] for place in pairs[pairs[:, 0] == code, 1])
            examples.append(f"{manifest.group.names[code]} ({places})")
        yield Finding(
            "error",
            "group_in_several_splits",
            len(leaking),
            "groups have pictures in more than one split: the score would be too good",
            tuple(examples),
            "make the splits again with `sightline split`, or correct the column of splits",
        )


def _class_findings(manifest: Manifest, *, open_set: bool) -> Iterator[Finding]:
    labels, names = manifest.label.codes, manifest.label.names
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    present = np.flatnonzero(counts)
    if not len(present):
        return
    ordered = present[np.argsort(counts[present], kind="stable")]
    smallest, largest = ordered[0], ordered[-1]
    ends = f"{names[smallest]} {counts[smallest]} to {names[largest]} {counts[largest]} pictures"
    uneven = counts[largest] > _IMBALANCE * counts[smallest]
    yield Finding(
        "warning" if uneven else "info",
        "class_counts",
        len(present),
        f"classes, {ends}",
        remedy="look at macro-averaged scores; weigh the classes or add pictures to the small ones"
        if uneven
        else "",
    )
    single = [f"{names[code]}" for code in present if counts[code] < 2]
    if single:
        yield Finding(
            "warning",
            "class_with_one_picture",
            len(single),
            "classes have a single picture: they can be trained or tested, not both",
            tuple(single[:MOST_EXAMPLES]),
            "add pictures or leave these classes out with data.class_names",
        )
    role = roles(manifest)
    unseen = np.setdiff1d(labels[(role != TRAIN_ROLE) & (labels >= 0)], labels[role == TRAIN_ROLE])
    if len(unseen):
        yield Finding(
            "info" if open_set else "error",
            "label_unseen_in_training",
            len(unseen),
            "classes occur outside train only: a classifier cannot answer with them",
            tuple(str(names[code]) for code in unseen[:MOST_EXAMPLES]),
            "" if open_set else "add training pictures of them, or leave them out",
        )


def _unused_files(manifest: Manifest) -> Iterator[Finding]:
    """Pictures that lie beside those of the table and that it does not name."""
    paths = [str(path) for path in manifest.path]
    known = {*paths, *(str(mask) for mask in manifest.mask)}
    unused: list[str] = []
    for folder in sorted({path.rpartition("/")[0] for path in paths}):
        place = manifest.root / folder
        if not place.is_dir():
            continue
        prefix = f"{folder}/" if folder else ""
        names = (entry.name for entry in place.iterdir() if is_image(entry.name))
        visible = (prefix + name for name in names if not name.startswith("."))
        unused += sorted(name for name in visible if name not in known)
    if unused:
        yield Finding(
            "info",
            "unused_file",
            len(unused),
            "pictures lie beside the others and no row names them",
            tuple(unused[:MOST_EXAMPLES]),
            "nothing to do if that is meant",
        )
