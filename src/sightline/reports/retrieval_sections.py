"""The sections of a retrieval run's page: when it answers, and how each class is found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sightline.metrics.intervals import plural
from sightline.reports.anomaly_words import fraction, mapping
from sightline.reports.record import RunRecord
from sightline.reports.retrieval_words import (
    no_thresholds_sentence,
    realised_errors,
    retrieval_splits,
    strangers_sentence,
    thresholds_sentence,
)
from sightline.reports.sections import PageSection
from sightline.reports.wording import number, split_title

CLASSES_SHOWN = 60
"""Above this many classes only the worst are in the table: nobody reads on."""


def answers_section(record: RunRecord) -> PageSection | None:
    """Return when the run answers and what came of it; or why no answer is held back."""
    found = retrieval_splits(record)
    if not found:
        return None
    judged = [one for one in found if mapping(one[1].get("answers")).get("coverage")]
    split, result = next(iter([*judged, *found]))
    answers, thresholds = mapping(result.get("answers")), mapping(result.get("thresholds"))
    data: dict[str, Any] = {"split": split_title(split), "facts": [], "verdict": "", "fine": True}
    if not answers.get("coverage"):
        data["said"] = [no_thresholds_sentence(result, record.reliability)]
        return PageSection("answers", "Answers", data)
    data["verdict"], data["fine"] = realised_errors(answers)
    data["facts"] = _answer_facts(answers)
    data["said"] = [thresholds_sentence(thresholds), strangers_sentence(thresholds, answers)]
    if split == "val":
        data["said"].append(
            "The thresholds were set on this split, so its numbers are on the optimistic side."
        )
    return PageSection("answers", "Answers", data)


def class_search_section(record: RunRecord) -> PageSection | None:
    """Return the scores of each class by search, the worst first, of the first split with some."""
    for split, result in retrieval_splits(record):
        given = result.get("retrieval_per_class") or []
        rows = sorted_classes(row for row in given if isinstance(row, Mapping))
        if rows:
            data = {
                "split": split_title(split),
                "rows": rows[:CLASSES_SHOWN],
                "classes": len(rows),
                "perfect": sum(row.get("recall_at_1") == 1 for row in rows),
            }
            return PageSection("class_search", "Classes by search", data)
    return None


def sorted_classes(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows of classes, the lowest Recall@1 first, then MAP@R; without scores last."""
    return sorted(
        rows,
        key=lambda row: (
            _order(row.get("recall_at_1")),
            _order(row.get("map_at_r")),
            str(row.get("name")),
        ),
    )


def _answer_facts(answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = {
        "coverage": ("Accepted", "of the answers"),
        "accepted_accuracy": ("Right", "of the accepted answers"),
        "false_accepts": ("False accepts", "with the own class taken out"),
        "unknown_accepts": ("Unknown accepted", "of classes the gallery lacks"),
    }
    facts = [
        {"title": title, "value": fraction(one.get("value")), "said": [about, *_interval(one)]}
        for key, (title, about) in names.items()
        if (one := mapping(answers.get(key))) and one.get("value") is not None
    ]
    allowed = {"title": "Allowed to be wrong", "value": fraction(answers.get("error_rate"))}
    return [*facts, {**allowed, "said": ["of the accepted answers"]}]


def _interval(estimate: Mapping[str, Any]) -> list[str]:
    low, high, n = (estimate.get(key) for key in ("low", "high", "n"))
    told = []
    if isinstance(low, int | float) and isinstance(high, int | float):
        level = fraction(estimate.get("confidence", 0.95))
        told.append(f"{level} interval {fraction(low)} to {fraction(high)}")
    if isinstance(n, int):
        told.append(f"n = {number(n)} {plural(str(estimate.get('unit') or 'image'), n)}")
    return told


def _order(value: Any) -> float:
    return value if isinstance(value, int | float) and value == value else 2.0
