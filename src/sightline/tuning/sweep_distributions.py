"""Distributions of a sweep file: what the keys beside `distribution` make of a parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from sightline.errors import ConfigError
from sightline.tuning.parameter import Parameter, Shape
from sightline.tuning.sweep_source import Place, require_kind

RANGE = ("min", "max")
_NORMAL = ("mu", "sigma")
_BETA = ("a", "b")
READS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "categorical": ("values", "probabilities"),
    "categorical_w_probabilities": ("values", "probabilities"),
    "int_uniform": RANGE,
    "uniform": RANGE,
    "q_uniform": (*RANGE, "q"),
    "log_uniform": RANGE,
    "q_log_uniform": (*RANGE, "q"),
    "log_uniform_values": RANGE,
    "q_log_uniform_values": (*RANGE, "q"),
    "inv_log_uniform": RANGE,
    "inv_log_uniform_values": RANGE,
    "normal": _NORMAL,
    "q_normal": (*_NORMAL, "q"),
    "log_normal": _NORMAL,
    "q_log_normal": (*_NORMAL, "q"),
    "beta": _BETA,
    "q_beta": (*_BETA, "q"),
}
"""Distribution of W&B -> the keys beside it."""
EXPONENTS = ("log_uniform", "q_log_uniform", "inv_log_uniform")
"""Distributions whose min and max are the logarithms of the ends."""
_DEFAULTS = {
    "normal": (("mu", 0.0), ("sigma", 1.0)),
    "log_normal": (("mu", 0.0), ("sigma", 1.0)),
    "beta": (("a", 1.0), ("b", 1.0)),
}


def parameter_of(kind: str, spec: Mapping[str, Any], at: Place) -> Parameter:
    """Return the parameter of a distribution named in READS, whose needed keys are there.

    ConfigError for values that make no sense, and ValidationError of the same from pydantic.
    """
    if "values" in spec:
        return _choices(spec, at)
    numbers = {key: _number(spec, key, at) for key in READS[kind] if key in spec}
    quantum = numbers.get("q", 1.0) if kind.startswith("q_") else None
    is_whole = kind == "int_uniform" or (quantum is not None and type(spec.get("q", 1)) is int)
    shape = kind.removeprefix("q_")
    if shape in ("normal", "log_normal", "beta"):
        return _shaped(cast(Shape, shape), numbers, quantum, at)
    low, high = numbers["min"], numbers["max"]
    if "log" in kind and kind.endswith("values") and low <= 0:
        raise ConfigError(
            f"{at.dotted()}: with distribution {kind} min must be > 0.",
            got=f"{low:g}",
            where=at.where(),
        )
    if kind in EXPONENTS:
        low, high = (-high, -low) if kind.startswith("inv") else (low, high)
        low, high = math.exp(low), math.exp(high)
    if quantum is not None:
        low, high = _multiples(low, high, quantum, at)
    is_log = "log" in kind
    return Parameter.model_validate(
        {
            "low": low,
            "high": high,
            "log": is_log,
            "int": is_whole,
            "step": quantum if quantum is not None and not is_log and low < high else None,
            "quantum": quantum if is_log else None,
        }
    )


def _shaped(
    shape: Shape, numbers: Mapping[str, float], quantum: float | None, at: Place
) -> Parameter:
    first, second = (numbers.get(key, default) for key, default in _DEFAULTS[shape])
    if second <= 0 or (shape == "beta" and first <= 0):
        names = "a and b" if shape == "beta" else "sigma"
        raise ConfigError(
            f"{at.dotted()}: {names} must be > 0.", got=f"{first:g}, {second:g}", where=at.where()
        )
    is_whole = quantum is not None and quantum == int(quantum)
    return Parameter.model_validate(
        {"shape": shape, "shape_of": (first, second), "quantum": quantum, "int": is_whole}
    )


def _choices(spec: Mapping[str, Any], at: Place) -> Parameter:
    values = require_kind(spec["values"], list, at.below("values"), "a list of values")
    kinds = [(type(value), str(value)) for value in values]
    if not values or len(set(kinds)) != len(kinds):
        raise ConfigError(
            f"{at.dotted()}.values {'has a value twice' if values else 'is empty'}.",
            got=values,
            where=at.below("values").where(),
        )
    if "probabilities" in spec:
        shares = require_kind(spec["probabilities"], list, at.below("probabilities"), "numbers")
        is_right = all(type(one) in (int, float) and one >= 0 for one in shares)
        if not is_right or len(shares) != len(values) or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(
                f"{at.dotted()}.probabilities do not fit its values.",
                expected=f"{len(values)} numbers >= 0 that sum to 1",
                got=shares,
                where=at.below("probabilities").where(),
            )
        return Parameter(options=tuple(values), probabilities=tuple(map(float, shares)))
    is_plain = all(value is None or isinstance(value, bool | int | float | str) for value in values)
    # Optuna takes 1, 1.0 and true for one choice.
    if is_plain and len(set(values)) == len(values):
        return Parameter(choices=tuple(values))
    return Parameter(options=tuple(values))


def _multiples(low: float, high: float, quantum: float, at: Place) -> tuple[float, float]:
    """The least and greatest multiple of the quantum inside the range."""
    if quantum > 0:
        first, last = math.ceil(low / quantum - 1e-9), math.floor(high / quantum + 1e-9)
        if first <= last:
            return round(first * quantum, 12), round(last * quantum, 12)
    raise ConfigError(
        f"{at.dotted()}: no multiple of q={quantum:g} lies from min to max.",
        got=f"{low:g} to {high:g}",
        where=at.where(),
    )


def _number(spec: Mapping[str, Any], key: str, at: Place) -> float:
    value = spec[key]
    if type(value) not in (int, float):
        raise ConfigError(
            f"{at.dotted()}.{key} is no number.", got=repr(value), where=at.below(key).where()
        )
    return float(value)
