"""Groups of rows that must stay together: numbering, names, and merging by identical files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.data.fingerprints import Digests
from sightline.data.manifest import (
    TEXT,
    Category,
    Integers,
    Manifest,
    Strings,
    distinct_texts,
)


@dataclass(frozen=True, slots=True)
class Units:
    """G units that are never divided: the groups, and every row without one by itself.

    ``unit`` (N,) numbers them from 0 and ``key`` (G,) names them, whatever the order of rows:
    a group by its name, a row by its id.
    """

    unit: Integers
    key: Strings

    def __len__(self) -> int:
        return len(self.key)


def units(manifest: Manifest) -> Units:
    """The units of all rows, numbered in the order of their keys."""
    grouped = manifest.group.codes >= 0
    names = np.empty(len(manifest), dtype=TEXT)
    # The prefix keeps a group called like an id apart from it.
    names[grouped] = np.strings.add("group ", manifest.group.names[manifest.group.codes[grouped]])
    names[~grouped] = np.strings.add("id ", manifest.id[~grouped])
    key, unit = distinct_texts(names)
    return Units(unit, key)


def plain_name(key: str) -> str:
    """A unit's key without the prefix that says what it names."""
    return key.split(" ", 1)[1]


def group_duplicates(manifest: Manifest, digests: Digests) -> Manifest:
    """The manifest with groups merged until byte-identical files share one.

    A merged group has the first of its members' names in sorted order, so the order of rows does
    not matter; rows that resemble no other keep their group or none.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    parts = units(manifest)
    same = identical(digests)
    first = np.full(len(same), -1, np.int64)
    # One edge from each file to the first row with its content joins them all.
    order = np.argsort(same, kind="stable")
    starts = np.r_[True, same[order][1:] != same[order][:-1]]
    first[order] = order[starts][np.cumsum(starts) - 1]
    size = len(parts)
    links = (np.ones(len(same), np.int8), (parts.unit, parts.unit[first]))
    count, component = connected_components(coo_array(links, shape=(size, size)), directed=False)
    if count == size:
        return manifest
    leader = np.full(count, size, np.int64)
    np.minimum.at(leader, component, np.arange(size))
    merged = np.bincount(component, minlength=count)[component] > 1
    name = np.full(len(manifest), "", dtype=TEXT)
    grouped = manifest.group.codes >= 0
    name[grouped] = manifest.group.names[manifest.group.codes[grouped]]
    changed = np.flatnonzero(merged[parts.unit])
    keys = parts.key[leader[component[parts.unit[changed]]]]
    name[changed] = np.asarray([plain_name(str(key)) for key in keys], dtype=TEXT)
    return manifest.with_group(Category.encode(name))


def identical(digests: Digests) -> Integers:
    """A number (N,) for each row that is equal where the content is."""
    return np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)
