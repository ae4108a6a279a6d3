"""Finds what differs between two configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = "(absent)"
"""Stands for the value of a key that one of the two does not have."""


def compare_configs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (dotted key, old value, new value) of every difference between two plain trees.

    Keys come in the order of `old`, then those only `new` has. Lists are compared whole; 1 and 1.0
    are equal, 1 and true are not.

    >>> compare_configs({"train": {"lr": 0.1, "epochs": 3}}, {"train": {"lr": 0.2, "epochs": 3}})
    [('train.lr', 0.1, 0.2)]
    """
    before, after = dict(_flat(old)), dict(_flat(new))
    rows = [(key, before.get(key, ABSENT), after.get(key, ABSENT)) for key in before | after]
    return [row for row in rows if _differ(row[1], row[2])]


def _differ(old: Any, new: Any) -> bool:
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) != len(new) or any(map(_differ, old, new))
    return isinstance(old, bool) != isinstance(new, bool) or old != new


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
