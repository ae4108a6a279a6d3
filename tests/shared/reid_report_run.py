"""A run folder of re-identification in the form that the task writes, with slow, plain scores."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from report_pages import write_json

EVIL = "</script><b>$x$"
NEAREST, RANKS = 10, (1, 5, 10)


@dataclass
class Row:
    """A picture of the split; the camera is "" where none is known."""

    id: str
    identity: str
    camera: str
    split: str
    feature: Any


def make_rows(
    identities: int = 6, cameras: int = 3, each: int = 2, *, noise: float = 0.55
) -> list[Row]:
    """One query and ``each`` gallery pictures of every identity by every camera."""
    draw = np.random.default_rng(3)
    names = [EVIL, *(f"{n:04}" for n in range(1, identities))]
    rows = []
    for name in names:
        centre = draw.normal(size=16)
        for camera in [f"c{n}" for n in range(1, cameras + 1)] or [""]:
            for n in range(1 + each):
                feature = centre + noise * 4 * draw.normal(size=16)
                feature /= np.linalg.norm(feature)
                split, at = ("gallery", n) if n else ("query", 0)
                number = names.index(name)
                rows.append(Row(f"{number:04}_{camera}_{at}", name, camera, split, feature))
    return rows


def write_reid_run(
    folder: Path, rows: list[Row] | None = None, *, size: tuple[int, int] = (32, 64), **more: Any
) -> Path:
    """Write run.json, splits.csv, pictures and the result of test; ``more`` goes into the latter.

    Pictures are ``size`` pixels of noise in a colour for each identity.
    """
    rows = make_rows() if rows is None else rows
    (folder / "predictions").mkdir(parents=True)
    (folder / "data").mkdir()
    draw = np.random.default_rng(5)
    for row in rows:
        shade = int(sum(map(ord, row.identity)) * 37 % 200)
        colour = np.array([shade, 200 - shade, 90])
        pixels = colour + draw.integers(0, 56, (size[1], size[0], 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"data/{row.id}.png")
    write_splits(folder / "splits.csv", rows)
    judged = [judge(row, rows) for row in rows if row.split == "query"]
    write_rows(folder / "predictions/test.csv", judged)
    write_json(folder / "predictions/test.metrics.json", {**result_of(judged, rows), **more})
    info = {"id": "r-1", "name": "plates", "task": "reid", "status": "finished"}
    data = {"root": str(folder.resolve() / "data")}
    best = {"metric": "map", "value": 0.8, "epoch": 2}
    write_json(folder / "run.json", {**info, "data": data, "best": best})
    return folder


def write_splits(file: Path, rows: list[Row]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "path", "label", "group", "camera", "split", "fold", "mask"])
        for row in rows:
            path = f"data/{row.id}.png"
            writer.writerow([row.id, path, row.identity, "", row.camera, row.split, "", ""])


@dataclass
class Judgement:
    row: Row
    nearest: list[tuple[Row, float, str]]
    """The whole gallery, the nearest first, with distance and mark."""

    @property
    def hits(self) -> list[bool]:
        return [mark == "right" for *_, mark in self.nearest if mark != "junk"]

    @property
    def first(self) -> int:
        return self.hits.index(True) + 1 if any(self.hits) else 0

    @property
    def precision(self) -> float:
        found = [rank for rank, hit in enumerate(self.hits, start=1) if hit]
        return float(np.mean([n / rank for n, rank in enumerate(found, start=1)]))

    @property
    def penalty(self) -> float:
        hits = self.hits
        return sum(hits) / (len(hits) - hits[::-1].index(True))


def judge(query: Row, rows: list[Row]) -> Judgement:
    found = []
    for row in rows:
        if row.split == "gallery":
            mark = "right" if row.identity == query.identity else "wrong"
            if mark == "right" and row.camera and row.camera == query.camera:
                mark = "junk"
            found.append((row, float(np.linalg.norm(row.feature - query.feature)), mark))
    return Judgement(query, sorted(found, key=lambda one: one[1]))


def write_rows(file: Path, judged: list[Judgement]) -> None:
    heads = ["id", "path", "identity", "camera", "first_rank", "matches"]
    heads += ["average_precision", "inverse_penalty"]
    for place in range(1, NEAREST + 1):
        heads += [f"nearest_{place}{cell}" for cell in ("", "_label", "_camera", "_distance")]
        heads.append(f"nearest_{place}_mark")
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(heads)
        for one in judged:
            row = one.row
            cells: list[Any] = [row.id, f"{row.id}.png", row.identity, row.camera]
            cells += [one.first, sum(one.hits)]
            cells += [round(one.precision, 6), round(one.penalty, 6)] if one.first else ["", ""]
            for near, distance, mark in one.nearest[:NEAREST]:
                cells += [near.id, near.identity, near.camera, round(distance, 6), mark]
            writer.writerow(cells + [""] * (len(heads) - len(cells)))


def estimate(value: float, n: int) -> dict[str, Any]:
    ends = {"low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1)}
    return {"value": value, **ends, "n": n, "unit": "identity", "confidence": 0.95}


def result_of(judged: list[Judgement], rows: list[Row]) -> dict[str, Any]:
    matched = [one for one in judged if one.first]
    identities = sorted({one.row.identity for one in judged})
    scores = {
        "map": float(np.mean([one.precision for one in matched])),
        "minp": float(np.mean([one.penalty for one in matched])),
        **{f"rank_{k}": float(np.mean([one.first <= k for one in matched])) for k in RANKS},
    }
    n = len({one.row.identity for one in matched})
    plain = {name: estimate(value, n) for name, value in scores.items()}
    better = {name: estimate(min(1.0, value + 0.05), n) for name, value in scores.items()}
    worse = {name: estimate(max(0.0, value - 0.1), n) for name, value in scores.items()}
    cmc = [float(np.mean([one.first <= k for one in matched])) for k in range(1, 51)]
    fewest = min(len(one.hits) for one in matched)
    curve = [value if k <= fewest else None for k, value in enumerate(cmc, start=1)]
    gallery = [row for row in rows if row.split == "gallery"]
    cameras = sorted({row.camera for row in rows} - {""})
    return {
        "task": "reid",
        "split": "test",
        "epoch": 2,
        "checkpoint": "best_model.pth",
        "n": len(matched),
        "feature": "after",
        "headline": plain,
        "more": {f"{name}_reranked": one for name, one in better.items()},
        "table": [
            {"feature": "after", "way": "plain", **plain},
            {"feature": "after", "way": "reranked", **better},
            {"feature": "before", "way": "plain", **worse},
        ],
        "cmc": {
            "after_plain": curve,
            "after_reranked": [None if v is None else min(1.0, v + 0.05) for v in curve],
            "before_plain": [None if v is None else v - 0.1 for v in curve],
        },
        "undefined": {},
        "protocol": {
            "said": f"{len(judged)} pictures of query ask for {len(gallery)} pictures of gallery, "
            f"{len(identities)} identities; 3 cameras",
            "own_gallery": False,
            "same_camera": "filter" if cameras else "keep",
            "queries": len(judged),
            "unmatched": len(judged) - len(matched),
            "gallery": len(gallery),
            "identities": len(identities),
            "gallery_identities": len({row.identity for row in gallery}),
            "cameras": len(cameras),
        },
        "hardest": hardest(matched),
        "camera_pairs": camera_pairs(matched, cameras) if cameras else {},
        "distances": distances(judged),
        "class_names": identities,
    }


def hardest(matched: list[Judgement]) -> list[dict[str, Any]]:
    table = []
    for name in sorted({one.row.identity for one in matched}):
        own = [one for one in matched if one.row.identity == name]
        table.append(
            {
                "identity": name,
                "queries": len(own),
                "map": float(np.mean([one.precision for one in own])),
                "rank_1": float(np.mean([one.first == 1 for one in own])),
            }
        )
    return sorted(table, key=lambda row: row["map"])


def camera_pairs(matched: list[Judgement], cameras: list[str]) -> dict[str, Any]:
    """Each query of one camera among the gallery pictures of another alone."""
    found: dict[str, list[list[Any]]] = {"rank_1": [], "map": [], "queries": []}
    for a in cameras:
        cells = []
        for b in cameras:
            own = [one for one in matched if one.row.camera == a]
            among = [
                Judgement(one.row, [near for near in one.nearest if near[0].camera == b])
                for one in own
            ]
            cells.append([one for one in among if one.first])
        first = [[float(one.first == 1) for one in cell] for cell in cells]
        precision = [[one.precision for one in cell] for cell in cells]
        for name, values in (("rank_1", first), ("map", precision)):
            found[name].append([float(np.mean(one)) if one else None for one in values])
        found["queries"].append([len(one) for one in cells])
    return {"cameras": cameras, "of": len(cameras), **found}


def distances(judged: list[Judgement], bins: int = 100) -> dict[str, Any]:
    edges = np.linspace(0, 2, bins + 1)
    kinds = {"other_camera": "right", "same_camera": "junk", "other_identity": "wrong"}
    counts = {
        kind: np.histogram([d for o in judged for _, d, m in o.nearest if m == mark], edges)[0]
        for kind, mark in kinds.items()
    }
    return {"edges": edges.tolist(), **{kind: one.tolist() for kind, one in counts.items()}}
