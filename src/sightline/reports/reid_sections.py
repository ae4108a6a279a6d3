"""The sections of a re-identification run's page that are tables and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.reports.anomaly_words import fraction, mapping
from sightline.reports.canvas import figure_uri
from sightline.reports.cells import finite_or_none
from sightline.reports.picture_sheet import PictureSheet
from sightline.reports.record import RunRecord
from sightline.reports.reid_curves import (
    CameraPairs,
    PairDistances,
    read_camera_pairs,
    read_cmc,
    read_pair_distances,
)
from sightline.reports.reid_figures import cmc_figure, distances_figure
from sightline.reports.reid_pictures import open_reid_pictures
from sightline.reports.reid_rows import read_reid_queries
from sightline.reports.reid_words import (
    WAYS_MEAN,
    answering_feature,
    cameras_sentence,
    feature_title,
    reid_splits,
    table_rows,
    way_title,
)
from sightline.reports.sections import PageSection
from sightline.reports.wording import metric_title, number, score, split_title

IDENTITIES_SHOWN = 20


def rankings_section(record: RunRecord) -> PageSection | None:
    """Return the scores of each feature and way of ranking, of every split that has several."""
    splits = []
    for split, result in reid_splits(record):
        rows = table_rows(result)
        if len(rows) < 2:
            continue
        names = _score_names([mapping(result.get("headline")), *rows])
        answers = answering_feature(result)
        splits.append(
            {
                "title": split_title(split),
                "columns": [metric_title(name) for name in names],
                "rows": [
                    {
                        "feature": feature_title(str(row.get("feature"))),
                        "way": way_title(str(row.get("way"))),
                        "answers": (row.get("feature"), row.get("way")) == (answers, "plain"),
                        "cells": [mapping(row.get(name)) for name in names],
                    }
                    for row in rows
                ],
                "notes": [said for way, said in WAYS_MEAN.items() if _has_way(rows, way)],
            }
        )
    return PageSection("rankings", "Features and rankings", {"splits": splits}) if splits else None


def cmc_section(record: RunRecord) -> PageSection | None:
    """Return the CMC curves of the first split that has some, as a picture."""
    for split, result in reid_splits(record):
        curves = read_cmc(result)
        if curves:
            said = "; ".join(f"{name}: {_at_ranks(one)}" for name, one in curves.items())
            data = {
                "split": split_title(split),
                "feature": feature_title(answering_feature(result)),
                "uri": figure_uri(cmc_figure(curves)),
                "alt": f"CMC curves of the {split_title(split)} split. {said}",
                "last": max(map(len, curves.values())),
                "cut": any(one[-1] is None for one in curves.values()),
            }
            return PageSection("cmc", "CMC", data)
    return None


def identities_section(record: RunRecord, image_root: Path | None) -> PageSection | None:
    """Return the identities that are found worst, each with one of its queries, of one split."""
    for split, result in reid_splits(record):
        rows = [row for row in result.get("hardest") or [] if isinstance(row, Mapping)]
        if not rows:
            continue
        shown = rows[:IDENTITIES_SHOWN]
        names = {str(row.get("identity")) for row in shown}
        first = {
            one.identity: one
            for one in reversed(read_reid_queries(record.predictions(split)))
            if one.identity in names
        }
        pictures = open_reid_pictures(record, list(first.values()), image_root, nearest=False)
        sheet = PictureSheet("identity")
        table = []
        for row in shown:
            query = first.get(str(row.get("identity")))
            picture = sheet.place(pictures.of(query.id)) if query else None
            table.append({**row, "picture": picture})
        data = {
            "split": split_title(split),
            "rows": table,
            "pictures": sheet.pictures,
            "identities": len(rows),
            "perfect": sum(row.get("map") == 1 for row in rows),
        }
        return PageSection("identities", "Hardest identities", data)
    return None


def cameras_section(record: RunRecord) -> PageSection | None:
    """Return rank-1 by the camera that asks and the camera that answers, of one split."""
    for split, result in reid_splits(record):
        pairs = read_camera_pairs(result)
        if pairs:
            data = {
                "split": split_title(split),
                "said": cameras_sentence(len(pairs.cameras), result["camera_pairs"].get("of")),
                "cameras": pairs.cameras,
                "rows": _camera_rows(pairs),
            }
            return PageSection("cameras", "Pairs of cameras", data)
    return None


def distances_section(record: RunRecord) -> PageSection | None:
    """Return how far apart pairs of pictures are, of the first split that counted them."""
    for split, result in reid_splits(record):
        found = read_pair_distances(result)
        if found:
            data = {
                "split": split_title(split),
                "uri": figure_uri(distances_figure(found)),
                "said": _distances_sentence(found),
            }
            return PageSection("distances", "Distances", data)
    return None


def _score_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of scores, in the order they first occur."""
    return list(
        dict.fromkeys(name for row in rows for name, one in row.items() if isinstance(one, Mapping))
    )


def _has_way(rows: Sequence[Mapping[str, Any]], way: str) -> bool:
    return any(row.get("way") == way for row in rows)


def _at_ranks(curve: Sequence[float | None]) -> str:
    known = [(k, curve[k - 1]) for k in (1, 5, 10, 20, 50) if k <= len(curve)]
    return ", ".join(f"rank-{k} {score(value)}" for k, value in known if value is not None)


def _camera_rows(pairs: CameraPairs) -> list[dict[str, Any]]:
    rows = []
    for a, name in enumerate(pairs.cameras):
        cells = []
        for b, other in enumerate(pairs.cameras):
            value, precision = pairs.rank_1[a][b], pairs.average_precision[a][b]
            n = pairs.queries[a][b]
            said = "no query has a match" if value is None else (
                f"rank-1 {score(value)}, mAP {score(precision)}, n = {number(n)} "
                f"{'query' if n == 1 else 'queries'}"
            )  # fmt: skip
            cells.append({"value": value, "n": n, "said": f"{name} asks, {other} answers: {said}"})
        rows.append({"name": name, "cells": cells})
    return rows


def _distances_sentence(found: PairDistances) -> str:
    kind = "other_camera" if "other_camera" in found.counts else "same_camera"
    middle = found.median(kind)
    share = None if middle is None else finite_or_none(found.share_below("other_identity", middle))
    if middle is None or share is None:
        return ""
    by = " by two cameras" if "same_camera" in found.counts and kind == "other_camera" else ""
    told = fraction(share) if share >= 0.0005 or not share else "less than 0.1 %"
    return (
        f"Half of the pairs of one identity{by} are nearer than about {number(middle, 2)}; "
        f"{told} of the pairs of different identities are that near."
    )
