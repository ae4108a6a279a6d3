"""Which pictures show one object: groups from file names such as 017_3.jpg."""

from __future__ import annotations

import numpy as np

from sightline.data.manifest import TEXT, Category, Manifest, Strings, shortened
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.errors import DataError


def name_objects(manifest: Manifest, config: RetrievalDataConfig) -> tuple[Manifest, list[str]]:
    """The manifest with a group for each class and object, and sentences about odd names.

    Folders below a class do not matter: object 017 is one in all of them. Groups that a pattern, a
    column or a manifest gives are kept, and with `data.objects=picture` none is made. Raises
    DataError where every class would be a single object, because such names count pictures.
    """
    given = config.group_pattern or config.group_col or config.manifest
    if given is not None or config.objects == "picture":
        return manifest, []
    names = [object_name(str(path)) for path in manifest.path]
    grouped, shared = group_by_name(manifest, np.asarray(names, dtype=TEXT))
    _require_several(grouped)
    if not len(shared):
        return grouped, []
    return grouped, [
        f"{len(shared)} objects occur under several classes and are kept apart per class: "
        f"{shortened(shared)}."
    ]


def object_name(path: str) -> str:
    """The stem of a file up to the last underscore if a number follows it, else the whole stem.

    >>> object_name("aloe/plant_001_2.jpg"), object_name("aloe/plant_b.jpg"), object_name("7.jpg")
    ('plant_001', 'plant_b', '7')
    """
    file = path.rpartition("/")[2]
    stem = file.rpartition(".")[0] or file
    name, _, number = stem.rpartition("_")
    return name if name and number.isascii() and number.isdigit() else stem


def group_by_name(manifest: Manifest, names: Strings) -> tuple[Manifest, Strings]:
    """The manifest with a group per class and name (N,), and the names found in several classes."""
    objects = Category.encode(names)
    pairs = np.unique(np.stack([objects.codes, manifest.label.codes], axis=1), axis=0)
    codes, counts = np.unique(pairs[:, 0], return_counts=True)
    labels = manifest.label.names[manifest.label.codes] if len(manifest.label.names) else names
    group = np.strings.add(np.strings.add(labels, "/"), names)
    return manifest.with_group(Category.encode(group)), objects.names[codes[counts > 1]]


def _require_several(manifest: Manifest) -> None:
    """Raise DataError where no class has two objects, though some have several pictures."""
    pairs = np.unique(np.stack([manifest.label.codes, manifest.group.codes], axis=1), axis=0)
    if len(pairs) == len(manifest) or (np.bincount(pairs[:, 0]) > 1).any():
        return
    largest = int(np.bincount(manifest.label.codes).argmax())
    examples = manifest.path[manifest.label.codes == largest]
    raise DataError(
        "The file names seem to count pictures, not objects: every class would be one object.",
        expected="several objects in a class, named as in 017_3.jpg for the third picture of 017",
        got=shortened(examples, 3),
        where=manifest.root,
        remedy="say that each picture shows an object of its own with data.objects=picture, or "
        "where the object's name is in the path with data.group_pattern",
    )
