"""Reads YAML text into plain data, with the line of every key.

Words mean what YAML 1.2 says: only true and false are booleans (`no`, `yes` and `on` are text),
1e-3 and .5 are numbers, 12:30 is text. Beyond that standard, 007 is text too, so that an
identifier keeps its zeros. `${ENV:NAME}` in a value is replaced by that environment variable: an
unquoted value is then read as if its text had been typed, a quoted one stays text; `$${ENV:` is a
literal `${ENV:`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from sightline.errors import ConfigError

Key = tuple[str | int, ...]

MOST_VALUES = 100_000  # aliases can blow a small file up to any size
DEEPEST = 50

_TAG = "tag:yaml.org,2002:"
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true", "True", "TRUE", "false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+[eE][-+]?[0-9]+"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    re.ASCII,
)
_ENVIRONMENT = re.compile(r"\$?\$\{ENV:(?P<name>[^}]*)(?P<end>\}?)")


def read_yaml(text: str, source: str) -> tuple[dict[str, Any], dict[Key, int]]:
    """Return the mapping in `text` and the 1-based line of every key and list item in it.

    Mapping keys are always text. `source` names the text in errors. Raises ConfigError for text
    that is no YAML, a root that is no mapping, a repeated key, and a missing variable.
    """
    root = _compose(text, source)
    if root is None:
        raise ConfigError(f"{source} is empty.", expected="a mapping such as `task: classify`")
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"{source} does not hold a mapping.",
            expected="`key: value` lines",
            got="a list" if isinstance(root, yaml.SequenceNode) else "a single value",
            where=f"{source}:{root.start_mark.line + 1}",
        )
    builder = _Builder(source)
    tree: dict[str, Any] = builder.build(root, ())
    return tree, builder.lines


def parse_value(text: str, where: str = "command line") -> Any:
    """Return what the VALUE of KEY=VALUE stands for; empty text is null.

    Text that starts with a bracket, brace or quote is read as YAML; everything else is one scalar
    to its last character, so `*.png`, `a: b` and `#1` need no quotes.

    >>> parse_value("[1, 5]"), parse_value("1e-3"), parse_value("no"), parse_value("")
    ([1, 5], 0.001, 'no', None)
    """
    text = text.strip()
    builder = _Builder(where, has_lines=False)
    if not text.startswith(("[", "{", '"', "'")):
        return builder.scalar(yaml.ScalarNode(_TAG + plain_kind(text), text))
    root = _compose(text, where, has_lines=False)
    return None if root is None else builder.build(root, ())


def plain_kind(text: str) -> str:
    """Return what an unquoted `text` is: null, bool, int, float or str."""
    if text in _NULL:
        return "null"
    if text in _BOOLEANS:
        return "bool"
    if _INTEGER.fullmatch(text):
        return "int"
    return "float" if _FLOAT.fullmatch(text) else "str"


class _Composer(yaml.SafeLoader):
    """PyYAML's parser with our meaning of unquoted text."""

    def resolve(self, kind: type[Any], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _TAG + plain_kind(value)
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


def _compose(text: str, source: str, *, has_lines: bool = True) -> yaml.Node | None:
    try:
        node: yaml.Node | None = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark and has_lines else source
        reason = "; ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError("This is not YAML.", got=reason, where=where) from None
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError("This is not YAML.", got=reason, where=source) from None
    except RecursionError:
        raise ConfigError("This YAML is nested too deeply.", where=source) from None
    return node


@dataclass
class _Builder:
    """Turns YAML nodes into plain data and notes the lines."""

    source: str
    has_lines: bool = True
    lines: dict[Key, int] = field(default_factory=dict)
    values: int = 0

    def build(self, node: yaml.Node, key: Key) -> Any:
        self.values += 1
        if self.values > MOST_VALUES or len(key) > DEEPEST:
            raise self.error(
                node, f"expected at most {MOST_VALUES} values, {DEEPEST} levels deep", "more"
            )
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            raise self.error(node, "expected plain data without tags", node.tag)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.lines[*key, index] = item.start_mark.line + 1
            return [self.build(item, (*key, index)) for index, item in enumerate(node.value)]
        return self.mapping(node, key)

    def mapping(self, node: yaml.Node, key: Key) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = name_node.value
            if not isinstance(name, str) or not name:
                raise self.error(name_node, "expected a word as key", "something else")
            if name in tree:
                first = f" (first on line {self.lines[*key, name]})" if self.has_lines else ""
                raise self.error(name_node, f"expected each key once{first}", f"`{name}` again")
            self.lines[*key, name] = name_node.start_mark.line + 1
            tree[name] = self.build(value_node, (*key, name))
        return tree

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text = self.substituted(node)
        if kind == "str" and node.style is None and text != node.value and text:
            kind = plain_kind(text)
        try:
            value = _value(kind, text)
            str(value).encode()  # half a surrogate pair is no text
        except ValueError:
            expected = "expected text, a number, true, false or null"
            raise self.error(node, expected, f"{node.tag} {text[:60]!r}") from None
        return value

    def substituted(self, node: yaml.Node) -> str:
        def replace(match: re.Match[str]) -> str:
            if match[0].startswith("$$"):
                return match[0][1:]
            name = match["name"]
            if not match["end"] or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise self.error(node, "expected ${ENV:NAME}", match[0])
            if name not in os.environ:
                raise self.error(
                    node, f"expected the environment variable {name} to be set", "nothing"
                )
            return os.environ[name]

        return _ENVIRONMENT.sub(replace, str(node.value))

    def error(self, node: yaml.Node, expected: str, got: str) -> ConfigError:
        line = f":{node.start_mark.line + 1}" if self.has_lines else ""
        where = f"{self.source}{line}"
        return ConfigError(
            f"{where} cannot be used: {expected}.",
            expected=expected.removeprefix("expected "),
            got=got,
            where=where,
        )


def _value(kind: str, text: str) -> Any:
    """The value of a scalar; ValueError where an explicit tag does not fit the text."""
    if kind == "bool" and text in _BOOLEANS:
        return text.lower() == "true"
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if kind in ("str", "int"):
        return text if kind == "str" else int(text)
    if kind == "null" and text in _NULL:
        return None
    raise ValueError(kind)
