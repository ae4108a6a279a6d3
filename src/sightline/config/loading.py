"""Makes one frozen configuration from a recipe or file, KEY=VALUE overrides and flags."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sightline.config.layers import Layer, one_value, read_source, split_override
from sightline.config.old_names import our_name
from sightline.config.problems import Problem, dotted, error_of, got, problems_in
from sightline.config.schema import annotations_at, fields_by_key, is_list, sections_in
from sightline.config.section import Section
from sightline.config.suggest import nearest_word, unknown_key
from sightline.config.yaml_loader import Key
from sightline.errors import ConfigError


def load_config(
    source: str,
    overrides: Sequence[str] = (),
    *,
    tasks: Mapping[str, type[Section]],
    flags: Mapping[str, object] | None = None,
    recipe: str | None = None,
) -> Section:
    """Return the configuration of `source`, an instance of the class its `task` has in `tasks`.

    `source` is a YAML file, or the name of a recipe. Later wins: defaults, recipe, file,
    KEY=VALUE in `overrides`, `flags` (dotted key to value; leave out what was not given). With
    `recipe` that one stands in for the recipe that the source names, or is. All paths are
    absolute: those of a file start from its folder, all others from the working directory. Raises
    one ConfigError that lists every problem.
    """
    settings = [(*split_override(text), f"command line {text}") for text in overrides]
    settings += [
        (tuple(key.split(".")), value, f"command line flag for {key}")
        for key, value in (flags or {}).items()
    ]
    layer = read_source(source, recipe=recipe)
    for key, value, label in settings:
        if key == ("task",):
            layer = one_value(key, value, label).over(layer)
    root = _task_class(layer, tasks, source)
    problems = []
    for key, value, label in settings:
        if fault := _fault(key, root, layer):
            problems.append(Problem(dotted(key), fault, label))
        else:
            layer = one_value(key, value, label).over(layer)
    try:
        config = root.model_validate_json(json.dumps(layer.tree), strict=True)
    except ValidationError as error:
        raise error_of([*problems, *problems_in(error, root, layer)]) from None
    absolute: Section = _with_absolute_paths(config, (), layer, problems)
    if problems:
        raise error_of(problems)
    return absolute


def _task_class(layer: Layer, tasks: Mapping[str, type[Section]], source: str) -> type[Section]:
    task = layer.tree.get("task")
    if isinstance(task, str) and task in tasks:
        return tasks[task]
    near = nearest_word(task, list(tasks)) if isinstance(task, str) else None
    raise ConfigError(
        f"There is no task {task}." if "task" in layer.tree else "The key `task` is missing.",
        expected=f"task: {' or '.join(tasks)}",
        got=got(task) if "task" in layer.tree else "nothing",
        where=layer.place(("task",)) or source,
        remedy=f"did you mean {near}?" if near else None,
    )


def _fault(key: tuple[str, ...], root: type[Section], layer: Layer) -> str | None:
    """What is wrong with setting a key; None where it exists and nothing single is above it."""
    for length in range(1, len(key) + 1):
        part, above = key[:length], dotted(key[: length - 1])
        if not annotations_at(root, part):
            parents = annotations_at(root, part[:-1])
            if any(sections_in(parent) for parent in parents):
                return _of_another(key, root) or unknown_key(root, part)
            if any(is_list(parent) for parent in parents):
                return f"{above} is a list; set it whole, as in {above}=[...]"
            return f"{above} is a single value; nothing can be set below it"
        written = _written(layer, part)
        if length < len(key) and written is not None and not isinstance(written, dict):
            now = f"{dotted(part)} is {got(written)} ({layer.place(part)})"
            return f"{now}; nothing can be set below it"
    return None


def _of_another(key: tuple[str, ...], root: type[Section]) -> str | None:
    """What to say of a key that has its name from another baseline; None where it has not."""
    said = our_name(dotted(key))
    # Some of their names are ours in capitals, and of another task.
    if said is None or (key[0].islower() and annotations_at(root, key[:1])):
        return None
    return f"the key of another baseline; {said}"


def _written(layer: Layer, key: Key) -> Any:
    try:
        return layer.value(key)
    except KeyError:
        return None


def _with_absolute_paths(value: Any, key: Key, layer: Layer, problems: list[Problem]) -> Any:
    """The same value with every path in it absolute; an empty path becomes a problem."""
    if isinstance(value, Section):
        fields = fields_by_key(type(value)).items()
        made = {
            name: _with_absolute_paths(getattr(value, attribute), (*key, name), layer, problems)
            for name, (attribute, _) in fields
        }
        copy = type(value).model_validate(made)  # not model_copy: this checks the defaults
        copy.model_fields_set.intersection_update(value.model_fields_set)
        return copy
    if isinstance(value, Path):
        if _written(layer, key) == "":
            text = "expected a path; got empty text"
            problems.append(Problem(dotted(key), text, layer.place(key)))
        # Not Path.resolve or Path.expanduser: links are kept, and so is ~somebody unknown.
        home = os.path.expanduser(value)  # noqa: PTH111
        return Path(os.path.abspath(layer.folder(key) / home))
    if isinstance(value, dict):
        return {
            name: _with_absolute_paths(inner, (*key, str(name)), layer, problems)
            for name, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(
            _with_absolute_paths(inner, (*key, index), layer, problems)
            for index, inner in enumerate(value)
        )
    return value
