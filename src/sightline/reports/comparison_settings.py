"""What is set differently in several runs: their config.yaml as dotted keys, read fast.

A thousand configurations share most of their sections word for word, and parsing YAML is slow. So
a text is cut at its top-level keys, and each different piece is parsed once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

ABSENT = "–"
"""Stands for the value of a key that a run does not have."""
_IDENTITY = ("project.name", "output.", "tracking.")
_ORDER = ("loss", "model", "sampler", "train", "data")
_SECTION = re.compile(r"^(?=[A-Za-z_\"'][^\n]*:)", re.M)
_LOSS_KEYS = ("loss.name", "loss.kind", "loss.function", "loss_function", "train.loss")


def read_settings(text: str) -> dict[str, Any]:
    """Return the dotted keys of a configuration and their values; ValueError where it is no YAML.

    >>> read_settings("task: classify\\ntrain:\\n  lr: 0.1\\n  betas: [0.9, 0.99]\\n")
    {'task': 'classify', 'train.lr': 0.1, 'train.betas': [0.9, 0.99]}
    """
    pieces = [piece for piece in _SECTION.split(text) if piece.strip()]
    try:
        return {key: value for piece in pieces for key, value in _flat_piece(piece)}
    except ValueError:
        # An anchor of another section, for example: slower, but right.
        return dict(_flat_piece(text))


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return each key that is not the same in all runs with its value in each, ABSENT for none.

    What only names a run or says where its files go is left out. The keys of loss, model and
    training come first.

    >>> differing_settings([{"train.lr": 0.1, "task": "reid"}, {"train.lr": 0.2, "task": "reid"}])
    {'train.lr': [0.1, 0.2]}
    """
    keys = dict.fromkeys(key for one in settings for key in one if not key.startswith(_IDENTITY))
    found = {}
    for key in sorted(keys, key=_place):
        values = [one.get(key, ABSENT) for one in settings]
        if any(value != values[0] for value in values):
            found[key] = values
    return found


def loss_function(settings: Mapping[str, Any]) -> str | None:
    """Return the name of the loss function that a configuration names; None where it names none.

    >>> loss_function({"loss.kind": "arcface"}), loss_function({"train.lr": 0.1})
    ('arcface', None)
    """
    named = (settings[key] for key in _LOSS_KEYS if settings.get(key) is not None)
    return next((str(name) for name in named), None)


@lru_cache(maxsize=4096)
def _flat_piece(text: str) -> tuple[tuple[str, Any], ...]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML was built with it
    try:
        tree = yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError("no YAML") from error
    return tuple(_flat(tree)) if isinstance(tree, Mapping) else ()


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    items: Iterable[tuple[Any, Any]] = tree.items()
    for key, value in items:
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _place(key: str) -> int:
    section = key.partition(".")[0]
    return _ORDER.index(section) if section in _ORDER else len(_ORDER)
