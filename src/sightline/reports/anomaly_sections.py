"""The sections of an anomaly run's page: false alarms, defects, scores, and pictures with maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.reports.anomaly_rows import (
    ScoredImage,
    choose_examples,
    read_scored_images,
)
from sightline.reports.anomaly_words import (
    fraction,
    is_anomaly,
    mapping,
    no_threshold_sentence,
    realised_sentence,
    threshold_sentence,
)
from sightline.reports.canvas import figure_uri
from sightline.reports.heat_maps import HeatMaps, draw_panels, read_heat_maps, scale_stops
from sightline.reports.pictures import picture_uri
from sightline.reports.record import RunRecord
from sightline.reports.sections import PageSection
from sightline.reports.split_figures import SPLIT_FIGURES, image_threshold, split_figures
from sightline.reports.wording import number, split_title


def false_alarms_section(record: RunRecord) -> PageSection | None:
    """Return the threshold, its budget and what came of it; or why there is no threshold."""
    found = _first(record)
    if found is None:
        return None
    split, result = found
    threshold = mapping(result.get("threshold")) or mapping(record.threshold)
    image = mapping(threshold.get("image"))
    data: dict[str, Any] = {"split": split_title(split), "verdict": None, "alarms": None}
    if image.get("value") is None:
        told = {**mapping(record.threshold), **{k: v for k, v in threshold.items() if v}}
        data["said"] = no_threshold_sentence(told)
        return PageSection("alarms", "False alarms", data)
    data["said"] = threshold_sentence(image)
    alarms = mapping(result.get("false_alarms"))
    if alarms:
        verdict, expected = realised_sentence(alarms)
        data |= {"verdict": verdict, "expected": expected, "alarms": _alarm_facts(image, alarms)}
    pixel, realised = mapping(threshold.get("pixel")), mapping(result.get("pixel_false_alarms"))
    data["pixel"] = _pixel_sentence(pixel, realised)
    return PageSection("alarms", "False alarms", data)


def defects_section(record: RunRecord) -> PageSection | None:
    """Return the scores of each defect type against all normal images, the weakest first."""
    for split, result in record.evaluations.items():
        given = result.get("per_defect") if is_anomaly(result) else None
        rows = [row for row in given or [] if isinstance(row, Mapping)]
        if rows:
            rows.sort(key=lambda row: (_order(row.get("image_auroc")), str(row.get("name"))))
            detected = any(row.get("detected") is not None for row in rows)
            told = [{**row, "detected_text": fraction(row.get("detected"))} for row in rows]
            data = {"split": split_title(split), "rows": told, "detected": detected}
            return PageSection("defects", "Each defect", data)
    return None


def scores_section(record: RunRecord) -> PageSection | None:
    """Return the score histogram, ROC and PRO curve of the first split with scored images."""
    for split, result in _with_predictions(record):
        images = read_scored_images(record.predictions(split))
        figures = split_figures(result, images)
        missing = sum(not one.has_score for one in images)
        pictures = [
            {
                "uri": figure_uri(figure),
                "alt": SPLIT_FIGURES[name],
                "wide": name.startswith("score"),
            }
            for name, (figure, _) in figures.items()
        ]
        data = {"split": split_title(split), "pictures": pictures, "missing": missing}
        return PageSection("scores", "Scores", data)
    return None


def heat_maps_section(record: RunRecord, image_root: Path | None) -> PageSection | None:
    """Return the pictures worth a look with their heat maps, of the first split that has rows."""
    for split, result in _with_predictions(record):
        images = read_scored_images(record.predictions(split))
        maps = read_heat_maps(record.folder / "predictions" / f"{split}.maps.npz")
        examples = choose_examples(images)
        threshold, roots = image_threshold(result), record.roots(image_root)
        told: list[tuple[str, str, list[ScoredImage]]] = [
            ("Worst misses", _missed(images, threshold), examples.misses),
            ("Worst false alarms", _alarmed(images, threshold), examples.false_alarms),
            ("Clear hits", "Anomalous images with the highest scores.", examples.hits),
        ]
        groups: list[dict[str, Any]] = [
            {"title": title, "said": said, "cards": [_card(one, maps, roots) for one in shown]}
            for title, said, shown in told
            if shown
        ]
        data = {
            "split": split_title(split),
            "groups": groups,
            "problem": maps.problem,
            "scale": _scale(maps),
            "cropped": maps.fit == "crop",
            "outlined": any(card["outlined"] for group in groups for card in group["cards"]),
        }
        return PageSection("heat_maps", "Heat maps", data) if groups else None
    return None


def _first(record: RunRecord) -> tuple[str, Mapping[str, Any]] | None:
    """The first anomaly split whose false alarms were counted, else the first one there is."""
    found = [(split, r) for split, r in record.evaluations.items() if is_anomaly(r)]
    counted = [one for one in found if one[1].get("false_alarms")]
    return next(iter([*counted, *found]), None)


def _with_predictions(record: RunRecord) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (split, result)
        for split, result in record.evaluations.items()
        if is_anomaly(result) and any(read_scored_images(record.predictions(split)))
    ]


def _alarm_facts(image: Mapping[str, Any], alarms: Mapping[str, Any]) -> list[dict[str, str]]:
    low, high = alarms.get("low"), alarms.get("high")
    level = fraction(alarms.get("confidence", 0.95))
    interval = f"{level} interval {fraction(low)} to {fraction(high)}" if low is not None else ""
    expected = [alarms.get(f"expected_{end}") for end in ("low", "high")]
    facts = [
        ("Budget", fraction(alarms.get("budget", image.get("budget"))), ""),
        ("Realised", fraction(alarms.get("rate")), interval),
        ("False alarms", number(alarms.get("count")), f"of {number(alarms.get('n'))} normal"),
        ("Expected", " to ".join(map(number, expected)) if None not in expected else "–", ""),
        ("Calibrated on", number(image.get("n")), "normal images"),
    ]
    return [{"title": t, "value": v, "said": said} for t, v, said in facts if v != "–"]


def _pixel_sentence(pixel: Mapping[str, Any], realised: Mapping[str, Any]) -> str:
    if pixel.get("value") is None:
        return ""
    said = f"A pixel counts as defect where its map is above {number(pixel['value'], 4)}"
    if pixel.get("budget") is not None:
        said += f", for a budget of {fraction(pixel['budget'])} of the pixels of normal images"
    if realised.get("rate") is not None:
        said += f"; on {number(realised.get('n'))} normal images of this split it was "
        said += fraction(realised["rate"])
    return said + "."


def _missed(images: list[ScoredImage], threshold: float | None) -> str:
    anomalous = [one for one in images if not one.is_normal]
    lowest = "Here are those with the lowest scores, the lowest first."
    if threshold is None:
        return f"Of {number(len(anomalous))} anomalous images. {lowest}"
    missed = sum(one.alarm is False for one in anomalous)
    if not missed:
        return f"None of {number(len(anomalous))} anomalous images is missed. {lowest}"
    return f"{number(missed)} of {number(len(anomalous))} anomalous images are missed. {lowest}"


def _alarmed(images: list[ScoredImage], threshold: float | None) -> str:
    normal = [one for one in images if one.is_normal]
    highest = "Here are those with the highest scores, the highest first."
    if threshold is None:
        return f"Of {number(len(normal))} normal images. {highest}"
    alarms = sum(one.alarm is True for one in normal)
    if not alarms:
        return f"None of {number(len(normal))} normal images raises an alarm. {highest}"
    return f"{number(alarms)} of {number(len(normal))} normal images raise an alarm. {highest}"


def _card(image: ScoredImage, maps: HeatMaps, roots: list[Path]) -> dict[str, Any]:
    panels = draw_panels(image, maps, roots)
    badge = {
        (False, False): "missed",
        (False, True): "detected",
        (True, True): "false alarm",
        (True, False): "no alarm",
    }.get((image.is_normal, image.alarm is True)) if image.alarm is not None else None  # fmt: skip
    return {
        "target": image.target,
        "score": image.score,
        "badge": badge,
        "bad": badge in {"missed", "false alarm"},
        "path": image.path or image.id,
        "picture": picture_uri(panels.picture) if panels.picture else None,
        "heat": picture_uri(panels.heat) if panels.heat else None,
        "size": panels.picture.size if panels.picture else (0, 0),
        "outlined": panels.outlined,
        "remarks": panels.remarks,
    }


def _scale(maps: HeatMaps) -> dict[str, Any] | None:
    if maps.scale is None:
        return None
    return {"low": maps.scale.low, "high": maps.scale.high, "stops": ", ".join(scale_stops())}


def _order(value: Any) -> float:
    return value if isinstance(value, int | float) and value == value else 2.0
