"""Freezing: parts of a model that keep their weights."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from sightline.errors import ConfigError


def freeze(module: nn.Module) -> None:
    """Take every parameter of a module out of training."""
    module.requires_grad_(False)


def unfreeze(module: nn.Module) -> None:
    """Put every parameter of a module into training."""
    module.requires_grad_(True)


def freeze_matching(model: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Freeze each module whose name matches a pattern, and return their names in model order.

    A pattern is a module name in which `*` stands for any text, dots included, and `?` for one
    character: `backbone`, `backbone.layer[12]*`. A module is frozen with all it holds. A pattern
    that matches no module with parameters is a ConfigError; then nothing is frozen.
    """
    names = [
        name for name, module in model.named_modules()
        if name and next(module.parameters(), None) is not None
    ]  # fmt: skip
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
            raise ConfigError(
                f"The pattern {pattern!r} matches no part of the model that has weights.",
                expected=f"a module name, such as {', '.join(near)}",
                got=pattern,
                remedy=f"did you mean {near[0]!r}?" if near else None,
            )
    matching = [n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)]
    for name in matching:
        freeze(model.get_submodule(name))
    return tuple(matching)
