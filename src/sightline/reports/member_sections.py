"""Sections on the parts of a run's prediction: its folds, its members, its calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.reports.fold_scores import Spread
from sightline.reports.record import RunRecord
from sightline.reports.reliability import SCORES, Reliability, before_and_after, of_evaluation
from sightline.reports.sections import PageSection
from sightline.reports.wording import metric_title, split_title


def folds_section(record: RunRecord) -> PageSection | None:
    """Return the scores of each fold, their spread, and the score of all held-out predictions."""
    scores = record.folds
    if scores is None or not scores.folds:
        return None
    data = {
        "metric": metric_title("macro_f1"),
        "rows": scores.folds,
        "spreads": [{"spread": one, "strip": _strip(one)} for one in scores.spreads()],
    }
    return PageSection("folds", "Folds", data)


def ensemble_section(record: RunRecord) -> PageSection | None:
    """Return the members of an ensemble with their weights."""
    content = record.ensemble or {}
    members = [one for one in content.get("members") or [] if isinstance(one, Mapping)]
    if not members:
        return None
    weights = [_weight(one) for one in members]
    most = max((weight for weight in weights if weight is not None), default=0.0) or 1.0
    rows = [
        {
            "run": str(one.get("run", "")),
            "checkpoint": str(one.get("checkpoint") or "the best one of every fold"),
            "weight": weight,
            "share": (weight or 0.0) / most,
        }
        for one, weight in zip(members, weights, strict=True)
    ]
    return PageSection("ensemble", "Members", {"rows": rows, "weighting": content.get("weighting")})


def calibration_section(record: RunRecord) -> PageSection | None:
    """Return reliability diagrams, scores before and after, and what was fitted."""
    content = record.calibration or {}
    pair = before_and_after(content)
    evaluated = [
        one
        for split, result in record.evaluations.items()
        if (one := of_evaluation(_split_name(record, split), result))
    ]
    if not content and not evaluated:
        return None
    data = {
        "method": content.get("method"),
        "split": split_title(str(content.get("split"))) if content.get("split") else None,
        "n": content.get("n"),
        "scores": _score_rows(content),
        "members": _fitted(content),
        "notes": [str(note) for note in content.get("notes") or []],
        "diagrams": [_picture(one) for one in (*pair, *evaluated)],
    }
    return PageSection("calibration", "Calibration", data)


def _strip(spread: Spread) -> dict[str, Any]:
    """Where the marks of a spread lie on a line, in percent of its width, and the line's ends."""
    marks = [*spread.values, spread.mean, spread.oof, spread.low, spread.high]
    known = [mark for mark in marks if mark is not None]
    room = 0.12 * (max(known) - min(known)) or 0.01
    start, end = max(0.0, min(known) - room), min(1.0, max(known) + room)

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - start) / (end - start), 2)

    return {
        "start": start,
        "end": end,
        "folds": list(zip(spread.folds, spread.values, map(place, spread.values), strict=True)),
        "mean": place(spread.mean),
        "oof": place(spread.oof),
        "low": place(spread.low),
        "high": place(spread.high),
    }


def _weight(member: Mapping[str, Any]) -> float | None:
    weight = member.get("weight")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    return float(weight) if number else None  # type: ignore[arg-type]


def _score_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    before, after = content.get("before"), content.get("after")
    columns = [one if isinstance(one, Mapping) else {} for one in (before, after)]
    return [
        {"title": title, "before": columns[0].get(name), "after": columns[1].get(name)}
        for name, title in SCORES.items()
        if any(name in column for column in columns)
    ]


def _fitted(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    members = content.get("members")
    fits: dict[str, Any] = dict(members) if isinstance(members, Mapping) else {}
    if content.get("ensemble"):
        fits["all members together"] = content["ensemble"]
    return [
        {
            "name": name,
            "temperature": fit.get("temperature"),
            "classes": len(fit.get("scale") or ()),
        }
        for name, fit in fits.items()
        if isinstance(fit, Mapping)
    ]


def _split_name(record: RunRecord, split: str) -> str:
    title = split_title(split, out_of_fold=record.out_of_fold)
    return f"{title[:1].upper()}{title[1:]} split, as evaluated"


def _picture(diagram: Reliability) -> dict[str, Any]:
    """A diagram as shapes in a square of 200 by 200, the origin at its upper left."""
    most = max((one.n for one in diagram.bins), default=0) or 1
    return {
        "title": diagram.title,
        "caption": diagram.caption(),
        "bars": [_bar(one.low, one.high, one.accuracy, one) for one in diagram.bins],
        "counts": [_bar(one.low, one.high, one.n / most, one) for one in diagram.bins],
        "rows": diagram.bins,
    }


def _bar(low: float, high: float, height: float | None, one: Any) -> dict[str, Any]:
    tall = round(200 * (height or 0.0), 2)
    return {
        "x": round(200 * low, 2),
        "width": round(200 * (high - low), 2),
        "height": tall,
        "y": round(200 - tall, 2),
        "confidence": None if one.confidence is None else round(200 * one.confidence, 2),
        "said": _said(one),
    }


def _said(one: Any) -> str:
    if not one.n:
        return f"confidence {one.low:.2f} to {one.high:.2f}: no image"
    return (
        f"confidence {one.low:.2f} to {one.high:.2f}, n = {one.n}: "
        f"{one.accuracy:.3f} right, mean confidence {one.confidence:.3f}"
    )
