"""Texts are sorted without the algorithm that crashes numpy; a crash ends the test run itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightline.data.groups import units
from sightline.data.image_files import list_images
from sightline.data.manifest import TEXT, Category, Manifest, distinct_texts
from sightline.errors import DataError

# In this order numpy 2.4 ends with a segmentation fault in its unstable sort.
SAWTOOTH = [f"train/0_zero/{number % 360:04d}.png" for number in range(720)]


def test_distinct_texts_are_sorted_and_numbered() -> None:
    names, numbers = distinct_texts(np.asarray(SAWTOOTH, dtype=TEXT))
    assert names.tolist() == sorted(set(SAWTOOTH))
    assert names[numbers].tolist() == SAWTOOTH


def test_repeated_texts_in_sawtooth_order_are_encoded() -> None:
    column = Category.encode([*SAWTOOTH, ""])
    assert [column.text(row) for row in range(len(column))] == [*SAWTOOTH, ""]


def test_groups_in_sawtooth_order_become_units() -> None:
    ids = [f"{number:04d}" for number in range(len(SAWTOOTH))]
    manifest = Manifest.build(Path(), id=ids, path=ids, group=Category.encode(SAWTOOTH))
    assert len(units(manifest)) == 360


def test_repeated_ids_in_sawtooth_order_are_named() -> None:
    with pytest.raises(DataError, match="360 sample ids occur more than once"):
        Manifest.build(Path(), id=SAWTOOTH, path=SAWTOOTH)


def test_pictures_are_listed_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "sub"):
        if name == "sub":
            (tmp_path / name).mkdir()
            (tmp_path / name / "c.jpg").touch()
        else:
            (tmp_path / name).touch()
    assert list_images(tmp_path).tolist() == ["a.png", "b.png", "sub/c.jpg"]
