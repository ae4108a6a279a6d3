"""A gallery on the disk: written as a whole, and checked whenever it is opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sightline.errors import RunError
from sightline.search import gallery_checks as checks
from sightline.search.gallery import DESCRIPTION, EMBEDDINGS, FORMAT, ROWS, Gallery
from sightline.search.index import Index, load_index
from sightline.search.neighbours import Metric
from sightline.search.settings import IndexSettings
from sightline.search.writer import GalleryWriter

_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Opened:
    """A gallery from the disk, the index over it, and what was checked, a sentence each."""

    gallery: Gallery
    index: Index
    checked: list[str]


def write_gallery(
    folder: Path | str, gallery: Gallery, *, settings: IndexSettings | None = None
) -> None:
    """Build the index of the settings over the gallery and write both into the folder.

    The folder is replaced as a whole when everything is on the disk; after an error it is what it
    was. Raises DataError for values, columns or ids that a gallery cannot have, and RunError where
    the folder cannot be written.
    """
    with GalleryWriter(
        folder, model=gallery.model, metric=gallery.metric, settings=settings
    ) as writer:
        for start in range(0, len(gallery.embeddings), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            writer.append(
                gallery.embeddings[block],
                ids=gallery.ids[block],
                labels=gallery.labels[block],
                groups=gallery.groups[block],
                splits=gallery.splits[block],
                paths=gallery.paths[block],
            )


def open_gallery(
    folder: Path | str, *, model_sha256: str | None = None, verify: bool = True
) -> tuple[Gallery, Index]:
    """The gallery of a folder, its embeddings mapped from the disk, and the index over it.

    Checked are the description, the model where its hash is given, presence and size of every
    file, shapes, the table, and that vectors find themselves; with `verify` also every file's hash
    and every value, which reads all of it once. Raises RunError for a folder that is incomplete,
    changed or of another model, and DataError for a gallery that contradicts itself.
    """
    opened = _open(Path(folder), model_sha256=model_sha256, verify=verify)
    return opened.gallery, opened.index


def verify_gallery(folder: Path | str, *, model_sha256: str | None = None) -> list[str]:
    """Open the gallery with every check, and return what was checked, a sentence each."""
    opened = _open(Path(folder), model_sha256=model_sha256, verify=True)
    opened.index.close()
    return opened.checked


def _open(folder: Path, *, model_sha256: str | None, verify: bool) -> Opened:
    described = read_description(folder)
    checked = [f"{DESCRIPTION} is readable and of format {FORMAT}"]
    model = dict(described["model"])
    if model_sha256 is not None:
        checked.append(checks.require_model(model, model_sha256, folder))
    checked.append(checks.require_files(folder, described["files"]))
    if verify:
        checked.append(checks.require_hashes(folder, described["files"]))
    embeddings = checks.map_embeddings(
        folder / EMBEDDINGS, (described["n"], described["dimension"])
    )
    checked.append(f"the embeddings are {described['n']} x {described['dimension']}")
    ids, labels, groups, splits, paths = checks.read_rows(folder / ROWS, described["n"])
    checked.append(f"{ROWS} has {described['n']} rows with an id of its own each")
    gallery = Gallery(
        embeddings, ids, labels, groups, splits, paths, model=model, metric=described["metric"]
    )
    if verify:
        checked.append(checks.require_all_values(gallery))
    settings = _settings(described, folder)
    index = load_index(
        folder, embeddings, metric=gallery.metric, settings=settings, state=described["state"]
    )
    checked.append(checks.require_size(index, gallery, folder))
    checked.append(checks.require_rows_find_themselves(index, gallery, folder))
    return Opened(gallery, index, checked)


def read_description(folder: Path) -> dict[str, Any]:
    """What index.json says; RunError where it is missing, damaged or of an unknown format."""
    file = folder / DESCRIPTION
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise RunError(
            f"There is no index here: {error.strerror}.",
            expected=f"a folder with {DESCRIPTION}",
            where=folder,
            remedy="name the folder of an index, or build one",
        ) from error
    except ValueError as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise RunError(
            "The index is of a format that this version does not know.",
            expected=f"format {FORMAT}",
            got=found,
            where=file,
            remedy="build it anew, or open it with the version that wrote it",
        )
    for key, kind in _KINDS.items():
        if not isinstance(content.get(key), kind):
            raise _damaged(file, f"{key} is {content.get(key)!r}")
    if content["metric"] not in get_args(Metric):
        raise _damaged(file, f"metric {content['metric']}")
    return content


_KINDS: dict[str, type] = {
    "n": int,
    "dimension": int,
    "metric": str,
    "engine": str,
    "settings": dict,
    "state": dict,
    "model": dict,
    "files": dict,
}


def _settings(described: dict[str, Any], folder: Path) -> IndexSettings:
    from pydantic import ValidationError

    try:
        settings = IndexSettings(**described["settings"])
    except ValidationError as error:
        raise _damaged(folder / DESCRIPTION, f"settings: {error.errors()[0]['msg']}") from error
    if settings.engine != described["engine"]:
        raise _damaged(
            folder / DESCRIPTION,
            f"engine {described['engine']} and settings for {settings.engine}",
        )
    return settings


def _damaged(file: Path, got: str) -> RunError:
    return RunError(
        "The description of the index cannot be read.",
        expected="the JSON that was written with the index",
        got=got,
        where=file,
        remedy="build the index anew, or copy the folder again",
    )
