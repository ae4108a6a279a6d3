"""A table of predictions read once, and the numbers that its figures show."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.errors import DataError

_YES, _NO = {"true", "1", "yes"}, {"false", "0", "no"}
_NEEDED = {"id", "prediction", "confidence"}
TENTHS = 10


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """N rows in the table's order; ``accepted`` is None where the table has no such column.

    ``classes`` are the C names of the probability columns, ``probability`` is N lists of C.
    """

    ids: list[str]
    prediction: list[str]
    confidence: list[float]
    accepted: list[bool] | None
    classes: list[str]
    probability: list[list[float]]

    def by_class(self) -> dict[str, list[float]]:
        """Return the confidences of each predicted class, most rows first, ties by name."""
        groups: dict[str, list[float]] = {}
        for name, confidence in zip(self.prediction, self.confidence, strict=True):
            groups.setdefault(name, []).append(confidence)
        return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))

    def class_table(self) -> dict[str, list[Any]]:
        """Return the number of rows of each class, also of classes that were never predicted."""
        groups = self.by_class()
        names = [*groups, *(name for name in self.classes if name not in groups)]
        table: dict[str, list[Any]] = {
            "class": names,
            "n": [len(groups.get(name, ())) for name in names],
        }
        if self.accepted is not None:
            taken = [p for p, yes in zip(self.prediction, self.accepted, strict=True) if yes]
            table["accepted"] = [taken.count(name) for name in names]
        return table

    def row_table(self) -> dict[str, list[Any]]:
        """Return id, prediction and confidence of every row."""
        return {"id": self.ids, "prediction": self.prediction, "confidence": self.confidence}

    def box_table(self) -> dict[str, list[Any]]:
        """Return the numbers of each class's box; quartiles by linear interpolation."""
        rows = []
        for name, values in self.by_class().items():
            quarters = _quartiles(values)
            rows.append((name, len(values), min(values), *quarters, max(values)))
        heads = ("class", "n", "min", "lower_quartile", "median", "upper_quartile", "max")
        return {head: [row[place] for row in rows] for place, head in enumerate(heads)}

    def bin_table(self) -> dict[str, list[Any]]:
        """Return the rows in each tenth of confidence, upper end excluded but for 1."""
        counts = [0] * TENTHS
        for value in self.confidence:
            counts[tenth(value)] += 1
        total = max(1, len(self.confidence))
        return {
            "low": [place / TENTHS for place in range(TENTHS)],
            "high": [(place + 1) / TENTHS for place in range(TENTHS)],
            "n": counts,
            "share": [count / total for count in counts],
        }

    def median(self) -> float:
        """Return the median confidence; NaN without rows."""
        return statistics.median(self.confidence) if self.confidence else math.nan

    def summary(self) -> dict[str, list[Any]]:
        """Return the facts of the table and their values."""
        facts: dict[str, Any] = {"images": len(self.confidence)}
        groups = self.by_class()
        if groups:
            names = list(groups)
            facts |= {
                "classes predicted": len(groups),
                "most frequent class": names[0],
                "least frequent predicted class": names[-1],
                "mean confidence": statistics.fmean(self.confidence),
                "median confidence": self.median(),
                "lowest confidence": min(self.confidence),
                "confidence below 0.5": sum(value < 0.5 for value in self.confidence),
                "confidence of 0.9 and more": sum(value >= 0.9 for value in self.confidence),
            }
        if self.classes:
            missing = [name for name in self.classes if name not in groups]
            facts["classes never predicted"] = len(missing)
        if self.accepted is not None:
            facts["accepted"] = sum(self.accepted)
            facts["left to a person"] = len(self.accepted) - sum(self.accepted)
        return {"fact": list(facts), "value": list(facts.values())}

    def probabilities(self) -> tuple[list[str], list[list[float]]]:
        """Return the predicted classes in the order of ``classes``, and C means for each."""
        sums: dict[str, list[float]] = {}
        for name, row in zip(self.prediction, self.probability, strict=True):
            total = sums.setdefault(name, [0.0] * len(self.classes))
            for place, value in enumerate(row):
                total[place] += value
        counts = {name: len(values) for name, values in self.by_class().items()}
        order = {name: place for place, name in enumerate(self.classes)}
        names = sorted(sums, key=lambda name: (order.get(name, len(order)), name))
        return names, [[value / counts[name] for value in sums[name]] for name in names]

    def probability_table(self) -> dict[str, list[Any]]:
        """Return the heat map as a long table: one row for each cell."""
        names, matrix = self.probabilities()
        cells = [
            (name, other, value)
            for name, line in zip(names, matrix, strict=True)
            for other, value in zip(self.classes, line, strict=True)
        ]
        heads = ("predicted_class", "class", "mean_probability")
        return {head: [cell[place] for cell in cells] for place, head in enumerate(heads)}


def read_prediction_table(path: Path) -> PredictionTable:
    """Return the table of a predictions file; DataError with the line where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            heads, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "The predictions cannot be read.", expected="a CSV file", got=str(error), where=path
        ) from error
    if _NEEDED - set(heads):
        raise DataError(
            "The predictions lack columns.",
            expected="the columns id, prediction and confidence",
            got=", ".join(heads) or "no columns",
            where=path,
            remedy="name a table that `sightline predict` or `evaluate` wrote",
        )
    columns = [name for name in heads if name.startswith("prob_")]
    return PredictionTable(
        ids=[row["id"] for row in rows],
        prediction=[row["prediction"] for row in rows],
        confidence=[_fraction(row, "confidence", path, n) for n, row in enumerate(rows, 2)],
        accepted=_accepted(rows, path) if "accepted" in heads else None,
        classes=[name.removeprefix("prob_") for name in columns],
        probability=[
            [_fraction(row, c, path, n) for c in columns] for n, row in enumerate(rows, 2)
        ],
    )


def is_prediction_table(path: Path) -> bool:
    """Return whether the file's first line names the columns that the figures need."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        heads = next(csv.reader(lines), [])
    return not _NEEDED - set(heads)


def tenth(confidence: float) -> int:
    """Return the tenth, 0 to 9, that a confidence between 0 and 1 lies in; 1 is in the last.

    >>> tenth(0.3), tenth(0.29999), tenth(0.0), tenth(1.0)
    (3, 2, 0, 9)
    """
    # 0.7 * 10 is 7.0, while 0.7 / 0.1 is 6.999...: multiply.
    return min(TENTHS - 1, int(confidence * TENTHS))


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _fraction(row: Mapping[str, str | None], column: str, path: Path, line: int) -> float:
    try:
        value = float(row[column] or "")
    except ValueError:
        value = math.nan
    # Rounding to float32 may carry a probability a hair over 1.
    if not -1e-6 <= value <= 1 + 1e-6:
        raise DataError(
            f"The column {column} holds no probability.",
            expected="a number between 0 and 1",
            got=repr(row[column]),
            where=f"{path}, line {line}",
        )
    return min(1.0, max(0.0, value))


def _accepted(rows: Sequence[Mapping[str, str | None]], path: Path) -> list[bool]:
    found = []
    for line, row in enumerate(rows, 2):
        text = (row["accepted"] or "").strip().lower()
        if text not in _YES | _NO:
            raise DataError(
                "The column accepted holds neither yes nor no.",
                expected="true or false",
                got=repr(row["accepted"]),
                where=f"{path}, line {line}",
            )
        found.append(text in _YES)
    return found
