"""What a Section class says about its keys: which exist, and what values they take, in words."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from sightline.config.section import Section

_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
_LIMITS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
_LENGTHS = {"min_length": "at least", "max_length": "at most"}


def field_key(name: str, field: FieldInfo) -> str:
    """Return the key a user writes for a field: its alias where it has one."""
    alias = field.validation_alias or field.alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return alias if isinstance(alias, str) else name


def fields_by_key(section: type[Section]) -> dict[str, tuple[str, FieldInfo]]:
    """Return attribute name and field for each key of a section, in the order of the class."""
    fields = section.model_fields.items()
    return {field_key(name, field): (name, field) for name, field in fields}


def members(annotation: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield every alternative of a type with the constraints that hold for it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        for member, own in members(inner):
            yield member, (*own, *metadata)
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from members(part)
    else:
        yield annotation, ()


def sections_in(annotation: Any) -> list[type[Section]]:
    """Return the Section classes a value of this type can be, itself, not items of it."""
    return [m for m, _ in members(annotation) if isinstance(m, type) and issubclass(m, Section)]


def below(annotation: Any, part: str | int) -> list[Any]:
    """Return the types found one step down: under a key, or at a position of a list."""
    found: list[Any] = []
    for member, _ in members(annotation):
        origin, arguments = get_origin(member), get_args(member)
        if isinstance(member, type) and issubclass(member, Section):
            fields = fields_by_key(member)
            if part in fields:
                found.append(fields[str(part)][1].rebuild_annotation())
        elif _is_mapping(origin) and isinstance(part, str):
            found.append(arguments[1])
        elif _is_list(origin) and isinstance(part, int) and arguments:
            fixed = origin is tuple and arguments[-1] is not Ellipsis
            found.append(arguments[min(part, len(arguments) - 1) if fixed else 0])
    return found


def annotations_at(section: type[Section], key: Sequence[str | int]) -> list[Any]:
    """Return the types a key can hold; an empty list where there is no such key."""
    found: list[Any] = [section]
    for part in key:
        found = [inner for annotation in found for inner in below(annotation, part)]
    return found


def dotted_keys(section: type[Section]) -> list[str]:
    """Return every key of a section and of the sections in it, as a.b.c."""
    keys: list[str] = []
    for key, (_, field) in fields_by_key(section).items():
        keys.append(key)
        for inner in sections_in(field.annotation):
            keys += [f"{key}.{rest}" for rest in dotted_keys(inner)]
    return list(dict.fromkeys(keys))


def choices(annotation: Any) -> list[Any]:
    """Return the values a Literal type allows; an empty list for other types."""
    found = [get_args(member) for member, _ in members(annotation) if get_origin(member) is Literal]
    return [value for values in found for value in values]


def describe(annotation: Any) -> str:
    """Return in words which values a type allows.

    >>> describe(int | None), describe(tuple[float, ...]), describe(Literal["min", "max"])
    ('an integer or null', 'a list (each a number)', 'one of min, max')
    """
    words = [_describe_member(member, metadata) for member, metadata in members(annotation)]
    return " or ".join(dict.fromkeys(words))


def is_list(annotation: Any) -> bool:
    """Return whether a type allows a list."""
    return any(_is_list(get_origin(member)) for member, _ in members(annotation))


def plain(value: Any, relative_to: Path | None = None) -> Any:
    """Return a value as mappings, lists, text, numbers, booleans and None, keys as users write.

    Paths inside the folder `relative_to` become relative to it.
    """
    if isinstance(value, Section):
        fields = fields_by_key(type(value)).items()
        return {key: plain(getattr(value, name), relative_to) for key, (name, _) in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(inner, relative_to) for key, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(inner, relative_to) for inner in value)
    if isinstance(value, (list, tuple)):
        return [plain(inner, relative_to) for inner in value]
    if not isinstance(value, PurePath):
        return value
    is_inside = relative_to is not None and value.is_relative_to(relative_to)
    return str(value.relative_to(str(relative_to)) if is_inside else value)


def _describe_member(member: Any, metadata: tuple[Any, ...]) -> str:
    origin, arguments = get_origin(member), get_args(member)
    if member is type(None):
        return "null"
    if member in _WORDS:
        return f"{_WORDS[member]} {', '.join(_constraints(metadata))}".strip()
    if origin is Literal:
        values = ", ".join(_word(value) for value in arguments)
        return f"one of {values}" if len(arguments) > 1 else values
    if isinstance(member, type) and issubclass(member, Section):
        return f"a section with {', '.join(fields_by_key(member))}"
    if isinstance(member, type) and issubclass(member, Path):
        return "a path"
    if _is_list(origin):
        items = dict.fromkeys(describe(item) for item in arguments if item is not Ellipsis)
        return ", ".join([f"a list (each {' or '.join(items)})", *_constraints(metadata)])
    if _is_mapping(origin):
        return f"a mapping (each value {describe(arguments[1])})"
    return "any value" if member is Any else str(getattr(member, "__name__", member))


def _constraints(metadata: tuple[Any, ...]) -> Iterator[str]:
    for constraint in metadata:
        # A Field within a type keeps its own limits there.
        yield from _constraints(tuple(getattr(constraint, "metadata", ())))
        for name, words in _LIMITS.items():
            if (limit := getattr(constraint, name, None)) is not None:
                yield f"{words} {limit}"
        for name, words in _LENGTHS.items():
            if (length := getattr(constraint, name, None)) is not None:
                yield f"{words} {length} long"
        if pattern := getattr(constraint, "pattern", None):
            yield f"matching {pattern}"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_list(origin: Any) -> bool:
    return origin in (list, tuple, set, frozenset, Sequence)


def _is_mapping(origin: Any) -> bool:
    return origin in (dict, Mapping)
