"""Objects left out whole: too small, unreadable, and what is said and written about them."""

from __future__ import annotations

import csv
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.data.dataset import Dataset, prepare_dataset
from sightline.data.exclusions import find_excluded, picture_sizes, write_excluded
from sightline.data.fingerprints import digests
from sightline.data.readers import read_manifest
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.data.splits_file import write_splits
from sightline.errors import DataError

EXIF_ORIENTATION = 0x0112


def picture(target: Path, width: int = 40, height: int = 30, *, orientation: int = 1) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(f"{target.parent.name}/{target.name}".encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    Image.fromarray(pixels).save(target, exif=exif, quality=95)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of four objects with three pictures each."""
    root = tmp_path / "photos"
    for label in "abc":
        for number in range(4):
            for shot in range(3):
                picture(root / label / f"{number}_{shot}.jpg")
    return root


def config(root: Path, **values: Any) -> RetrievalDataConfig:
    merged = {"root": str(root), "min_image_size": 25, "workers": 0, **values}
    return RetrievalDataConfig.model_validate_json(json.dumps(merged))


def reasons(dataset: Dataset) -> dict[str, str]:
    return {one.id: one.reason for one in dataset.excluded}


def cut_short(file: Path) -> None:
    """What is left of a copy that was interrupted: a good header and half of the pixels."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_a_small_picture_takes_its_object_with_it(photos: Path) -> None:
    picture(photos / "a/2_1.jpg", 40, 24)
    picture(photos / "b/2_0.jpg", 20, 30)
    picture(photos / "b/2_2.jpg", 19, 18)
    dataset = prepare_dataset(config(photos), seed=0)
    assert reasons(dataset) == {
        "a/2_0.jpg": "same object as a/2_1.jpg",
        "a/2_1.jpg": "smaller than 25: 40x24",
        "a/2_2.jpg": "same object as a/2_1.jpg",
        "b/2_0.jpg": "smaller than 25: 20x30",
        "b/2_1.jpg": "same object as b/2_0.jpg",
        "b/2_2.jpg": "smaller than 25: 19x18",
    }
    assert {(one.label, one.group) for one in dataset.excluded} == {("a", "a/2"), ("b", "b/2")}
    assert len(dataset.manifest) == 30
    assert not set(dataset.manifest.id.tolist()) & set(reasons(dataset))
    assert dataset.hashes is not None
    np.testing.assert_array_equal(dataset.hashes, digests(dataset.manifest))
    assert (
        "6 pictures of 2 objects are left out, 3 too small, 3 of the same objects: a/2_1.jpg "
        "(smaller than 25: 40x24), b/2_0.jpg (smaller than 25: 20x30), b/2_2.jpg (smaller than "
        "25: 19x18)." in dataset.notes
    )


@pytest.mark.parametrize("size", [(25, 25), (25, 400), (400, 25)])
def test_exactly_the_least_size_is_kept(photos: Path, size: tuple[int, int]) -> None:
    picture(photos / "a/2_1.jpg", *size)
    dataset = prepare_dataset(config(photos), seed=0)
    assert dataset.excluded == ()
    assert not any("left out" in note for note in dataset.notes)


@pytest.mark.parametrize("orientation", [1, 6])
def test_it_does_not_matter_how_a_picture_lies(photos: Path, orientation: int) -> None:
    picture(photos / "a/2_1.jpg", 60, 24, orientation=orientation)
    assert len(prepare_dataset(config(photos), seed=0).excluded) == 3


def test_with_pictures_as_objects_only_the_picture_goes(photos: Path) -> None:
    picture(photos / "a/2_1.jpg", 40, 24)
    dataset = prepare_dataset(config(photos, objects="picture"), seed=0)
    assert reasons(dataset) == {"a/2_1.jpg": "smaller than 25: 40x24"}


def test_objects_that_share_a_file_go_together(photos: Path) -> None:
    picture(photos / "a/2_1.jpg", 40, 24)
    (photos / "a/3_9.jpg").write_bytes((photos / "a/2_0.jpg").read_bytes())
    dataset = prepare_dataset(config(photos), seed=0)
    assert {one.id[:3] for one in dataset.excluded} == {"a/2", "a/3"}
    apart = prepare_dataset(config(photos, group_duplicates=False), seed=0)
    assert {one.id[:3] for one in apart.excluded} == {"a/2"}


@pytest.mark.parametrize("least", [0, 25])
def test_an_unreadable_picture_takes_its_object_with_it_if_it_is_to_be_skipped(
    photos: Path, least: int
) -> None:
    (photos / "a/1_1.jpg").write_bytes(b"no picture")
    cut_short(photos / "b/1_1.jpg")
    section = config(photos, on_bad_image="skip", min_image_size=least)
    dataset = prepare_dataset(section, seed=0)
    found = reasons(dataset)
    assert sorted(found) == [f"{label}/1_{shot}.jpg" for label in "ab" for shot in range(3)]
    assert found["a/1_1.jpg"] == "unreadable: not a picture in a known format"
    assert found["b/1_1.jpg"].startswith("unreadable: ")
    assert found["b/1_2.jpg"] == "same object as b/1_1.jpg"
    assert any("2 unreadable, 4 of the same objects" in note for note in dataset.notes)


def test_without_skip_every_file_that_is_no_picture_is_listed(photos: Path) -> None:
    for name in ("a/1_1.jpg", "b/0_2.jpg", "c/3_0.jpg"):
        (photos / name).write_bytes(b"no picture")
    with pytest.raises(DataError, match="3 of 36 images cannot be decoded") as raised:
        prepare_dataset(config(photos), seed=0)
    for name in ("a/1_1.jpg", "b/0_2.jpg", "c/3_0.jpg", "data.on_bad_image=skip"):
        assert name in str(raised.value)


def test_a_class_of_which_nothing_is_left_is_none(photos: Path) -> None:
    for file in (photos / "b").iterdir():
        picture(file, 10, 10)
    dataset = prepare_dataset(config(photos), seed=0)
    assert dataset.class_names == ("a", "c")
    assert set(dataset.manifest.label.codes.tolist()) == {0, 1}
    for row in range(len(dataset.manifest)):
        assert str(dataset.manifest.id[row])[0] == dataset.manifest.label.text(row)
    assert "1 classes have no object left: b." in dataset.notes


def test_when_too_little_is_left_the_sizes_are_told(photos: Path) -> None:
    picture(photos / "a/2_1.jpg", 90, 7)
    picture(photos / "a/2_2.jpg", 200, 100)
    with pytest.raises(DataError) as raised:
        prepare_dataset(config(photos, min_image_size=224), seed=0)
    text = str(raised.value)
    assert text.startswith("36 of 36 pictures are left out with their objects")
    assert "smallest 90x7, median 40x30, largest 200x100" in text
    assert "data.min_image_size=7 " in text
    assert prepare_dataset(config(photos, min_image_size=7), seed=0).excluded == ()
    for label in "ab":
        for file in (photos / label).iterdir():
            picture(file, 8, 8)
    with pytest.raises(DataError, match="the others have 1 classes"):
        prepare_dataset(config(photos), seed=0)
    for file in photos.glob("*/*"):
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="because none can be read"):
        prepare_dataset(config(photos, on_bad_image="skip", group_duplicates=False), seed=0)


def test_a_manifest_is_used_as_it_is(photos: Path, tmp_path: Path) -> None:
    dataset = prepare_dataset(config(photos), seed=0)
    write_splits(dataset.manifest, tmp_path / "splits.csv", hashes=dataset.hashes)
    section = RetrievalDataConfig(manifest=tmp_path / "splits.csv")
    again = prepare_dataset(section, seed=9)
    assert again.excluded == ()
    assert again.manifest.split.tolist() == dataset.manifest.split.tolist()


def test_without_a_limit_no_file_is_opened(photos: Path) -> None:
    (photos / "a/1_1.jpg").write_bytes(b"no picture")
    assert len(prepare_dataset(config(photos, min_image_size=0), seed=0).manifest) == 36


def test_the_list_is_a_table_with_paths_from_its_folder(photos: Path, tmp_path: Path) -> None:
    picture(photos / "a/2_1.jpg", 40, 24)
    section = config(photos)
    excluded = find_excluded(prepare_dataset(config(photos, min_image_size=0), seed=0).manifest,
                             section)  # fmt: skip
    target = tmp_path / "run" / "excluded.csv"
    target.parent.mkdir()
    write_excluded(excluded, target, root=photos)
    with target.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["id"] for row in rows] == ["a/2_0.jpg", "a/2_1.jpg", "a/2_2.jpg"]
    assert rows[1] == {
        "id": "a/2_1.jpg",
        "path": "../photos/a/2_1.jpg",
        "label": "a",
        "group": "a/2",
        "reason": "smaller than 25: 40x24",
    }
    assert all((target.parent / row["path"]).is_file() for row in rows)
    write_excluded((), target, root=photos)
    assert target.read_text() == "id,path,label,group,reason\n"
    assert [file.name for file in target.parent.iterdir()] == ["excluded.csv"]
    with pytest.raises(DataError, match="excluded samples cannot be written"):
        write_excluded((), tmp_path / "nowhere" / "excluded.csv", root=photos)


@pytest.mark.parametrize("workers", [0, 2])
def test_sizes_are_those_of_the_headers(
    photos: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.data.file_chunks._PARALLEL_FROM", 1)
    monkeypatch.setattr("sightline.data.file_chunks._CHUNK", 5)
    picture(photos / "b/2_1.jpg", 33, 21)
    (photos / "c/0_0.jpg").write_bytes(b"")
    cut_short(photos / "a/0_0.jpg")
    manifest = read_manifest(config(photos))
    sizes, problems = picture_sizes(manifest, workers)
    names = manifest.id.tolist()
    assert sizes[names.index("b/2_1.jpg")].tolist() == [33, 21]
    assert sizes[names.index("a/0_0.jpg")].tolist() == [40, 30]
    assert list(problems) == [names.index("c/0_0.jpg")]
    assert (sizes[list(problems)] == 0).all()
    assert (np.delete(sizes, [names.index("b/2_1.jpg"), *problems], axis=0) == (40, 30)).all()


def test_the_first_by_id_stands_for_its_object(photos: Path) -> None:
    picture(photos / "a/1_0.jpg", 9, 9)
    (photos / "a/1_2.jpg").write_bytes(b"no picture")
    section = config(photos, on_bad_image="skip")
    assert reasons(prepare_dataset(section, seed=0)) == {
        "a/1_0.jpg": "smaller than 25: 9x9",
        "a/1_1.jpg": "same object as a/1_0.jpg",
        "a/1_2.jpg": "unreadable: not a picture in a known format",
    }
