"""Splits of retrieval on disk: the folder of small files, the table beside its list, the script."""

from __future__ import annotations

import csv
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.checking import check_source, split_data, split_source
from sightline.data.dataset import prepare_dataset
from sightline.data.manifest import Manifest
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.data.splits_folder import class_table, object_ids, totals, write_splits_folder
from sightline.errors import ConfigError, DataError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "create_splits.py"
FILES = [
    "class_to_idx.json", "excluded.csv", "split_metadata.json", "splits.csv", "test_ids.json",
    "train_ids.json", "val_ids.json",
]  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of six objects with two pictures each, one of them small."""
    root = tmp_path / "photos"
    for label in ("aloe", "lithops", "sedum"):
        (root / label).mkdir(parents=True)
        for number in range(6):
            for shot in range(2):
                size = (9, 12) if (label, number, shot) == ("lithops", 3, 1) else (16, 12)
                seed = len(label) * 100 + number * 10 + shot
                pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / label / f"plant_{number:03d}_{shot}.png")
    return root


def config(root: Path, **values: Any) -> RetrievalDataConfig:
    merged = {"root": str(root), "min_image_size": 10, "workers": 0, **values}
    return RetrievalDataConfig.model_validate_json(json.dumps(merged))


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_the_files_agree_with_each_other_and_with_the_pictures(
    photos: Path, tmp_path: Path
) -> None:
    section = config(photos)
    dataset = prepare_dataset(section, seed=3)
    folder = tmp_path / "new" / "splits"
    write_splits_folder(dataset, folder, config=section, seed=3)
    assert sorted(file.name for file in folder.iterdir()) == FILES
    table = rows_of(folder / "splits.csv")
    ids = {split: read(folder / f"{split}_ids.json") for split in ("train", "val", "test")}
    for split, names in ids.items():
        ours = "fit" if split == "train" else split
        assert names == sorted({row["group"] for row in table if row["split"] == ours})
        for name in names:
            assert len(list(photos.glob(f"{name}_*.png"))) == 2
    assert len({name for names in ids.values() for name in names}) == 17
    assert read(folder / "class_to_idx.json") == {"aloe": 0, "lithops": 1, "sedum": 2}
    left_out = rows_of(folder / "excluded.csv")
    assert [row["id"] for row in left_out] == [f"lithops/plant_003_{shot}.png" for shot in range(2)]
    about = read(folder / "split_metadata.json")
    assert about["data_dir"] == str(photos)
    assert (about["min_image_size"], about["seed"], about["split_by"]) == (10, 3, "object")
    assert about["ratios"] == {"train": 0.7, "val": 0.15, "test": 0.15}
    assert about["class_names"] == ["aloe", "lithops", "sedum"]
    assert (about["total_ids"], about["total_images"]) == (17, 34)
    assert (about["excluded_ids_count"], about["excluded_images_count"]) == (1, 2)
    assert about["ids"] == {split: len(names) for split, names in ids.items()}
    assert about["images"] == {split: 2 * len(names) for split, names in ids.items()}
    for label, counts in about["classes"].items():
        for split, names in ids.items():
            mine = [name for name in names if name.startswith(f"{label}/")]
            assert counts[split] == {"ids": len(mine), "images": 2 * len(mine)}


def test_a_run_can_use_the_folder(photos: Path, tmp_path: Path) -> None:
    section = config(photos)
    dataset = prepare_dataset(section, seed=3)
    write_splits_folder(dataset, tmp_path / "splits", config=section, seed=3)
    for place in (tmp_path / "splits", tmp_path / "splits" / "splits.csv"):
        again = prepare_dataset(RetrievalDataConfig(manifest=place, workers=0), seed=8)
        assert again.manifest.id.tolist() == dataset.manifest.id.tolist()
        assert again.manifest.split.tolist() == dataset.manifest.split.tolist()
        assert again.manifest.file(0).is_file()
    (photos / "aloe" / "plant_000_0.png").write_bytes(b"another picture")
    with pytest.raises(DataError, match="not those the splits were made for"):
        prepare_dataset(RetrievalDataConfig(manifest=tmp_path / "splits", workers=0), seed=8)
    with pytest.raises(DataError, match=r"splits\.csv cannot be opened"):
        prepare_dataset(RetrievalDataConfig(manifest=photos, workers=0), seed=8)


def test_with_nothing_left_out_the_list_has_a_header(photos: Path, tmp_path: Path) -> None:
    section = config(photos, min_image_size=0)
    write_splits_folder(prepare_dataset(section, seed=0), tmp_path / "s", config=section, seed=0)
    assert (tmp_path / "s" / "excluded.csv").read_text() == "id,path,label,group,reason\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        write_splits_folder(
            prepare_dataset(section, seed=0), tmp_path / "file" / "s", config=section, seed=0
        )


def test_objects_are_counted_as_a_person_would() -> None:
    rows = [
        ("a/1_1", "a", "a/1", "fit"), ("a/1_2", "a", "a/1", "fit"), ("a/2_1", "a", "a/2", "test"),
        ("b/7", "b", "", "fit"), ("b/8", "b", "", "query"), ("x", "b", "alone", "val"),
        ("b/9", "b", "a/1", "fit"),
    ]  # fmt: skip
    ids, labels, groups, splits = (list(column) for column in zip(*rows, strict=True))
    manifest = Manifest.build(Path("p"), id=ids, path=ids, label=labels, group=groups, split=splits)
    # b/9 is the same file as a picture of a/1: one object, which both classes have.
    assert object_ids(manifest) == {
        "train": ["a/1", "b/7"], "val": ["b/alone"], "test": ["a/2"], "query": ["b/8"],
    }  # fmt: skip
    counted = class_table(manifest)
    assert {name: one for name, one in counted["a"].items() if any(one)} == {
        "train": (1, 2), "test": (1, 1),
    }  # fmt: skip
    assert {name: one for name, one in counted["b"].items() if any(one)} == {
        "train": (2, 2), "val": (1, 1), "query": (1, 1),
    }  # fmt: skip
    assert totals(manifest) == {"train": (2, 4), "val": (1, 1), "test": (1, 1), "query": (1, 1)}


def test_a_csv_has_its_list_beside_it(photos: Path, tmp_path: Path) -> None:
    text = split_data(config(photos), tmp_path / "splits.csv", seed=0)
    assert sorted(file.name for file in tmp_path.glob("*.csv")) == [
        "splits.csv",
        "splits.excluded.csv",
    ]
    assert len(rows_of(tmp_path / "splits.excluded.csv")) == 2
    assert len(rows_of(tmp_path / "splits.csv")) == 34
    assert f"{tmp_path / 'splits.excluded.csv'}: 2 left out" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["objects/pictures", "train", "val", "test"] in lines
    assert ["lithops", "3/6", "1/2", "1/2"] in lines
    assert ["total", "11/22", "3/6", "3/6"] in lines
    split_data(config(photos, min_image_size=0), tmp_path / "splits.csv", seed=0)
    assert rows_of(tmp_path / "splits.excluded.csv") == [], "an old list would be wrong"
    split_data(config(photos, min_image_size=0), tmp_path / "other.csv", seed=0)
    assert not (tmp_path / "other.excluded.csv").exists()


@pytest.mark.parametrize("name", ["splits", "made.csv"])
def test_a_name_without_csv_or_a_folder_gets_the_folder(
    photos: Path, tmp_path: Path, name: str
) -> None:
    if name == "made.csv":
        (tmp_path / name).mkdir()
    text = split_data(config(photos), tmp_path / name, seed=0)
    assert sorted(file.name for file in (tmp_path / name).iterdir()) == FILES
    assert f"{tmp_path / name}: fit 22, test 6, val 6" in text


def test_of_many_classes_the_smallest_are_shown(tmp_path: Path) -> None:
    for label in range(33):
        folder = tmp_path / "photos" / f"{label:02d}"
        folder.mkdir(parents=True)
        for number in range(5 if label % 2 else 4):
            seed = label * 10 + number
            pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    text = split_data(config(tmp_path / "photos"), tmp_path / "splits.csv", seed=0)
    assert "... and 3 larger classes" in text
    shown = [line.split()[0] for line in text.splitlines() if line[:2].isdigit()]
    assert len(shown) == 30
    assert set(shown) >= {f"{label:02d}" for label in range(0, 33, 2)}


def test_the_recipe_splits_and_checks(photos: Path, tmp_path: Path) -> None:
    settings = (f"data.root={photos}", "data.min_image_size=10", "data.workers=0")
    text = split_source("retrieve/arcface", settings, tmp_path / "splits")
    assert sorted(file.name for file in (tmp_path / "splits").iterdir()) == FILES
    assert "note: " in text
    report = check_source("retrieve/arcface", settings, near_duplicates=False)
    kinds = {finding.kind: finding for finding in report.findings}
    assert kinds["small_image"].count == 1
    assert report.exit_code == 0
    typo = [*settings, "data.class_names=[aloe,lihtops]"]
    with pytest.raises(ConfigError, match="did you mean lithops instead of lihtops"):
        split_source("retrieve/arcface", typo, tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_check_finds_objects_that_given_splits_divide(photos: Path) -> None:
    for split in ("train", "test"):
        (photos / split).mkdir()
    for folder in ("aloe", "lithops", "sedum"):
        (photos / folder).rename(photos / "train" / folder)
    (photos / "test" / "aloe").mkdir()
    (photos / "test" / "novel").mkdir()
    (photos / "train/aloe/plant_004_1.png").rename(photos / "test/aloe/plant_004_1.png")
    (photos / "train/aloe/plant_005_1.png").rename(photos / "test/novel/plant_005_1.png")
    for split_by, severity in (("object", "error"), ("class", "info")):
        settings = (f"data.root={photos}", f"data.split_by={split_by}", "data.workers=0")
        report = check_source("retrieve/arcface", settings, near_duplicates=False)
        kinds = {finding.kind: finding for finding in report.findings}
        assert kinds["group_in_several_splits"].examples == ("aloe/plant_004 (train, test)",)
        assert kinds["label_unseen_in_training"].severity == severity
        assert report.exit_code == 1


@pytest.fixture(scope="module")
def create_splits() -> Callable[..., int]:
    """The main function of the script, which takes the words of a command line."""
    main: Callable[[list[str]], int] = runpy.run_path(str(SCRIPT))["main"]
    return lambda *arguments: main([str(one) for one in arguments])


def test_the_script_does_what_the_command_does(
    photos: Path,
    tmp_path: Path,
    create_splits: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = create_splits(
        "--data_dir", photos, "--output_dir", "out", "--min_image_size", 10, "--seed", 7,
        "--class_names", "sedum,aloe", "--train_ratio", 0.5, "--val_ratio", 0.25,
        "--test_ratio", 0.25,
    )  # fmt: skip
    assert code == 0
    section = config(photos, class_names=["aloe", "sedum"], val_fraction=0.25, test_fraction=0.25)
    expected = prepare_dataset(section, seed=7)
    again = prepare_dataset(RetrievalDataConfig(manifest=tmp_path / "out"), seed=0)
    assert again.manifest.id.tolist() == expected.manifest.id.tolist()
    assert again.manifest.split.tolist() == expected.manifest.split.tolist()
    assert again.class_names == ("aloe", "sedum")
    assert "out: fit 8, test 8, val 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--val_ratio", 0.3), 2, "with the sum 1"),
        (("--train_ratio", 1.3, "--val_ratio", -0.3, "--test_ratio", 0), 2, "with the sum 1"),
        (("--class_names", "aloe,sedun"), 2, "did you mean sedum instead of sedun"),
        ((), 1, "data.min_image_size=9"),
    ],
)
def test_the_script_says_what_is_wrong(
    photos: Path,
    create_splits: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    code: int,
    sentence: str,
) -> None:
    assert create_splits("--data_dir", photos, "--output_dir", "out", *arguments) == code
    assert sentence in capsys.readouterr().err
    assert not Path("out").exists()


def test_the_script_runs_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--colour", "red"],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--min_image_size" in done.stderr
    assert "--data_dir, --output_dir" in done.stderr
