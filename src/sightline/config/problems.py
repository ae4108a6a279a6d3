"""Says in plain words what is wrong with a configuration, all of it at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sightline.config.layers import Layer
from sightline.config.schema import annotations_at, choices, describe
from sightline.config.section import Section
from sightline.config.suggest import nearest_word, unknown_key
from sightline.config.yaml_loader import Key, plain_kind
from sightline.errors import ConfigError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the dotted key, what about it, and where it was written."""

    key: str
    text: str
    place: str

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        return f"{self.key}: {self.text}{place}" if self.key else f"{self.text}{place}"


def dotted(key: Sequence[str | int]) -> str:
    """Return a key as text.

    >>> dotted(("eval", "recall_k", 1))
    'eval.recall_k[1]'
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return "".join(parts).removeprefix(".")


def error_of(problems: Iterable[Problem]) -> ConfigError:
    """Return one error that lists every problem once, a line each."""
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    remedy = None
    if any("unknown key" in line for line in lines):
        remedy = "`sightline config RECIPE` prints every key with its meaning"
    return ConfigError(
        "\n".join([f"The configuration has {count}:", *(f"  {line}" for line in lines)]),
        remedy=remedy,
    )


def problems_in(error: ValidationError, section: type[Section], layer: Layer) -> list[Problem]:
    """Return the problems pydantic found, at the keys a user wrote."""
    details = error.errors(include_url=False, include_input=False)
    located = [(detail, *_located(detail["loc"], section, layer)) for detail in details]
    problems = []
    for detail, key, branch in located:
        if branch is None or branch[1] == _best_branch(branch[0], located, layer):
            key = (
                (*key, _discriminator(detail)) if "discriminator" in detail.get("ctx", {}) else key
            )
            problems.append(
                Problem(dotted(key), _text(detail, key, section, layer), layer.place(key))
            )
    return problems


Branch = tuple[Key, str]
_Located = tuple[ErrorDetails, Key, Branch | None]


def _located(loc: Key, section: type[Section], layer: Layer) -> tuple[Key, Branch | None]:
    """The key without pydantic's names for members of a union, and the first of those names."""
    key: Key = ()
    branch = None
    for part in loc:
        if annotations_at(section, (*key, part)) or _is_written(layer, (*key, part)):
            key = (*key, part)
        elif branch is None:
            branch = (key, str(part))
    return key, branch


def _best_branch(at: Key, located: Sequence[_Located], layer: Layer) -> str | None:
    """The member of a union a mapping or list was probably meant for.

    It is the one that fits its kind and has the fewest errors. For a single value each member
    says the same thing, so the first stands for all.
    """
    counts: dict[str, tuple[bool, int]] = {}
    for _, key, branch in located:
        if branch and branch[0] == at:
            wrong_kind, count = counts.get(branch[1], (False, 0))
            counts[branch[1]] = (wrong_kind or key == at, count + 1)
    if not _is_written(layer, at) or not isinstance(layer.value(at), (dict, list)):
        return next(iter(counts))
    return min(counts, key=lambda tag: counts[tag])


def _text(detail: ErrorDetails, key: Key, section: type[Section], layer: Layer) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(section, key)
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error") or detail["msg"])
    if detail["loc"][-1:] == ("[key]",):
        return f"the key {key[-1]} itself is wrong: {_reworded(detail['msg'])}"
    if "expected_tags" in context:
        expected = f"expected one of {context['expected_tags']}".replace("'", "")
    else:
        words = dict.fromkeys(describe(found) for found in annotations_at(section, key))
        expected = f"expected {' or '.join(words)}" if words else _reworded(detail["msg"])
    if kind in ("missing", "union_tag_not_found"):
        return f"this key is required; {expected}"
    value = layer.value(key)
    return f"{expected}; got {got(value)}{_hint(value, annotations_at(section, key))}"


def got(value: Any) -> str:
    """Return a plain value in words, cut where it is long."""
    if value is None:
        return "null (nothing)"
    if isinstance(value, dict):
        return f"a section with {', '.join(value)}" if value else "an empty section"
    text = json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"text {text}" if isinstance(value, str) else text


def _hint(value: Any, annotations: Sequence[Any]) -> str:
    allowed = [choice for annotation in annotations for choice in choices(annotation)]
    if isinstance(value, str) and allowed:
        near = nearest_word(value, [choice for choice in allowed if isinstance(choice, str)])
        return f"; did you mean {near}?" if near else ""
    kinds = " ".join(describe(annotation) for annotation in annotations)
    if isinstance(value, str) and plain_kind(value) in ("int", "float") and "text" not in kinds:
        return "; remove the quotes"
    if isinstance(value, (int, float)) and kinds.startswith("text"):
        return f'; write it in quotes, as in "{json.dumps(value)}"'
    return ""


def _is_written(layer: Layer, key: Key) -> bool:
    try:
        layer.value(key)
    except KeyError:
        return False
    return True


def _discriminator(detail: ErrorDetails) -> str:
    return str(detail["ctx"]["discriminator"]).strip("'")


def _reworded(message: str) -> str:
    return message.replace("Input should be", "expected")
