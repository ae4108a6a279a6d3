"""Where something stands in a sweep file, and the errors that say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.config import read_yaml
from sightline.config.suggest import nearest_word
from sightline.config.yaml_loader import Key
from sightline.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """A key of a sweep file, known by its line."""

    file: str
    lines: Mapping[Key, int]
    key: Key = ()

    def below(self, name: str) -> Place:
        """Return the place of a key inside this one."""
        return replace(self, key=(*self.key, name))

    def dotted(self) -> str:
        """Return the key as text: parameters.train.lr."""
        return ".".join(map(str, self.key)) or "the file"

    def where(self) -> str:
        """Return file and line, as errors name a place."""
        line = self.lines.get(self.key)
        return self.file if line is None else f"{self.file}:{line}"


def read_source_file(file: str) -> tuple[dict[str, Any], Place]:
    """Return what a sweep file holds, as plain data, and its place; ConfigError where it cannot."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"The sweep file {file} is not text.", expected="UTF-8") from None
    except OSError as error:
        raise ConfigError(
            f"The sweep file {file} cannot be read.",
            got=error.strerror,
            remedy=f"relative paths start from the working directory, {Path.cwd()}",
        ) from None
    tree, lines = read_yaml(text, file)
    return tree, Place(file, lines)


def require_keys(
    written: Iterable[str], allowed: tuple[str, ...], at: Place, *, what: str = "key"
) -> None:
    """Raise ConfigError for the first key that is not allowed: the nearest, and all there are."""
    for name in written:
        if name in allowed:
            continue
        near = nearest_word(name, allowed)
        inside = f" in {at.dotted()}" if at.key else ""
        raise ConfigError(
            f"There is no {what} {name}{inside}.",
            expected=", ".join(allowed),
            got=name,
            where=at.below(name).where() if what == "key" else at.below(what).where(),
            remedy=f"did you mean {near}?" if near else None,
        )


def require_kind(value: Any, kind: type[Any], at: Place, expected: str) -> Any:
    """Return the value; ConfigError where it is not of this kind."""
    if type(value) is kind:
        return value
    got = "nothing" if value is None else f"{type(value).__name__} {str(value)[:60]!r}"
    raise ConfigError(
        f"{at.dotted()} cannot be used.", expected=expected, got=got, where=at.where()
    )
