"""Which pictures show one object, and the settings of retrieval that contradict each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sightline.data.manifest import Manifest
from sightline.data.objects import name_objects, object_name
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.errors import DataError


def config(**values: Any) -> RetrievalDataConfig:
    return RetrievalDataConfig.model_validate_json(json.dumps({"root": "photos", **values}))


def manifest(*paths: str) -> Manifest:
    labels = [path.split("/")[-2] for path in paths]
    return Manifest.build(Path("photos"), id=paths, path=paths, label=labels)


def groups(table: Manifest) -> list[str]:
    return [table.group.text(row) for row in range(len(table))]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("aloe/017_3.jpg", "017"),
        ("aloe/plant_001_1.jpg", "plant_001"),
        ("aloe/plant_001_12.JPEG", "plant_001"),
        ("aloe/plant_001_b.jpg", "plant_001_b"),
        ("aloe/017.jpg", "017"),
        ("aloe/017_.jpg", "017_"),
        ("aloe/_3.jpg", "_3"),
        ("aloe/a.b_3.png", "a.b"),
        ("aloe/017_3²_٣.png", "017_3²_٣"),
        ("aloe/017_-3.png", "017_-3"),
        ("deep_1/er_2/x_3.png", "x"),
        ("017_3", "017"),
    ],
)
def test_the_name_is_the_stem_up_to_a_number_after_the_last_underscore(
    path: str, name: str
) -> None:
    assert object_name(path) == name


def test_an_object_is_a_class_and_a_name() -> None:
    table = manifest("a/1_1.jpg", "a/1_2.jpg", "a/1_3.jpg", "a/2_1.jpg",
                     "b/1_1.jpg", "b/3_1.jpg")  # fmt: skip
    grouped, notes = name_objects(table, config())
    assert groups(grouped) == ["a/1", "a/1", "a/1", "a/2", "b/1", "b/3"]
    assert notes == ["1 objects occur under several classes and are kept apart per class: 1."]
    assert name_objects(manifest("a/1_1.jpg", "a/2_1.jpg", "b/3_1.jpg"), config())[1] == []


def test_splits_that_the_data_gives_do_not_divide_an_object() -> None:
    grouped, _ = name_objects(
        manifest("train/a/1_1.jpg", "test/a/1_2.jpg", "train/b/2_1.jpg", "val/b/3_1.jpg"),
        config(),
    )
    assert groups(grouped) == ["a/1", "a/1", "b/2", "b/3"]


def test_names_that_count_pictures_are_refused() -> None:
    counting = manifest("Apple/Apple_001.jpg", "Apple/Apple_002.jpg", "Kiwi/Kiwi_001.jpg")
    with pytest.raises(DataError, match=r"Apple/Apple_001\.jpg[\s\S]*data\.objects=picture"):
        name_objects(counting, config())
    same, notes = name_objects(counting, config(objects="picture"))
    assert groups(same) == ["", "", ""]
    assert notes == []


@pytest.mark.parametrize(
    "paths",
    [
        ("a/1_1.jpg", "a/1_2.jpg", "b/1_1.jpg", "b/2_1.jpg"),
        ("a/1.jpg", "b/1.jpg"),
        ("a/1_1.jpg", "b/1_1.jpg"),
    ],
    ids=["one class has two objects", "single pictures", "single numbered pictures"],
)
def test_names_that_may_be_objects_are_not_refused(paths: tuple[str, ...]) -> None:
    grouped, _ = name_objects(manifest(*paths), config())
    assert "" not in groups(grouped)


@pytest.mark.parametrize(
    "given",
    [
        {"group_pattern": r"/(.)_"},
        {"root": None, "train_csv": "t.csv", "group_col": "object"},
        {"root": None, "manifest": "splits.csv"},
    ],
)
def test_groups_that_are_given_are_kept(given: dict[str, Any]) -> None:
    table = Manifest.build(
        Path("photos"), id=["a/1_1", "b/2_1"], path=["a/1_1", "b/2_1"], label=["a", "b"],
        group=["", "mine"],
    )  # fmt: skip
    same, notes = name_objects(table, config(**given))
    assert groups(same) == ["", "mine"]
    assert notes == []


def test_defaults() -> None:
    section = config()
    assert (section.objects, section.split_by, section.min_image_size) == (
        "file_name",
        "object",
        224,
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"folds": 5}, "folds is not read in retrieval: retrieval validates on one split"),
        ({"folds": 5, "valid_fold": "all"}, "is not read in retrieval"),
        (
            {"root": None, "train_csv": "t.csv", "sample_csv": "s.csv"},
            "sample_csv is not read in retrieval: there is no submission",
        ),
        (
            {"root": None, "train_csv": "t.csv", "image_dir_test": "test"},
            "image_dir_test is not read in retrieval",
        ),
        ({"split_by": "class", "stratify": False}, "stratify is not read with split_by class"),
        (
            {"split_by": "class", "on_unvalidated_class": "note"},
            "on_unvalidated_class is not read with split_by class",
        ),
        (
            {"objects": "picture", "group_pattern": "(.)"},
            "objects picture and group_pattern both say",
        ),
        (
            {"objects": "picture", "root": None, "train_csv": "t.csv", "group_col": "g"},
            "objects picture and group_col both say",
        ),
        (
            {"objects": "picture", "root": None, "manifest": "splits.csv"},
            "objects picture and manifest both say",
        ),
        ({"min_image_size": -1}, "greater than or equal to 0"),
    ],
)
def test_keys_that_nothing_reads_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        config(**values)
