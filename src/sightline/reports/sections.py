"""The sections of a run's page: each a title, a template and the plain data it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.reports.anomaly_words import remarks
from sightline.reports.mistakes import find_mistakes
from sightline.reports.record import RunRecord
from sightline.reports.reid_words import reid_remarks
from sightline.reports.retrieval_words import is_retrieval, lesser_scores, retrieval_remarks
from sightline.reports.wording import duration, metric_title, moment, split_title

HEAT_MAP_UP_TO = 30
"""Above this many classes the confusion matrix becomes a list of what was confused most."""
TOP_CONFUSIONS = 40


@dataclass(frozen=True, slots=True)
class PageSection:
    """A part of the page; ``key`` is its anchor and the name of its template, data is plain."""

    key: str
    title: str
    data: Mapping[str, Any]


def headline_section(record: RunRecord) -> PageSection | None:
    """Return the headline metrics of every evaluated split, test first."""
    splits = [
        {
            "name": split,
            "title": split_title(split, out_of_fold=record.out_of_fold),
            "out_of_fold": record.out_of_fold and split == "val",
            "lesser": [*_calibration_cards(result), *lesser_scores(result)],
            "remarks": [*remarks(result), *retrieval_remarks(result), *reid_remarks(result)],
            "epoch": result.get("epoch"),
            "checkpoint": result.get("checkpoint"),
            "loss": result.get("loss"),
            "estimates": [
                {"title": metric_title(name), **estimate}
                for name, estimate in result.get("headline", {}).items()
                if isinstance(estimate, Mapping)
            ],
        }
        for split, result in record.evaluations.items()
    ]
    chosen = bool(record.info.get("best")) and not record.computed
    data = {"splits": splits, "chosen": chosen, "computed": record.computed}
    return PageSection("headline", "Result", data) if splits else None


def classes_section(record: RunRecord) -> PageSection | None:
    """Return confusion and scores of each class, for every evaluated split that has classes."""
    splits = []
    for split, result in record.evaluations.items():
        names = [str(name) for name in result.get("class_names") or []]
        matrix = result.get("confusion") or []
        fits = len(matrix) == len(names) and all(len(row) == len(names) for row in matrix)
        if names and fits:
            splits.append(
                {
                    "name": split,
                    "title": split_title(split, out_of_fold=record.out_of_fold),
                    "by_vote": is_retrieval(result),
                    "heat": _heat_rows(matrix, names) if len(names) <= HEAT_MAP_UP_TO else None,
                    "names": names,
                    "confusions": _top_confusions(matrix, names),
                    "per_class": result.get("per_class") or [],
                }
            )
    return PageSection("classes", "Classes", {"splits": splits}) if splits else None


def mistakes_section(record: RunRecord, image_root: Path | None) -> PageSection | None:
    """Return the confident mistakes of the first evaluated split that has a predictions file.

    Not of retrieval, whose mistakes are shown beside the neighbours that led to them.
    """
    for split, result in record.evaluations.items():
        if is_retrieval(result):
            continue
        found = find_mistakes(record.predictions(split), roots=record.roots(image_root))
        if found.rows:
            data = {
                "split": split,
                "split_title": split_title(split, out_of_fold=record.out_of_fold),
                "cards": found.worst,
                "wrong": found.wrong,
                "rows": found.rows,
            }
            return PageSection("mistakes", "Worst mistakes", data)
    return None


def data_section(record: RunRecord) -> PageSection | None:
    """Return the number of images of each split, and of each class where that is known."""
    facts = record.info.get("data")
    facts = facts if isinstance(facts, Mapping) else {}
    totals = {k: v for k, v in facts.items() if isinstance(v, int) and not isinstance(v, bool)}
    given = facts.get("class_counts")
    counts: dict[str, Mapping[str, Any]] = dict(given) if isinstance(given, Mapping) else {}
    for split, result in record.evaluations.items():
        rows = result.get("per_class") or []
        if rows and split not in counts:
            counts[split] = {str(row["name"]): row.get("support") for row in rows}
        totals.setdefault(split, int(result.get("n") or 0))
    if not totals:
        return None
    totals, counts = _in_order(totals), _in_order(counts)
    known = {str(name) for column in counts.values() for name in column}
    names = [str(name) for name in facts.get("classes") or sorted(known)]
    most = {s: max((v or 0 for v in c.values()), default=0) or 1 for s, c in counts.items()}
    data = {"totals": totals, "counts": counts, "names": names if counts else [], "most": most}
    return PageSection("data", "Data", data)


def config_section(record: RunRecord) -> PageSection | None:
    """Return the resolved configuration as its file holds it."""
    if not record.config_text:
        return None
    return PageSection("config", "Configuration", {"text": record.config_text.rstrip()})


def environment_section(record: RunRecord) -> PageSection:
    """Return where, when and with what the run was made."""
    info = record.info
    times = info.get("times") if isinstance(info.get("times"), Mapping) else {}
    command = info.get("command")
    facts: list[tuple[str, Any]] = [
        ("Command", " ".join(map(str, command)) if isinstance(command, list) else command),
        ("Run id", info.get("uuid") or info.get("id")),
        ("Continues", info.get("parent")),
        ("Created", moment(times.get("created")) if times else None),
        ("Started", moment(times.get("started")) if times else None),
        ("Ended", moment(times.get("ended")) if times else None),
        ("Duration", duration(times.get("started"), times.get("ended")) if times else None),
        ("Git commit", _git(info.get("git"))),
        ("Seeds", _listed(info.get("seeds"))),
        ("Device", _listed(info.get("device"))),
        ("Versions", _listed(info.get("versions"))),
    ]
    shown = [(name, value) for name, value in facts if value not in (None, "", "–")]
    return PageSection("environment", "Environment", {"facts": shown})


def log_section(record: RunRecord) -> PageSection | None:
    """Return the last lines of the log file, where the run folder has one."""
    return PageSection("log", "Log", {"text": record.log_tail}) if record.log_tail else None


def _calibration_cards(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = result.get("calibration")
    if not isinstance(content, Mapping):
        return []
    # The first one is what people ask for; the others are in the section on calibration.
    ece = content.get("ece")
    estimate = ece if isinstance(ece, Mapping) else {"value": ece}
    if estimate.get("value") is None:
        return []
    meaning = "expected calibration error, 0 is best"
    return [{"title": metric_title("ece"), "meaning": meaning, **estimate}]


def _heat_rows(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for place, (name, counts) in enumerate(zip(names, matrix, strict=True)):
        total = sum(counts)
        cells = [
            {
                "count": count,
                "share": count / total if total else 0.0,
                # Gentle at the dark end: a few mistakes in a large class must still be seen.
                "shade": (count / total) ** 0.6 if total else 0.0,
                "right": column == place,
                "prediction": names[column],
            }
            for column, count in enumerate(counts)
        ]
        rows.append({"name": name, "total": total, "cells": cells})
    return rows


def _top_confusions(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"truth": names[i], "prediction": names[j], "count": count, "share": count / sum(row)}
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if count and i != j
    ]
    found.sort(key=lambda cell: (-cell["count"], cell["truth"], cell["prediction"]))
    return found[:TOP_CONFUSIONS]


def _in_order(by_split: Mapping[str, Any]) -> dict[str, Any]:
    order = {"train": 0, "val": 1, "test": 2}
    return dict(sorted(by_split.items(), key=lambda item: (order.get(item[0], 3), item[0])))


def _git(git: Any) -> str | None:
    if not isinstance(git, Mapping) or not git.get("commit"):
        return None
    return f"{git['commit']}{', with changes that were not committed' if git.get('dirty') else ''}"


def _listed(facts: Any) -> dict[str, str] | str | None:
    if isinstance(facts, Mapping):
        return {str(k): str(v) for k, v in facts.items() if v is not None}
    return None if facts is None else str(facts)
