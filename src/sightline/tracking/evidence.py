"""The tables and curves in what an evaluation left behind, whatever the task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sightline.runs import RunFolder

_SCORES = ("headline", "more")
_BOUNDS = ("value", "low", "high", "n")
MOST_ROWS = 1000
"""A table of more rows is cut: a tracker shows it in a browser."""

Table = tuple[str, list[str], list[list[Any]]]


def result_of(run: RunFolder, split: str) -> dict[str, Any]:
    """What predictions/SPLIT.metrics.json holds; empty where it is missing or damaged."""
    try:
        result = json.loads((run.predictions / f"{split}.metrics.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def tables_in(result: Mapping[str, Any]) -> Iterator[Table]:
    """Yield name, columns and rows: the scores with their intervals, and every list of records.

    >>> list(tables_in({"per_class": [{"name": "a", "f1": 1}, {"name": "b", "f1": 0.5}]}))
    [('per_class', ['name', 'f1'], [['a', 1.0], ['b', 0.5]])]
    """
    scores = [
        [name, *(score.get(bound) for bound in _BOUNDS)]
        for part in _SCORES
        for name, score in _mapping(result.get(part)).items()
        if isinstance(score, Mapping)
    ]
    if scores:
        yield "scores", ["score", *_BOUNDS], _of_one_type(scores)
    for name, value in result.items():
        records = _records(value)
        if records:
            columns = list(dict.fromkeys(key for record in records for key in record))
            cells = [[record.get(column) for column in columns] for record in records]
            yield name, columns, _of_one_type(cells[:MOST_ROWS])


def curves_in(result: Mapping[str, Any]) -> Iterator[tuple[str, list[float]]]:
    """Yield name and values of every list of numbers, such as the CMC by rank.

    >>> list(curves_in({"cmc": [0.5, 1.0], "class_names": ["a", "b"]}))
    [('cmc', [0.5, 1.0])]
    """
    for name, value in result.items():
        if isinstance(value, list) and len(value) > 1 and all(_is_number(one) for one in value):
            yield name, [float(one) for one in value]


def _records(value: Any) -> list[dict[str, Any]]:
    """The list, if it is one of flat records."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return []
    flat = all(not isinstance(cell, dict | list) for one in value for cell in one.values())
    return value if flat else []


def _of_one_type(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The rows with every column all numbers, or all text, or nothing."""
    columns = [_column(cells) for cells in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _column(cells: Sequence[Any]) -> list[Any]:
    known = [cell for cell in cells if cell is not None]
    if all(_is_number(cell) for cell in known):
        return [None if cell is None else float(cell) for cell in cells]
    return [None if cell is None else str(cell) for cell in cells]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
