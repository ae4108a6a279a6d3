"""What a retrieval run's numbers mean, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sightline.metrics.intervals import plural
from sightline.reports.anomaly_words import fraction, mapping
from sightline.reports.wording import metric_title, number

if TYPE_CHECKING:
    from sightline.reports.record import RunRecord

_MEANING = {
    "macro_recall_at_1": "each class counts alike",
    "object_recall_at_1": "each object counts alike, however many pictures it has",
    "r_precision": "own class among the R nearest, R being its pictures in the gallery",
    "mrr": "mean of one over the rank of the nearest picture of the own class",
}
_LIMITS = ("max_distance", "min_margin", "min_concentration")
_CRITERIA = (
    "The margin is how far the class with the most votes is ahead of the second, from 0 to 1; the "
    "concentration is its share of all votes."
)


def is_retrieval(result: Mapping[str, Any]) -> bool:
    """Return whether a split's result is one of retrieval."""
    return result.get("task") == "retrieve"


def retrieval_splits(record: RunRecord) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the evaluated splits of retrieval with their results, test first."""
    return [(split, one) for split, one in record.evaluations.items() if is_retrieval(one)]


def lesser_scores(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scores of retrieval beside the headline, each with its title and its meaning."""
    more = mapping(result.get("more")) if is_retrieval(result) else {}
    return [
        {"title": metric_title(name), "meaning": _MEANING.get(name, ""), **estimate}
        for name, estimate in more.items()
        if isinstance(estimate, Mapping) and estimate.get("value") is not None
    ]


def retrieval_remarks(result: Mapping[str, Any]) -> list[str]:
    """Return what the queries were compared with, and which have no score; none for other tasks."""
    if not is_retrieval(result):
        return []
    said = [gallery_sentence(mapping(result.get("gallery")))]
    unmatched, n = result.get("unmatched"), result.get("n")
    if isinstance(unmatched, int) and unmatched:
        said.append(
            f"{number(unmatched)} of {number(n)} queries have no picture of their class in the "
            "gallery and count in no score but that of accepted unknowns."
            if unmatched > 1
            else f"One of {number(n)} queries has no picture of its class in the gallery and "
            "counts in no score but that of accepted unknowns."
        )
    for name, why in mapping(result.get("undefined")).items():
        said.append(f"{metric_title(str(name))} is not defined: {_ended(str(why))}")
    return [one for one in said if one]


def gallery_sentence(gallery: Mapping[str, Any]) -> str:
    """Return which pictures the queries were compared with, and how many."""
    pictures, classes = gallery.get("pictures"), gallery.get("classes")
    if not isinstance(pictures, int) or not isinstance(classes, int):
        return ""
    size = f"{number(pictures)} {plural('picture', pictures)} of {number(classes)} "
    size += plural("class", classes)
    said = str(gallery.get("said") or "pictures that the run does not name")
    if gallery.get("kind") == "own":
        return (
            f"Each query was compared with {said}: {size}. Its classes are new to the model, "
            "so the pictures of this split are each other's gallery."
        )
    return f"Each query was compared with a gallery of {size}: {said}."


def thresholds_sentence(thresholds: Mapping[str, Any]) -> str:
    """Return when an answer is accepted, what the thresholds promise, and what they were set on."""
    limits = [thresholds.get(name) for name in _LIMITS]
    if any(not isinstance(one, int | float) for one in limits):
        return ""
    distance, margin, concentration = map(number, limits)
    said = (
        f"An answer is accepted where the nearest neighbour is at most {distance} away, the margin "
        f"is at least {margin} and the concentration at least {concentration}; otherwise the run "
        f"asks for another photo. {_CRITERIA}"
    )
    n, accepted, bound = (thresholds.get(key) for key in ("n", "accepted", "lower_bound"))
    if isinstance(n, int) and thresholds.get("error_rate") is not None:
        budget = fraction(thresholds["error_rate"])
        said += (
            f" The three were set on {number(n)} validation pictures, one of each object, so that "
            f"at most {budget} of the accepted answers are wrong: there {number(accepted)} were "
            f"accepted, of which {fraction(thresholds.get('accuracy'))} were right."
        )
    if isinstance(bound, int | float):
        sure = fraction(1 - float(thresholds.get("delta") or 0.05))
        said += (
            f" On new pictures of the same kind at least {fraction(bound)} of the accepted answers "
            f"are right, with confidence {sure}."
        )
    return said


def strangers_sentence(thresholds: Mapping[str, Any], answers: Mapping[str, Any]) -> str:
    """Return what the false-accept rate was measured on, and whether anything bounds it."""
    if not mapping(answers.get("false_accepts")):
        return ""
    said = (
        "False accepts: each query is asked again with its own class taken out of the gallery, as "
        "if the class were unknown. The model learned from these classes where training had them, "
        "so something truly new may look more familiar, or less."
    )
    rate = thresholds.get("false_accept_rate")
    if not isinstance(rate, int | float):
        return f"{said} The thresholds promise nothing about them."
    return (
        f"{said} The thresholds were set so that at most {fraction(rate)} of "
        f"{number(thresholds.get('unknown'))} such queries of validation are accepted; there "
        f"{number(thresholds.get('unknown_accepted'))} were."
    )


def realised_errors(answers: Mapping[str, Any]) -> tuple[str, bool]:
    """Return how the errors among accepted answers compare with the rate allowed, and if it holds.

    The second part is False only where the whole interval lies above the rate: chance explains
    less.
    """
    right, allowed = mapping(answers.get("accepted_accuracy")), answers.get("error_rate")
    value, high, n = right.get("value"), right.get("high"), right.get("n")
    if not isinstance(value, int | float) or not isinstance(allowed, int | float):
        return "No answer was accepted, so there is none to be wrong.", True
    counted = f" (n = {number(n)} {plural(str(right.get('unit') or 'image'), n)})" if n else ""
    said = f"{fraction(1 - value)} of the accepted answers are wrong{counted}"
    # 1 - 0.95 is a hair above 0.05.
    if 1 - value <= allowed + 1e-9:
        return f"{said}: within the {fraction(allowed)} that are allowed.", True
    if isinstance(high, int | float) and 1 - high > allowed:
        return (
            f"{said}: more than the {fraction(allowed)} that are allowed, and more than chance "
            "explains. These pictures differ from those that the thresholds were set on.",
            False,
        )
    return f"{said}: above the {fraction(allowed)} that are allowed, by no more than chance.", True


def no_thresholds_sentence(result: Mapping[str, Any], reliability: Mapping[str, Any] | None) -> str:
    """Return why no answer of a split is held back; ``reliability`` is the run's file, if any."""
    reason = " ".join(str(mapping(result.get("answers")).get("reason") or "").split())
    if reason:
        return f"No answer is held back, because there are no thresholds: {_ended(reason)}"
    if not mapping(mapping(reliability).get("thresholds")):
        return (
            "No answer is held back: no thresholds were fitted. “sightline threshold RUN” fits "
            "them on validation."
        )
    of_new = bool(mapping(reliability).get("own_gallery"))
    if of_new == (mapping(result.get("gallery")).get("kind") == "own"):
        return (
            "No answer is held back: this split was evaluated before the thresholds were fitted. "
            "Evaluate it again."
        )
    known, new = "classes that the run's gallery has", "classes that training never saw"
    kind, other = (new, known) if of_new else (known, new)
    return (
        f"No answer is held back here: the thresholds were set on {kind}, and nothing is known "
        f"about them on {other}."
    )


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."
