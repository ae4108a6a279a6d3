"""From the data section to split samples and their pixels, and every refusal on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from sightline.data import dataset as dataset_module
from sightline.data import pixel_store
from sightline.data.dataset import Dataset, open_images, prepare_dataset, require_known_labels
from sightline.data.fingerprints import digests
from sightline.data.images import Images
from sightline.data.manifest import Manifest
from sightline.data.settings import DataConfig
from sightline.data.splits_file import write_splits
from sightline.errors import DataError


def config(**values: Any) -> DataConfig:
    return DataConfig.model_validate_json(json.dumps(values, default=str))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(12):
            shade = (20 * number, 100 if label == "a" else 200, 7)
            Image.new("RGB", (50, 40), shade).save(folder / label / f"{number:02d}.png")
    return folder


def splits(dataset: Dataset) -> dict[str, str]:
    table = dataset.manifest
    return {str(table.id[row]): table.split_text(row) for row in range(len(table))}


def test_samples_are_read_split_and_hashed(root: Path) -> None:
    dataset = prepare_dataset(config(root=root, val_fraction=0.25, test_fraction=0.25), seed=0)
    assert dataset.class_names == ("a", "b")
    assert {name: len(dataset.part(name)) for name in ("fit", "val", "test")} == {
        "fit": 12, "val": 6, "test": 6,
    }  # fmt: skip
    assert len(dataset.part("fit", "val")) == 18
    np.testing.assert_array_equal(dataset.hashes, digests(dataset.manifest))
    assert splits(dataset) == splits(
        prepare_dataset(config(root=root, val_fraction=0.25, test_fraction=0.25), seed=0)
    )
    require_known_labels(dataset)


def test_identical_files_share_a_split_unless_told_otherwise(root: Path) -> None:
    for number in range(6):
        shutil.copy(root / "a" / f"{number:02d}.png", root / "b" / f"copy{number}.png")
    divided = 0
    for seed in range(6):
        together = splits(prepare_dataset(config(root=root), seed=seed))
        apart = splits(prepare_dataset(config(root=root, group_duplicates=False), seed=seed))
        for number in range(6):
            pair = (f"a/{number:02d}.png", f"b/copy{number}.png")
            assert together[pair[0]] == together[pair[1]]
            divided += apart[pair[0]] != apart[pair[1]]
    assert divided


def test_the_groups_of_a_manifest_are_used_as_they_are(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "a" / "00.png", root / "b" / "copy.png")
    table = prepare_dataset(config(root=root, group_duplicates=False), seed=0)
    file = tmp_path / "splits.csv"
    write_splits(table.manifest, file, hashes=table.hashes)
    again = prepare_dataset(config(manifest=file), seed=5)
    assert splits(again) == splits(table)
    assert (again.manifest.group.codes == -1).all()


def test_folds(root: Path) -> None:
    chosen = prepare_dataset(config(root=root, folds=3, valid_fold=1), seed=0)
    fold, part = chosen.manifest.fold, chosen.manifest
    np.testing.assert_array_equal(np.flatnonzero(fold == 1), part.rows("val"))
    assert len(part.rows("test")) > 0
    every = prepare_dataset(config(root=root, folds=3, valid_fold="all"), seed=0)
    np.testing.assert_array_equal(every.manifest.fold, fold)
    assert set(splits(every).values()) == {"fit", "test"}
    assert not every.notes


def test_folds_over_a_given_validation_say_so(root: Path) -> None:
    for part, numbers in (("train", range(8)), ("val", range(8, 12))):
        for label in "ab":
            (root / part / label).mkdir(parents=True)
            for number in numbers:
                name = f"{number:02d}.png"
                (root / label / name).rename(root / part / label / name)
    for label in "ab":
        (root / label).rmdir()
    dataset = prepare_dataset(config(root=root, folds=2, valid_fold="all"), seed=0)
    assert (dataset.manifest.fold >= 0).all()
    assert any("divided among the folds" in note for note in dataset.notes)


def test_samples_can_be_left_out(root: Path) -> None:
    dataset = prepare_dataset(config(root=root), seed=0)
    fewer = dataset.without({"a/03.png", "b/00.png"})
    kept = [
        row for row, name in enumerate(dataset.manifest.id) if name not in ("a/03.png", "b/00.png")
    ]
    assert fewer.manifest.id.tolist() == dataset.manifest.id[kept].tolist()
    np.testing.assert_array_equal(fewer.hashes, dataset.hashes[kept])
    assert fewer.class_names == dataset.class_names
    assert len(dataset.without(set()).manifest) == 24


def labelled(rows: list[tuple[str, str]]) -> Dataset:
    names = [f"{number}.png" for number in range(len(rows))]
    labels, parts = ([row[column] for row in rows] for column in range(2))
    table = Manifest.build(Path(), id=names, path=names, label=labels, split=parts)
    return Dataset(table, np.zeros((len(rows), 2), np.uint64))


def test_samples_without_label_are_named() -> None:
    rows = [("a", "fit"), ("", "fit"), ("b", "fit"), ("", "val")]
    with pytest.raises(DataError, match=r"2 samples have no label[\s\S]*1\.png, 3\.png"):
        require_known_labels(labelled(rows))


@pytest.mark.parametrize("split", ["val", "test"])
def test_labels_unseen_in_training_are_named(split: str) -> None:
    seen = [("a", "fit"), ("b", "fit"), ("a", "val"), ("b", "test")]
    require_known_labels(labelled(seen))
    rows = [*seen, ("new", split), ("other", split), ("new", split)]
    with pytest.raises(DataError, match=rf"The {split} split has 2 labels[\s\S]*new, other"):
        require_known_labels(labelled(rows))
    require_known_labels(labelled([*rows, ("new", "fit"), ("other", "fit")]))


class Opened(NamedTuple):
    images: Images
    left_out: set[str]
    said: list[str]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(root: Path, folder: Path, **values: Any) -> Opened:
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    manifest = Manifest.build(root, id=[f"id {name}" for name in names], path=names)
    said: list[str] = []
    settings = config(root=root, **values)
    return Opened(
        *open_images(manifest, settings, size=28, cache_dir=folder, say=said.append), said
    )


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
@pytest.mark.parametrize("workers", [None, 0, 2])
def test_images_are_the_same_however_they_are_kept(
    root: Path, cache: Path, mode: str, workers: int | None
) -> None:
    images, left_out, said = opened(root, cache, cache=mode, workers=workers)
    assert (left_out, said) == (set(), [])
    assert (images.store is None) == (mode == "off")
    assert cache.exists() == (mode != "off")
    assert len(images) == 24
    for row in range(24):
        assert images[row].shape == (32, 40, 3), "8/7 of the size that the model sees"
        np.testing.assert_array_equal(images[row], Images(images.manifest, 32)[row])


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
def test_unreadable_images_are_left_out_if_so_configured(
    root: Path, cache: Path, mode: str
) -> None:
    (root / "a" / "03.png").write_bytes(b"")
    data = (root / "b" / "05.png").read_bytes()
    (root / "b" / "05.png").write_bytes(data[: len(data) // 2])
    images, left_out, said = opened(root, cache, cache=mode, on_bad_image="skip")
    assert left_out == {"id a/03.png", "id b/05.png"}
    assert said == ["left out 2 images that cannot be decoded: a/03.png, b/05.png"]
    assert len(images) == 22
    for row in range(22):
        np.testing.assert_array_equal(images[row], Images(images.manifest, 32)[row])


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_every_unreadable_image_is_in_the_error(root: Path, cache: Path, mode: str) -> None:
    for number in range(12):
        (root / "a" / f"{number:02d}.png").write_bytes(b"x" * number)
    with pytest.raises(DataError, match="12 of 24 images") as raised:
        opened(root, cache, cache=mode)
    assert all(f"a/{number:02d}.png (" in str(raised.value) for number in range(12))
    with pytest.raises(DataError, match=r"a/00\.png"):
        opened(root, cache, cache="off").images[0]


def test_a_cache_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for below in (tmp_path / "file", tmp_path / "file" / "deeper"):
        images, _, said = opened(root, below)
        assert len(said) == 1
        assert "decoded anew in each epoch" in said[0]
        assert str(below) in said[0]
        np.testing.assert_array_equal(images[5], Images(images.manifest, 32)[5])
        with pytest.raises(DataError, match="could not be kept"):
            opened(root, below, cache="on")
    (root / "a" / "03.png").write_bytes(b"")
    images, left_out, said = opened(root, tmp_path / "file", on_bad_image="skip")
    assert left_out == {"id a/03.png"}
    assert len(said) == 2


def test_a_disk_too_small_is_said(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "fits_on_disk", lambda count, **_: False)
    images, _, said = opened(root, cache)
    assert len(said) == 1
    assert "would fill" in said[0]
    assert not len(list(cache.rglob("*.u8")))
    np.testing.assert_array_equal(images[5], Images(images.manifest, 32)[5])
    assert len(opened(root, cache, cache="on").said) == 0


def test_what_is_in_the_store_needs_no_room(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the store that filled 40 % of a disk would not be used a second time."""
    monkeypatch.setattr(pixel_store, "SETTLED_SECONDS", 0.0)
    asked: list[int] = []
    monkeypatch.setattr(
        dataset_module, "fits_on_disk", lambda count, **_: bool(asked.append(count)) or count == 24
    )
    assert opened(root, cache).said == []
    images, _, said = opened(root, cache)
    assert (asked, said) == ([24], [])
    assert not len(images.undecoded())
    Image.new("RGB", (9, 9)).save(root / "a" / "new.png")
    images, _, said = opened(root, cache)
    assert asked == [24, 1]
    assert len(said) == 1
    assert images.undecoded().tolist() == [12], "what is there is used all the same"
    assert images[12].shape == (9, 9, 3)
