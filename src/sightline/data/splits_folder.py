"""Writes splits as a folder: the table, what is left out, class codes and the ids of objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline.data.dataset import Dataset
from sightline.data.exclusions import count_objects, write_excluded
from sightline.data.groups import plain_name, units
from sightline.data.manifest import Manifest
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.data.splits_file import SPLITS_FILE, write_splits, written_beside
from sightline.errors import DataError

EXCLUDED_FILE = "excluded.csv"
_NAMES = {"fit": "train", "val": "val", "test": "test", "query": "query", "gallery": "gallery"}
"""What the files call a split; the last two are written only where the data has them."""
_ALWAYS = ("train", "val", "test")


class Count(NamedTuple):
    """How much of a class a split has."""

    objects: int
    images: int


def write_splits_folder(
    dataset: Dataset, folder: Path, *, config: RetrievalDataConfig, seed: int
) -> None:
    """Write the files, making the folder where there is none; splits.csv comes last.

    `splits.csv` (for data.manifest), `excluded.csv`, `class_to_idx.json` (class -> label code),
    `train_ids.json`, `val_ids.json`, `test_ids.json` (lists of class/ID) and `split_metadata.json`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            remedy="name a folder that you may write to",
        ) from error
    manifest = dataset.manifest
    write_excluded(dataset.excluded, folder / EXCLUDED_FILE, root=manifest.root)
    codes = {name: code for code, name in enumerate(dataset.class_names)}
    _write_json(codes, folder / "class_to_idx.json")
    for split, names in object_ids(manifest).items():
        _write_json(names, folder / f"{split}_ids.json")
    _write_json(_metadata(dataset, config, seed), folder / "split_metadata.json")
    write_splits(manifest, folder / SPLITS_FILE, hashes=dataset.hashes)


def object_ids(manifest: Manifest) -> dict[str, list[str]]:
    """The sorted `class/ID` of the objects of each split; a picture without group by its own id."""
    parts = units(manifest)
    result: dict[str, list[str]] = {name: [] for name in _ALWAYS}
    for split, rows in _rows(manifest).items():
        present, first = np.unique(parts.unit[rows], return_index=True)
        labels = [manifest.label.text(int(row)) for row in rows[first]]
        names = [plain_name(str(key)) for key in parts.key[present]]
        result[split] = sorted(
            name if name.startswith(f"{label}/") else f"{label}/{name}"
            for name, label in zip(names, labels, strict=True)
        )
    return result


def class_table(manifest: Manifest) -> dict[str, dict[str, Count]]:
    """Class -> split -> its objects and images, for every class and for each of the splits."""
    rows_of = _rows(manifest)
    unit, labels, count = units(manifest).unit, manifest.label.codes, len(manifest.label.names)
    counts = {}
    for split in dict.fromkeys((*_ALWAYS, *rows_of)):
        rows = rows_of.get(split, np.empty(0, np.int64))
        rows = rows[labels[rows] >= 0]
        pairs = np.unique(np.stack([labels[rows], unit[rows]], axis=1), axis=0)
        objects = np.bincount(pairs[:, 0], minlength=count)
        counts[split] = (objects, np.bincount(labels[rows], minlength=count))
    return {
        str(name): {
            split: Count(int(objects[code]), int(images[code]))
            for split, (objects, images) in counts.items()
        }
        for code, name in enumerate(manifest.label.names)
    }


def totals(manifest: Manifest) -> dict[str, Count]:
    """The objects and images of each split."""
    rows = _rows(manifest)
    return {
        split: Count(len(names), len(rows.get(split, ())))
        for split, names in object_ids(manifest).items()
    }


def _rows(manifest: Manifest) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of each split that has any."""
    rows = {name: manifest.rows(code) for code, name in _NAMES.items()}
    return {name: found for name, found in rows.items() if len(found)}


def _metadata(dataset: Dataset, config: RetrievalDataConfig, seed: int) -> dict[str, object]:
    manifest, sizes = dataset.manifest, totals(dataset.manifest)
    train = 1 - config.val_fraction - config.test_fraction
    return {
        "data_dir": str(manifest.root),
        "min_image_size": config.min_image_size,
        "seed": seed,
        "split_by": config.split_by,
        "ratios": {
            "train": round(train, 10), "val": config.val_fraction, "test": config.test_fraction,
        },
        "class_names": list(dataset.class_names),
        "total_ids": len(units(manifest)),
        "total_images": len(manifest),
        "excluded_ids_count": count_objects(dataset.excluded),
        "excluded_images_count": len(dataset.excluded),
        "ids": {split: one.objects for split, one in sizes.items()},
        "images": {split: one.images for split, one in sizes.items()},
        "classes": {
            name: {split: {"ids": one.objects, "images": one.images} for split, one in row.items()}
            for name, row in class_table(manifest).items()
        },
    }  # fmt: skip


def _write_json(value: object, target: Path) -> None:
    with written_beside(target, "splits") as handle:
        json.dump(value, handle, indent=2, ensure_ascii=False)
        handle.write("\n")
