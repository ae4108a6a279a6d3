"""Writes a configuration as YAML that loads back to an equal one."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sightline.config.schema import describe, fields_by_key, plain
from sightline.config.section import Section
from sightline.config.yaml_loader import plain_kind

_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*|\.{1,2}/[A-Za-z0-9_./-]*", re.ASCII)
_OTHER_BOOLEANS = {"y", "n", "yes", "no", "on", "off"}  # what older YAML readers take for one
_UNPRINTABLE = re.compile(
    "[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def render_config(config: Section, *, relative_to: Path | None = None) -> str:
    """Return the full YAML of a configuration, with the meaning and limits of every key.

    Paths inside `relative_to` are written relative to it: for a file that will lie there.
    """
    return "".join(_section(config, 0, has_comments=True, relative_to=relative_to))


def dump_config(config: Section) -> str:
    """Return the full YAML of a configuration without comments: what a run saves."""
    return "".join(_section(config, 0, has_comments=False))


def plain_tree(config: Section) -> dict[str, Any]:
    """Return a configuration as plain mappings, lists and values, keys as a user writes them."""
    tree: dict[str, Any] = plain(config)
    return tree


def _section(
    config: Section, depth: int, *, has_comments: bool, relative_to: Path | None = None
) -> Iterator[str]:
    indent = "  " * depth
    for key, (attribute, field) in fields_by_key(type(config)).items():
        value = getattr(config, attribute)
        if has_comments:
            limits = "" if isinstance(value, Section) else describe(field.rebuild_annotation())
            if depth == 0 and attribute != next(iter(type(config).model_fields)):
                yield "\n"
            yield from _comment(field.description or _summary(value), limits, indent)
        if isinstance(value, Section) and type(value).model_fields:
            yield f"{indent}{_text(key)}:\n"
            yield from _section(
                value, depth + 1, has_comments=has_comments, relative_to=relative_to
            )
        else:
            yield f"{indent}{_text(key)}: {_flow(plain(value, relative_to))}\n"


def _summary(value: Any) -> str:
    return (type(value).__doc__ or "").split("\n")[0] if isinstance(value, Section) else ""


def _comment(text: str, limits: str, indent: str) -> Iterator[str]:
    words = " ".join([*text.split(), f"({limits})" if limits else ""]).strip()
    width = max(40, _WIDTH - len(indent) - 2)
    for line in textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False):
        yield f"{indent}# {line}\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_flow(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int):
        return str(value)
    return _text(str(value).replace("${ENV:", "$${ENV:"))


def _float(value: float) -> str:
    """Digits that every YAML reader takes for a float: with a point, also before an exponent."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    digits, exponent, power = repr(value).partition("e")
    return (digits if "." in digits else f"{digits}.0") + exponent + power


def _text(text: str) -> str:
    is_plain = _PLAIN.fullmatch(text) and plain_kind(text) == "str"
    if is_plain and text.lower() not in _OTHER_BOOLEANS:
        return text
    return _UNPRINTABLE.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
