"""What one run said of each sample of a split, as its table of predictions tells it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.reports.anomaly_rows import NORMAL
from sightline.reports.cells import number_in

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one run said of the N samples of a split, in the order of its file."""

    ids: list[str]
    truth: list[str]
    right: list[float]
    """1 right, 0 wrong, NaN not judged; empty where answers are neither."""
    scores: dict[str, list[float]]
    groups: list[str]
    """What resembles each other, by name; empty where samples are independent."""
    unit: str = "image"
    """What is independent: a sample, or a group of them."""

    def reordered(self, order: Sequence[int]) -> Answers:
        """Return the answers with the samples in another order."""

        def moved(values: Sequence[Any]) -> list[Any]:
            return [values[row] for row in order] if values else []

        return Answers(
            moved(self.ids),
            moved(self.truth),
            moved(self.right),
            {name: moved(values) for name, values in self.scores.items()},
            moved(self.groups),
            self.unit,
        )


def read_answers(folder: Path, split: str, task: str) -> Answers | str:
    """Return what a run said of the split, or the sentence that says why that is unknown."""
    path = folder / "predictions" / f"{split}.csv"
    if not path.is_file():
        return f"{folder.name} has no predictions/{path.name}"
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return f"predictions/{path.name} of {folder.name} cannot be read: {error}"
    judge = _JUDGES.get(task, _judge_recall)
    try:
        return judge(rows)
    except KeyError as error:
        return f"predictions/{path.name} of {folder.name} has no column {error}"


def _judge_classes(rows: Sequence[Row]) -> Answers:
    truth = [row["target"] for row in rows]
    right = [float(row["prediction"] == row["target"]) for row in rows]
    return Answers([row["id"] for row in rows], truth, right, {"accuracy": right}, [])


def _judge_anomalies(rows: Sequence[Row]) -> Answers:
    truth = [row["target"] for row in rows]
    alarms = [number_in(row["alarm"]) for row in rows]
    right = [
        float((alarm > 0) == (target != NORMAL)) if alarm == alarm else alarm
        for alarm, target in zip(alarms, truth, strict=True)
    ]
    scores = {"score": [number_in(row["score"]) for row in rows]}
    known = any(one == one for one in right)  # without a threshold there are no alarms
    return Answers([row["id"] for row in rows], truth, right if known else [], scores, [])


def _judge_retrieval(rows: Sequence[Row]) -> Answers:
    first = [number_in(row["first_rank"]) for row in rows]
    right = [float(rank == 1) if rank == rank else rank for rank in first]
    scores = {"recall_at_1": right, "map_at_r": [number_in(row["ap_at_r"]) for row in rows]}
    objects = [row["object"] for row in rows]
    unit = "object" if all(objects) else "query"
    ids, truth = [row["id"] for row in rows], [row["target"] for row in rows]
    return Answers(ids, truth, right, scores, objects if all(objects) else [], unit)


def _judge_reid(rows: Sequence[Row]) -> Answers:
    average = [number_in(row["average_precision"]) for row in rows]
    first = [number_in(row["first_rank"]) for row in rows]
    right = [
        float(rank == 1) if value == value else value
        for rank, value in zip(first, average, strict=True)
    ]
    scores = {"rank_1": right, "map": average}
    scores["minp"] = [number_in(row["inverse_penalty"]) for row in rows]
    names = [row["identity"] for row in rows]
    return Answers([row["id"] for row in rows], names, right, scores, names, "identity")


def _judge_recall(rows: Sequence[Row]) -> Answers:
    """Queries without a class: each has a recall, the share of its true neighbours that is kept."""
    columns = [name for name in (rows[0] if rows else ()) if name.startswith("recall_at_")]
    if rows and not columns:
        raise KeyError("recall_at_K")
    scores = {name: [number_in(row[name]) for row in rows] for name in columns}
    return Answers([row["id"] for row in rows], [""] * len(rows), [], scores, [], "query")


_JUDGES: Mapping[str, Callable[[Sequence[Row]], Answers]] = {
    "classify": _judge_classes,
    "anomaly": _judge_anomalies,
    "retrieve": _judge_retrieval,
    "reid": _judge_reid,
}
"""Task -> how its table of predictions is read; others by their columns of recall."""
