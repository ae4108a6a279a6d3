"""What every contestant of retrieval.py learns from, embeds and is judged by.

Tables of file names that all of them read, and scores of their embeddings in plain NumPy, so that
no contestant's own measure matters.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RECALL_AT = (1, 5)
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Row:
    """A picture: its path below the set's folder, its class, what it belongs to, and its part."""

    path: str
    label: str
    group: str
    """Pictures of the same moment; a query never meets another of its own group."""
    part: str
    """The folder it comes from: train, test or iconic."""


@dataclass(frozen=True)
class Comparison:
    """Which pictures are searched for among which."""

    name: str
    query: str
    gallery: str
    what: str


COMPARISONS = {
    "products_grocery": (
        Comparison("shop", "test", "train", "test photos among the photos of train"),
        Comparison("iconic", "test", "iconic", "test photos among one clean picture a product"),
    ),
    "identities_nyala": (
        Comparison("animals", "test", "test", "animals never trained on, among each other"),
    ),
}
# The same sets with a part of train held out in place of test, where rates of peers are chosen.
TUNING = {f"{name}.tuning": name for name in COMPARISONS}


def write_tables(images: Path, name: str, folder: Path) -> None:
    """Write train.csv (all to learn from) and embed.csv (all to embed, in this order)."""
    train, embed = rows_of(images, name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as table:
        lines = csv.writer(table)
        lines.writerow(("ID", "target", "group", "split"))
        lines.writerows((row.path, row.label, row.group, "train") for row in train)
    with (folder / "embed.csv").open("w", newline="", encoding="utf-8") as table:
        lines = csv.writer(table)
        lines.writerow(("ID", "target", "group", "part"))
        lines.writerows((row.path, row.label, row.group, row.part) for row in embed)


def read_embed(folder: Path) -> list[Row]:
    """The rows of embed.csv, in the order of the embeddings."""
    with (folder / "embed.csv").open(newline="", encoding="utf-8") as table:
        found = csv.DictReader(table)
        return [Row(one["ID"], one["target"], one["group"], one["part"]) for one in found]


def rows_of(images: Path, name: str) -> tuple[list[Row], list[Row]]:
    """What is learnt from, and what is embedded."""
    source = TUNING.get(name, name)
    rows = list(_pictures(images / source))
    train = [row for row in rows if row.part == "train"]
    if name == source:
        return train, rows if source == "products_grocery" else [*_part(rows, "test")]
    if source == "products_grocery":
        # Every fourth picture of each product is a query; the others are the gallery.
        place = {row.path: number for number, row in enumerate(train)}
        held = {row.path for row in train if place[row.path] % 4 == 3}
        fit = [row for row in train if row.path not in held]
        query = [Row(row.path, row.label, row.group, "test") for row in train if row.path in held]
        return fit, [*fit, *query, *_part(rows, "iconic")]
    animals = sorted({row.label for row in train})[::5]
    fit = [row for row in train if row.label not in animals]
    return fit, [Row(one.path, one.label, one.group, "test") for one in train if one not in fit]


def _part(rows: list[Row], part: str) -> Iterator[Row]:
    return (row for row in rows if row.part == part)


def _pictures(folder: Path) -> Iterator[Row]:
    """Every picture below train, test and iconic, by name."""
    for path in sorted(folder.glob("*/*/*.jpg")):
        part, label, file = path.relative_to(folder).parts
        inside = f"{part}/{label}/{file}"
        # The number before `_` is the sighting of an animal; of products nothing is known.
        sighting = file.split("_")[0] if folder.name == "identities_nyala" else file
        yield Row(inside, label, f"{label}/{sighting}", part)


def score(embeddings: Array, rows: list[Row], one: Comparison) -> dict[str, Any]:
    """Recall@K and mAP@R with the scores of each query, by cosine, ties counted against us.

    A query does not see its own group. AP@R is the mean over the first R ranks of precision where
    the picture is relevant, with R the number of relevant pictures (Musgrave, Belongie and Lim, A
    Metric Learning Reality Check, 2020). Queries without a relevant picture are left out.
    """
    if embeddings.shape[0] != len(rows) or not np.isfinite(embeddings).all():
        raise SystemExit(f"expected {len(rows)} finite embeddings, got {embeddings.shape}")
    vectors = embeddings.astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    labels, groups, parts = (
        np.array([getattr(row, field) for row in rows]) for field in ("label", "group", "part")
    )
    queries, gallery = np.flatnonzero(parts == one.query), np.flatnonzero(parts == one.gallery)
    found = []
    for query in queries:
        seen = gallery[groups[gallery] != groups[query]]
        relevant = labels[seen] == labels[query]
        if relevant.any():
            # Equal vectors must tie whatever the order of summing, so noise is rounded away.
            cosines = np.round(vectors[seen] @ vectors[query], 9)
            ranks = ranks_of_relevant(cosines, relevant)
            found.append((query, ranks[0], precision_at_r(ranks)))
    kept = [query for query, _, _ in found]
    first = np.array([rank for _, rank, _ in found])
    precisions = np.array([precision for _, _, precision in found])
    return {
        **{f"recall_at_{k}": float((first <= k).mean()) for k in RECALL_AT},
        "map_at_r": float(precisions.mean()),
        "n": {
            "queries": len(kept),
            "left_out": len(queries) - len(kept),
            "gallery": len(gallery),
            "classes": len(set(labels[kept])),
        },
        "label": labels[kept].tolist(),
        "hit": (first == 1).astype(int).tolist(),
        "precision": precisions.tolist(),
    }


def ranks_of_relevant(scores: Array, relevant: Array) -> Array:
    """Ranks from 1 of the relevant pictures, best first; equal irrelevant ones come before."""
    good, bad = -np.sort(-scores[relevant]), np.sort(scores[~relevant])
    before = len(bad) - np.searchsorted(bad, good, side="left")
    return before + np.arange(1, len(good) + 1)


def precision_at_r(ranks: Array) -> float:
    """AP@R of one query from the ranks of its R relevant pictures."""
    found = [(place + 1) / rank for place, rank in enumerate(ranks) if rank <= len(ranks)]
    return float(sum(found) / len(ranks))
