"""Reads what a user wrote into one tree that remembers where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.config.old_names import our_name
from sightline.config.recipes import recipe_path
from sightline.config.schema import plain
from sightline.config.yaml_loader import Key, parse_value, read_yaml
from sightline.errors import ConfigError


@dataclass(frozen=True)
class Origin:
    """Where a value was written, and the folder its relative paths start from."""

    label: str
    folder: Path
    is_override: bool = False


@dataclass(frozen=True)
class Layer:
    """Plain data with the origin of every key and list item that was written."""

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, Origin] = field(default_factory=dict)

    def over(self, lower: Layer) -> Layer:
        """Return both layers as one: mappings are merged, everything else is replaced by ours."""
        replaced: set[Key] = set()
        tree = _merged(lower.tree, self.tree, (), replaced)
        kept = {
            key: origin
            for key, origin in lower.origins.items()
            if not any(key[:length] in replaced for length in range(1, len(key) + 1))
        }
        return Layer(tree, kept | self.origins)

    def value(self, key: Sequence[str | int]) -> Any:
        """Return the value at a key; KeyError where nothing was written."""
        value: Any = self.tree
        for part in key:
            try:
                value = value[part]
            except (IndexError, TypeError):
                raise KeyError(part) from None
        return value

    def place(self, key: Key) -> str:
        """Return where a value came from; for a section also the overrides that changed it."""
        nearest = [self.origins.get(key[:length]) for length in range(len(key), 0, -1)]
        places = [origin.label for origin in nearest if origin][:1]
        places += [
            origin.label
            for other, origin in self.origins.items()
            if origin.is_override and other[: len(key)] == key
        ]
        return ", ".join(dict.fromkeys(places))

    def folder(self, key: Key) -> Path:
        """Return the folder relative paths of a value start from: the working one for defaults."""
        for length in range(len(key), 0, -1):
            origin = self.origins.get(key[:length])
            if origin and not isinstance(self.value(key[:length]), dict):
                return origin.folder
        return Path.cwd()


def read_source(source: str, *, recipe: str | None = None) -> Layer:
    """Return what a recipe, or a YAML file with the recipe it builds on, says.

    `recipe` stands in for the one that is named.
    """
    if Path(source).is_file() or source.endswith((".yaml", ".yml")):
        folder = Path(source).absolute().parent
        return _read_file(Path(source), label=f"{source}:", folder=folder, instead=recipe)
    if recipe is not None:
        recipe_path(source)  # an unknown name is an error all the same
    return _read_recipe(recipe or source, ())


def one_value(key: Sequence[str], value: Any, label: str) -> Layer:
    """Return a layer that sets a single dotted key from the command line."""
    origin = Origin(label, Path.cwd(), is_override=True)
    tree: Any = plain(value)
    origins = {(*key, *inner): origin for inner in _leaves(tree)}
    for part in reversed(key):
        tree = {part: tree}
    return Layer(tree, origins)


def split_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Return key parts and value of a KEY=VALUE; ConfigError where it is none."""
    key, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not equals or not all(parts):
        raise ConfigError(
            f"The override {text!r} cannot be read.",
            expected="KEY=VALUE with a dotted key, for example train.lr=3e-4",
            got="no `=`" if not equals else "an empty key",
            where="command line",
            remedy=our_name(text),
        )
    return parts, parse_value(value, f"command line {text}")


def _read_recipe(name: str, above: tuple[str, ...]) -> Layer:
    # A recipe lies inside the installed package: its relative paths start from where the user is.
    label = f"recipe {name}, line "
    return _read_file(recipe_path(name), label=label, folder=Path.cwd(), above=(*above, name))


def _read_file(
    file: Path,
    *,
    label: str,
    folder: Path,
    above: tuple[str, ...] = (),
    instead: str | None = None,
) -> Layer:
    name = label.removesuffix(", line ").removesuffix(":")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"a byte that is not, at offset {error.start}"
        raise ConfigError(f"{name} is not text.", expected="UTF-8", got=reason) from None
    except OSError as error:
        remedy = f"relative paths start from the working directory, {Path.cwd()}"
        raise ConfigError(
            f"The configuration {name} cannot be read.", got=error.strerror, remedy=remedy
        ) from None
    tree, lines = read_yaml(text, name)
    origins = {key: Origin(f"{label}{line}", folder) for key, line in lines.items()}
    if "recipe" not in tree and instead is None:
        return Layer(tree, origins)
    base, where = instead, name
    if "recipe" in tree:
        named, where = tree.pop("recipe"), origins.pop(("recipe",)).label
        base = instead or named
    if not isinstance(base, str):
        raise ConfigError(
            "`recipe` does not name a recipe.", expected="text such as classify/basic", where=where
        )
    if base in above:
        raise ConfigError(f"The recipe {base} builds on itself.", where=where)
    try:
        return Layer(tree, origins).over(_read_recipe(base, above))
    except ConfigError as error:
        if error.where is None:
            raise ConfigError(
                error.what, expected=error.expected, got=error.got, where=where, remedy=error.remedy
            ) from None
        raise


def _merged(low: dict[str, Any], high: dict[str, Any], at: Key, replaced: set[Key]) -> Any:
    tree = dict(low)
    for name, value in high.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict):
            tree[name] = _merged(tree[name], value, (*at, name), replaced)
        else:
            tree[name] = value
            replaced.add((*at, name))
    return tree


def _leaves(tree: Any, at: Key = ()) -> Iterator[Key]:
    """Yield the keys that hold a value; of a mapping, which is merged, only what is in it."""
    if not isinstance(tree, dict) or not tree:
        yield at
    inner = tree.items() if isinstance(tree, dict) else ()
    for name, value in enumerate(tree) if isinstance(tree, list) else inner:
        yield from _leaves(value, (*at, name))
