"""The `early_terminate` section of a sweep file: after which epochs trials are compared."""

from __future__ import annotations

from typing import Any

from sightline.errors import ConfigError
from sightline.tuning.sweep_settings import SweepPruning
from sightline.tuning.sweep_source import Place, require_keys, require_kind

_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_MOST_EPOCHS = 1_000_000


def read_stopping(written: Any, at: Place) -> SweepPruning:
    """Return the brackets that W&B's hyperband has for these keys; ConfigError for bad ones.

    An iteration is a validated epoch, since the metric is logged once in each.
    """
    spec = require_kind(written, dict, at, "a mapping such as {type: hyperband, min_iter: 3}")
    require_keys(spec, _KEYS, at)
    kind = require_kind(spec.get("type"), str, at.below("type"), "hyperband")
    require_keys([kind], ("hyperband",), at, what="type")
    eta, steps = spec.get("eta", 3), spec.get("s")
    strict = require_kind(spec.get("strict", False), bool, at.below("strict"), "true or false")
    if type(eta) not in (int, float) or eta <= 1:
        raise _wrong("eta", eta, "a number > 1", at)
    for key in ("min_iter", "max_iter", "s"):
        if key in spec and (type(spec[key]) is not int or spec[key] < 1):
            raise _wrong(key, spec[key], "an integer >= 1", at)
    if "min_iter" not in spec and ("max_iter" not in spec or steps is None):
        raise ConfigError(
            "early_terminate does not say when trials are compared.",
            expected="min_iter, the first epoch; or max_iter, the last, together with s",
            got=", ".join(spec),
            where=at.where(),
        )
    brackets = brackets_of(spec.get("min_iter"), spec.get("max_iter"), steps, float(eta))
    if not brackets:
        raise ConfigError(
            "early_terminate has no epoch in which trials are compared.",
            got=", ".join(f"{key}={value}" for key, value in spec.items()),
            where=at.where(),
            remedy="make max_iter larger, or eta smaller",
        )
    return SweepPruning(method="hyperband", brackets=brackets, eta=float(eta), strict=strict)


def brackets_of(
    first: int | None, last: int | None, steps: int | None, eta: float
) -> tuple[int, ...]:
    """Return the epochs after which trials are compared, ascending.

    With `first` (min_iter): first, first * eta, first * eta², ... below `last` (max_iter), at most
    `steps` (s) of them. Without it: last / eta, last / eta², ... as far as `steps`.

    >>> brackets_of(3, None, 4, 3.0), brackets_of(None, 27, 2, 3.0), brackets_of(3, 27, None, 3.0)
    ((3, 9, 27, 81), (3, 9), (3, 9))
    """
    found: list[int] = []
    if first is not None:
        epoch, end = float(first), _MOST_EPOCHS if last is None else last
        while epoch < end and (steps is None or len(found) < steps):
            found.append(int(epoch))
            epoch *= eta
    else:
        assert last is not None
        assert steps is not None
        epoch = last / eta
        while epoch >= 1 and len(found) < steps:
            found.append(int(epoch))
            epoch /= eta
    return tuple(sorted(set(found)))


def _wrong(key: str, value: object, expected: str, at: Place) -> ConfigError:
    return ConfigError(
        f"early_terminate.{key} cannot be used.",
        expected=expected,
        got=repr(value),
        where=at.below(key).where(),
    )
