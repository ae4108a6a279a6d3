"""What an anomaly run's numbers mean, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.metrics.intervals import plural
from sightline.reports.wording import number

_METHODS = {
    "fixed": "The threshold was given, not calibrated: nothing is known beforehand about its "
    "false alarms.",
    "f1": "The threshold is the one with the highest F1 on the validation images; it promises "
    "nothing about false alarms.",
}
IMAGE_SCORES, PIXEL_SCORES = ("image_auroc", "image_ap"), ("pixel_auroc", "pixel_ap", "pixel_aupro")


def is_anomaly(result: Mapping[str, Any]) -> bool:
    """Return whether a split's result is one of anomaly detection."""
    return result.get("task") == "anomaly"


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def fraction(value: Any) -> str:
    """Return a fraction as percent, with one decimal place unless it is a whole number.

    >>> fraction(0.05), fraction(0.0333), fraction(None)
    ('5 %', '3.3 %', '–')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return number(None)
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def remarks(result: Mapping[str, Any]) -> list[str]:
    """Return what the images of a split are, and why a score is missing; none for other tasks."""
    if not is_anomaly(result):
        return []
    counts, headline = mapping(result.get("counts")), mapping(result.get("headline"))
    said = [sentence] if (sentence := _counts_sentence(counts)) else []
    if not any(name in headline for name in IMAGE_SCORES):
        said.append(_undefined_sentence(counts))
    if not any(name in headline for name in PIXEL_SCORES):
        said.append("There are no pixel scores: they need a heat map and a mask with a defect.")
    best = result.get("image_f1_max")
    if isinstance(best, int | float) and best == best:
        said.append(
            f"The highest F1 that any threshold reaches on these images is {number(best)}; it is "
            "found with their truth, so it is a bound and not a result."
        )
    return said


def threshold_sentence(threshold: Mapping[str, Any]) -> str:
    """Return how the image threshold came about and what it promises."""
    said = f"An image raises an alarm where its score is above {number(threshold.get('value'), 4)}."
    method, n, rank = (threshold.get(key) for key in ("method", "n", "rank"))
    if method in _METHODS:
        return f"{said} {_METHODS[method]}"
    if n is None or threshold.get("budget") is None:
        return said
    place = f" It is number {rank:,} of their scores from below." if isinstance(rank, int) else ""
    sure = threshold.get("confidence")
    promise = (
        "On average over such sets of normal images, the share of new normal ones with an alarm "
        "stays within the budget; a single test set may lie above it."
        if sure is None
        else f"For {fraction(sure)} of such sets of normal images, the share of new normal ones "
        "with an alarm stays within the budget."
    )
    return (
        f"{said} It was set from {number(n)} normal images that the model was not fitted to, for a "
        f"false-alarm budget of {fraction(threshold['budget'])} (split-conformal).{place} {promise}"
    )


def no_threshold_sentence(threshold: Mapping[str, Any]) -> str:
    """Return why there is no threshold, and the smallest budget that would have given one."""
    image = mapping(threshold.get("image"))
    given = " ".join(str(threshold.get("reason") or image.get("reason") or "").split())
    said = f"There is no threshold, so no image raises an alarm: {given}" if given else (
        "There is no threshold, so no image raises an alarm; the run's files do not say why."
    )  # fmt: skip
    said += "" if said.endswith(".") else "."
    smallest = image.get("smallest_budget", threshold.get("smallest_budget"))
    n = image.get("n", threshold.get("n"))
    if isinstance(smallest, int | float):
        counted = f" with {number(n)} normal images" if isinstance(n, int) else ""
        said += f" The smallest budget possible{counted} is {fraction(smallest)}."
    return said


def realised_sentence(alarms: Mapping[str, Any]) -> tuple[str, bool]:
    """Return how the realised false alarms compare with what the budget leads to, and if so.

    The second part is whether they lie within the expected range, True where none is known.
    """
    count, n = alarms.get("count"), alarms.get("n")
    low, high = alarms.get("expected_low"), alarms.get("expected_high")
    if not n or not isinstance(count, int):
        return "There is no normal image in this split to count false alarms on.", True
    rate = f"{number(count)} of {number(n)} normal images raise an alarm"
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return f"{rate}.", True
    expected = f"{number(low)} to {number(high)}"
    if count > high:
        return (
            f"{rate}: more than the {expected} that chance explains. The test images differ from "
            "those that the threshold was set from.",
            False,
        )
    if count < low:
        return f"{rate}: fewer than the {expected} that the budget leads to.", False
    return f"{rate}: within the {expected} that the budget leads to by chance.", True


def _counts_sentence(counts: Mapping[str, Any]) -> str:
    normal, anomalous = counts.get("normal"), counts.get("anomalous")
    if not isinstance(normal, int) or not isinstance(anomalous, int):
        return ""
    said = f"{number(normal)} normal and {number(anomalous)} anomalous {plural('image', anomalous)}"
    masks = [
        f"{number(n)} with {what}"
        for key, what in (("with_mask", "a mask"), ("empty_mask", "an empty mask"))
        if (n := counts.get(key))
    ]
    if n := counts.get("without_mask"):
        masks.append(f"{number(n)} without a mask")
    return f"{said}{': ' if masks else ''}{', '.join(masks)}."


def _undefined_sentence(counts: Mapping[str, Any]) -> str:
    for kind, other in (("normal", "anomalous"), ("anomalous", "normal")):
        if counts.get(kind) and not counts.get(other):
            return (
                f"Every image is {kind}, so AUROC and AP are not defined: they compare the two "
                "kinds."
            )
    return "AUROC and AP are not in the result."
