"""How far confidence can be trusted: bins of a reliability diagram and their scores, as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import GRID, INK, LINES, QUIET, SOFT, dress, new_figure, save_figure
from sightline.reports.wording import split_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORES = {"ece": "ECE", "nll": "NLL", "brier": "Brier", "accuracy": "Accuracy"}


@dataclass(frozen=True, slots=True)
class Bin:
    """One interval of confidence: ``n`` images, their mean confidence, the fraction right.

    Without images the last two are None.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins and scores under one title; ``scores`` has some of ``SCORES``, as plain numbers."""

    title: str
    bins: list[Bin]
    scores: dict[str, float]

    def caption(self) -> str:
        """Return the scores and the number of images in one line."""
        known = [
            f"{SCORES[name]} {self.scores[name]:.4f}" for name in SCORES if name in self.scores
        ]
        return ", ".join([*known, f"n = {sum(one.n for one in self.bins):,}"])


def before_and_after(calibration: Mapping[str, Any] | None) -> list[Reliability]:
    """Return the two diagrams of calibration.json; fewer where bins are missing."""
    found = []
    for key, title in (("before", "Before calibration"), ("after", "After calibration")):
        one = _reliability(title, calibration or {}, bins=f"bins_{key}", scores=key)
        found += [one] if one else []
    return found


def of_evaluation(title: str, evaluation: Mapping[str, Any]) -> Reliability | None:
    """Return the diagram of an evaluated split; None where its scores have no ``calibration``."""
    content = evaluation.get("calibration")
    if not isinstance(content, Mapping):
        return None
    return _reliability(title, {**content, "scores": content}, bins="bins", scores="scores")


def reliability_figure(diagrams: Sequence[Reliability]) -> Figure:
    """Return the diagrams side by side: accuracy of each bin, its images, the line of honesty.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", figure 1. A bar below the
    diagonal is overconfident. Below each is the number of images of each bin.
    """
    figure = new_figure((4.6 * max(1, len(diagrams)), 5.6))
    axes = figure.subplots(2, max(1, len(diagrams)), height_ratios=[3.2, 1.0], squeeze=False)
    for place, diagram in enumerate(diagrams):
        _draw_bins(axes[0, place], diagram)
        _draw_counts(axes[1, place], diagram)
    return figure


def reliability_table(diagrams: Sequence[Reliability]) -> dict[str, list[Any]]:
    """Return the bins of every diagram as one table."""
    rows = [
        {"diagram": diagram.title, "low": one.low, "high": one.high, "n": one.n}
        | {"confidence": one.confidence, "accuracy": one.accuracy}
        for diagram in diagrams
        for one in diagram.bins
    ]
    names = ("diagram", "low", "high", "n", "confidence", "accuracy")
    return {name: [row[name] for row in rows] for name in names}


def write_reliability_figures(
    folder: Path,
    calibration: Mapping[str, Any] | None,
    evaluations: Mapping[str, Mapping[str, Any]],
) -> list[Path]:
    """Write ``reliability`` (before and after) and ``reliability_SPLIT``, where there are bins."""
    groups = {"reliability": before_and_after(calibration)}
    for split, evaluation in evaluations.items():
        title = split_title(split)
        one = of_evaluation(f"{title[:1].upper()}{title[1:]} split", evaluation)
        groups[f"reliability_{split}"] = [one] if one else []
    files: list[Path] = []
    for stem, diagrams in groups.items():
        if diagrams:
            table = reliability_table(diagrams)
            files += save_figure(reliability_figure(diagrams), folder / stem, table)
    return files


def _draw_bins(axes: Axes, diagram: Reliability) -> None:
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1.2, linestyle="--", zorder=2)
    for one in diagram.bins:
        if one.accuracy is None:
            continue
        place: dict[str, Any] = {"align": "edge", "linewidth": 0.8, "edgecolor": "white"}
        axes.bar(one.low, one.accuracy, one.high - one.low, color=SOFT, **place)
        if one.confidence is not None:
            # The gap: from the fraction that is right to what the model said of it.
            axes.plot(
                [one.confidence] * 2, [one.accuracy, one.confidence], color=LINES[1], linewidth=1.2
            )
            axes.plot(one.confidence, one.accuracy, "o", color=LINES[0], markersize=4)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    title = f"{diagram.title}\n{diagram.caption()}"
    dress(axes, title=title, x_label="confidence", y_label="fraction right", grid="both")
    axes.set_title(title, loc="left", fontsize=7.5, color=INK)


def _draw_counts(axes: Axes, diagram: Reliability) -> None:
    for one in diagram.bins:
        width = one.high - one.low
        axes.bar(one.low, one.n, width, align="edge", color=GRID, edgecolor="white", linewidth=0.8)
        if one.n:
            axes.text(
                one.low + width / 2, one.n, f"{one.n:,}", ha="center", va="bottom", fontsize=6,
                color=INK,
            )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.margins(y=0.2)
    dress(axes, title="", x_label="confidence", y_label="images")


def _reliability(
    title: str, content: Mapping[str, Any], *, bins: str, scores: str
) -> Reliability | None:
    given, named = content.get(bins), content.get(scores)
    if not isinstance(given, list) or not given:
        return None
    named = named if isinstance(named, Mapping) else {}
    # An estimate with an interval is an object, a plain score is a number.
    plain = {k: v.get("value") if isinstance(v, Mapping) else v for k, v in named.items()}
    numbers = {name: value for name in SCORES if (value := _number(plain.get(name))) is not None}
    return Reliability(title, [_bin(one) for one in given if isinstance(one, Mapping)], numbers)


def _bin(one: Mapping[str, Any]) -> Bin:
    n = int(one.get("n") or 0)
    return Bin(
        low=float(one["low"]),
        high=float(one["high"]),
        n=n,
        confidence=_number(one.get("confidence")) if n else None,
        accuracy=_number(one.get("accuracy")) if n else None,
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)
