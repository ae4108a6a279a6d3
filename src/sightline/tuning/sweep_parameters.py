"""The `parameters` of a sweep file: each is read as a constant, or as something to search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from sightline.config.old_names import our_name
from sightline.errors import ConfigError
from sightline.tuning.parameter import Parameter
from sightline.tuning.sweep_distributions import EXPONENTS, RANGE, READS, parameter_of
from sightline.tuning.sweep_source import Place, require_keys, require_kind

_KEYS = ("value", "values", "min", "max", "distribution", "probabilities", "q", "mu", "sigma")
_IN_GRID = ("categorical", "int_uniform", "q_uniform", "constant")
_MOST_CHOICES = 10_000


class Parameters(NamedTuple):
    """What a sweep file searches, and what it sets for all trials."""

    space: dict[str, Parameter]
    constants: dict[str, Any]
    notes: list[str]


def read_parameters(tree: Mapping[str, Any], place: Place, *, grid: bool) -> Parameters:
    """Return the parameters with dotted names; ConfigError for what cannot be one.

    Nested `parameters` become dotted keys. With `grid` each must have a finite number of values.
    """
    found = Parameters({}, {}, [])
    _read(tree, place, (), grid, found)
    if not found.space:
        raise ConfigError(
            "The sweep searches nothing: every parameter has a single value.",
            expected="a parameter with values, or with min and max",
            where=place.where(),
            remedy="for a single training: sightline train SOURCE KEY=VALUE",
        )
    return found


def size_of_grid(space: Mapping[str, Parameter]) -> int:
    """Return how many combinations the choices of all keys have."""
    return math.prod(len(one.ends()) for one in space.values())


def _read(
    tree: Mapping[str, Any], place: Place, above: tuple[str, ...], grid: bool, found: Parameters
) -> None:
    for name, written in tree.items():
        at, key = place.below(name), ".".join((*above, name))
        renamed = our_name(key)
        if renamed is not None:
            raise ConfigError(
                f"{key} is a name of the old configuration.",
                expected="our keys, as `sightline config RECIPE` prints them",
                where=at.where(),
                remedy=renamed,
            )
        spec = require_kind(written, dict, at, "a mapping such as {min: 0.1, max: 0.2}")
        if "parameters" in spec:
            require_keys(spec, ("parameters",), at)
            inner, below = spec["parameters"], at.below("parameters")
            require_kind(inner, dict, below, "a mapping of parameters")
            _read(inner, below, (*above, name), grid, found)
            continue
        if key in found.space or key in found.constants:
            raise ConfigError(f"{key} is given twice.", where=at.where())
        _add(key, spec, at, grid, found)


def _add(key: str, spec: Mapping[str, Any], at: Place, grid: bool, found: Parameters) -> None:
    kind = _distribution(spec, at)
    if kind == "constant":
        found.constants[key] = spec["value"]
        return
    if grid and (kind not in _IN_GRID or "probabilities" in spec):
        raise ConfigError(
            f"A grid needs a finite number of values, and {key} is drawn from {kind}.",
            expected="values, integers from min to max, or q_uniform",
            where=at.where(),
            remedy="write the values, as in values: [0.1, 0.2], or take method: random",
        )
    try:
        parameter = parameter_of(kind, spec, at)
        found.space[key] = _counted(parameter, at) if grid else parameter
    except ValidationError as error:
        reasons = "; ".join(str(one.get("ctx", {}).get("error", one["msg"])) for one in
                            error.errors(include_url=False))  # fmt: skip
        raise ConfigError(f"{key}: {reasons}.", where=at.where()) from None
    if kind in EXPONENTS:
        low, high = found.space[key].ends()
        found.notes.append(
            f"{key}: {kind} takes exponents, so its values go from {low:g} to {high:g}; for a "
            f"range by its ends there is {kind}_values"
        )


def _distribution(spec: Mapping[str, Any], at: Place) -> str:
    """The distribution that is named or, as W&B has it, follows from the keys beside it."""
    require_keys(spec, (*_KEYS, "a", "b"), at)
    kind = spec.get("distribution")
    if kind is None:
        kind = _implied(spec, at)
    elif kind not in READS:
        require_keys({str(kind): None}, tuple(READS), at, what="distribution")
    needed = [key for key in READS[kind] if key in ("value", "values", *RANGE)]
    missing = [key for key in needed if key not in spec]
    unread = [key for key in spec if key not in (*READS[kind], "distribution")]
    if missing or unread:
        faults = [f"{', '.join(missing)} is missing"] if missing else []
        faults += [f"{', '.join(unread)} is not read"] if unread else []
        raise ConfigError(
            f"{at.dotted()}: with distribution {kind} {' and '.join(faults)}.",
            expected=f"{', '.join(READS[kind])}",
            got=", ".join(spec),
            where=at.where(),
        )
    return str(kind)


def _implied(spec: Mapping[str, Any], at: Place) -> str:
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical"
    if "min" in spec and "max" in spec:
        whole = all(type(spec[key]) is int for key in RANGE)
        return "int_uniform" if whole else "uniform"
    raise ConfigError(
        f"{at.dotted()} does not say what it may be.",
        expected="value, values, min and max, or a distribution",
        got=", ".join(spec) or "nothing",
        where=at.where(),
    )


def _counted(parameter: Parameter, at: Place) -> Parameter:
    """The parameter as a list of choices, for a grid."""
    if parameter.choices is not None or parameter.options is not None:
        return parameter
    low, high = parameter.ends()
    step = parameter.step or 1
    count = round((high - low) / step) + 1
    if count > _MOST_CHOICES:
        raise ConfigError(
            f"{at.dotted()} has {count} values, too many for a grid.",
            expected=f"at most {_MOST_CHOICES}",
            where=at.where(),
        )
    values = [low + place * step for place in range(count)]
    made = [round(value) if parameter.integer else round(value, 12) for value in values]
    return Parameter(choices=tuple(made))
