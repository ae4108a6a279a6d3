"""The complete configurations that ship with the package."""

from __future__ import annotations

import difflib
from pathlib import Path

from sightline.errors import ConfigError

_FOLDER = Path(__file__).parent.parent / "recipes"


def recipe_names() -> list[str]:
    """Return the name of every shipped recipe, such as classify/basic, in order."""
    files = _FOLDER.rglob("*.yaml")
    return sorted(file.relative_to(_FOLDER).with_suffix("").as_posix() for file in files)


def recipe_path(name: str) -> Path:
    """Return the file of a recipe; an unknown name raises ConfigError with the nearest ones."""
    names = recipe_names()
    if name in names:
        return _FOLDER / f"{name}.yaml"
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    near += [known for known in names if name and name in known.split("/") and known not in near]
    raise ConfigError(
        f"There is no recipe {name}.",
        expected="the name of a recipe, or a YAML file",
        got=name,
        remedy=(f"did you mean {' or '.join(near)}? " if near else "")
        + "`sightline recipes` lists all; a file is named with its ending, as in my.yaml",
    )


def recipe_summary(name: str) -> str:
    """Return what a recipe is for: the first comment line of its file, or empty text."""
    for line in recipe_path(name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").strip()
    return ""
