"""Finds the key somebody probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sightline.config.old_names import OLD_NAMES
from sightline.config.schema import annotations_at, dotted_keys, fields_by_key, sections_in
from sightline.config.section import Section


def unknown_key(section: type[Section], key: Sequence[str | int]) -> str:
    """Return what to say about a key that does not exist: the near ones, or those that do."""
    leaf = str(key[-1])
    if "." in leaf and annotations_at(section, [*key[:-1], *leaf.split(".")]):
        head, _, rest = leaf.partition(".")
        return f"unknown key; in a file, write `{rest}` in the section `{head}`"
    if any(old.startswith(f"{leaf.upper()}.") for old in OLD_NAMES) and leaf.isupper():
        return "unknown section, that of another baseline; docs/reid.md lists what its keys are"
    near = nearest_keys(section, key)
    if near:
        return f"unknown key; did you mean {' or '.join(near)}?"
    valid = _keys_beside(section, key)
    return f"unknown key; valid here: {', '.join(valid)}" if valid else "unknown key"


def nearest_keys(section: type[Section], key: Sequence[str | int]) -> list[str]:
    """Return the dotted keys nearest to an unknown one, at most two, best first.

    A like key of the same section comes first, then the same name in another section, then a like
    name in another section.
    """
    leaf, prefix = str(key[-1]), ".".join(str(part) for part in key[:-1])
    found = [
        f"{prefix}.{name}" if prefix else name for name in _alike(leaf, _keys_beside(section, key))
    ]
    everywhere = dotted_keys(section)
    found += [known for known in everywhere if known.rpartition(".")[2] == leaf][:1]
    if not found:
        dotted = f"{prefix}.{leaf}" if prefix else leaf
        leaves = {known.rpartition(".")[2]: known for known in reversed(everywhere)}
        found = difflib.get_close_matches(dotted, everywhere, n=1, cutoff=0.75)
        found += [leaves[name] for name in _alike(leaf, list(leaves), cutoff=0.75)]
    return list(dict.fromkeys(found))[:2]


def nearest_word(word: str, words: Sequence[str]) -> str | None:
    """Return the word most like the given one, or None when none is alike.

    >>> nearest_word("adamv", ["sgd", "adamw"])
    'adamw'
    """
    return next(iter(_alike(word, words)), None)


def _keys_beside(section: type[Section], key: Sequence[str | int]) -> list[str]:
    parents = [inner for a in annotations_at(section, key[:-1]) for inner in sections_in(a)]
    return list(dict.fromkeys(known for parent in parents for known in fields_by_key(parent)))


def _alike(word: str, words: Sequence[str], *, cutoff: float = 0.6) -> list[str]:
    """At most one word: the same letters in another style, an abbreviation, or a close spelling."""
    plain = {known.lower().replace("-", "_"): known for known in words}
    low = word.lower().replace("-", "_")
    if low in plain:
        return [plain[low]]
    short = [
        known for known in plain if low in (_initials(known), known) or known == _initials(low)
    ]
    near = difflib.get_close_matches(low, list(plain), n=1, cutoff=cutoff)
    return [plain[known] for known in (short or near)[:1]]


def _initials(word: str) -> str:
    parts = [part for part in word.split("_") if part]
    return "".join(part[0] for part in parts) if len(parts) > 1 else ""
