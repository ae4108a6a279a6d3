"""What is drawn of one evaluated split of an anomaly run, for its page and for `sightline plot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sightline.reports.anomaly_figures import (
    curve_columns,
    pro_figure,
    roc_figure,
    score_columns,
    score_histogram,
)
from sightline.reports.anomaly_rows import ScoredImage
from sightline.reports.anomaly_words import mapping
from sightline.reports.wording import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLIT_FIGURES = {
    "score_histogram": "Histogram of the scores of normal images and of each defect",
    "roc": "ROC curve: detected defects over false alarms",
    "pro": "PRO curve: overlap with the defect regions over wrongly marked normal pixels",
}
"""Figure -> what it shows, for those who cannot see it."""
_ROC = {"roc": "image", "pixel_roc": "pixel"}


def split_figures(
    result: Mapping[str, Any], images: Sequence[ScoredImage]
) -> dict[str, tuple[Figure, dict[str, list[Any]]]]:
    """Return each figure that the split has data for, with the columns of its table."""
    figures: dict[str, tuple[Figure, dict[str, list[Any]]]] = {}
    if any(one.has_score for one in images):
        figure = score_histogram(images, image_threshold(result))
        figures["score_histogram"] = figure, score_columns(images)
    curves = mapping(result.get("curves"))
    rocs = {
        _roc_title(level, result): curve
        for key, level in _ROC.items()
        if (curve := _curve(curves.get(key), "tpr"))
    }
    if rocs:
        drawn = roc_figure(rocs, _operating_point(images))
        figures["roc"] = drawn, curve_columns(rocs, "tpr")
    pro = _curve(curves.get("pro"), "pro")
    if pro:
        aupro = mapping(mapping(result.get("headline")).get("pixel_aupro")).get("value")
        limit = mapping(curves["pro"]).get("limit") or 0.3
        figures["pro"] = (
            pro_figure(pro, limit=limit, aupro=aupro),
            curve_columns({"pro": pro}, "pro"),
        )
    return figures


def image_threshold(result: Mapping[str, Any]) -> float | None:
    """Return the score above which an image raises an alarm; None where there is no threshold."""
    value = mapping(mapping(result.get("threshold")).get("image")).get("value")
    return value if isinstance(value, int | float) and value == value else None


def _roc_title(level: str, result: Mapping[str, Any]) -> str:
    value = mapping(mapping(result.get("headline")).get(f"{level}_auroc")).get("value")
    return level if value is None else f"{level}, AUROC {number(value)}"


def _curve(content: Any, height: str) -> dict[str, list[float]] | None:
    """The points of a curve whose both coordinates are numbers; None where there are none."""
    columns = [mapping(content).get(key) or [] for key in ("fpr", height)]
    points = [
        pair
        for pair in zip(*columns, strict=False)
        if all(isinstance(value, int | float) and value == value for value in pair)
    ]
    return {"fpr": [x for x, _ in points], height: [y for _, y in points]} if points else None


def _operating_point(images: Sequence[ScoredImage]) -> dict[str, float] | None:
    """Where the threshold in use lies on the ROC curve of images."""
    shares = {}
    for key, is_normal in (("fpr", True), ("tpr", False)):
        alarms = [one.alarm for one in images if one.is_normal is is_normal and one.has_score]
        if not alarms or None in alarms:
            return None
        shares[key] = sum(map(bool, alarms)) / len(alarms)
    return shares
