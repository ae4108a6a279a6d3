"""Folders and tables of normal pictures and defects, and every sentence about wrong ones."""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from sightline.data.dataset import open_images, prepare_dataset
from sightline.data.defect_categories import categories, chosen_categories, holds_defects
from sightline.data.defect_checks import defect_findings
from sightline.data.defect_digits import COUNT, write_defect_digits
from sightline.data.defect_reader import unused_masks
from sightline.data.defect_settings import AnomalyDataConfig
from sightline.data.findings import CheckReport
from sightline.data.lint import check
from sightline.data.manifest import Manifest
from sightline.data.presets import PRESETS, augmentation
from sightline.data.readers import read_manifest
from sightline.data.settings import DataConfig
from sightline.data.splits_file import write_splits
from sightline.errors import ConfigError, DataError


def config(**values: Any) -> AnomalyDataConfig:
    return AnomalyDataConfig.model_validate_json(json.dumps(values, default=str))


def pictures(root: Path, *names: str, size: tuple[int, int] = (6, 4)) -> Path:
    """Pictures whose content differs by name; a mask is black with one white pixel."""
    for name in names:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if "ground_truth" in name or "mask" in name:
            image = Image.new("L", size)
            image.putpixel((1, 2), 255)
        else:
            seed = zlib.crc32(name.encode())
            values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
            image = Image.fromarray(values)
        image.save(target)
    return root


def category(root: Path, *, normal: str = "good", defect: str = "crack", count: int = 5) -> Path:
    names = [f"train/{normal}/{row}.png" for row in range(count)]
    names += [f"test/{normal}/{row}.png" for row in range(2)]
    names += [f"test/{defect}/{row}.png" for row in range(3)]
    names += [f"ground_truth/{defect}/{row}_mask.png" for row in range(2)]
    return pictures(root, *names)


def rows(manifest: Manifest) -> dict[str, tuple[str, str, str]]:
    """Id -> split, label and mask."""
    return {
        str(manifest.id[row]): (
            manifest.split_text(row),
            manifest.label.text(row),
            str(manifest.mask[row]),
        )
        for row in range(len(manifest))
    }


def table(root: Path, text: str) -> Path:
    (root / "table.csv").write_text(text)
    return root / "table.csv"


# --- the section ---------------------------------------------------------------------------------


def test_defaults_are_those_of_the_published_protocols() -> None:
    section = config()
    assert (section.tree, DataConfig().tree) == ("defects", "classes")
    assert (section.fit, section.val_fraction, section.source) == ("stretch", 0.2, "none")
    assert augmentation(section.augment) == PRESETS["none"]


def test_one_key_of_the_augmentation_does_not_bring_a_preset() -> None:
    changed = augmentation(config(augment={"flip": 0.5}).augment)
    assert changed == augmentation(config(augment={"preset": "none", "flip": 0.5}).augment)
    assert changed.color == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 5}, "folds is not read in anomaly detection"),
        ({"class_names": ["a", "b"]}, "class_names is not read in anomaly detection: every"),
        ({"stratify": False}, "stratify is not read"),
        ({"sample_csv": "a.csv", "train_csv": "b.csv"}, "sample_csv is not read"),
        ({"train_csv": "a.csv", "category": "bottle"}, "category is read only with root"),
        ({"digits": "a", "layout": "visa"}, "layout is read only with root"),
        ({"root": "a", "normal_label": "ok"}, "normal_label is read only with train_csv"),
        ({"root": "a", "test_fraction": 0.4}, "test_fraction is read only with train_csv"),
        ({"root": "a", "mask_col": "mask"}, "mask_col is not read with data.root"),
        ({"root": "a", "train_csv": "b"}, "name one source"),
        ({"layout": "mvtek"}, "auto"),
    ],
)
def test_keys_that_nothing_would_read_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**values)


# --- folders -------------------------------------------------------------------------------------


def test_a_category_in_the_layout_of_mvtec(tmp_path: Path) -> None:
    manifest = read_manifest(config(root=category(tmp_path)))
    found = rows(manifest)
    assert len(found) == 10
    assert found["train/good/0.png"] == ("train", "good", "")
    assert found["test/good/1.png"] == ("test", "good", "")
    assert found["test/crack/1.png"] == ("test", "crack", "ground_truth/crack/1_mask.png")
    assert found["test/crack/2.png"] == ("test", "crack", "")
    assert manifest.root == tmp_path


@pytest.mark.parametrize("layout", ["auto", "btad"])
def test_ok_and_ko_are_read_with_masks_of_the_same_name(tmp_path: Path, layout: str) -> None:
    names = ["train/ok/0.bmp", "train/ok/1.bmp", "test/ok/0.bmp", "test/ko/0.bmp", "test/ko/1.bmp"]
    pictures(tmp_path, *names, "ground_truth/ko/0.png", "ground_truth/ko/1.bmp")
    found = rows(read_manifest(config(root=tmp_path, layout=layout)))
    assert found["train/ok/0.bmp"] == ("train", "good", "")
    assert found["test/ko/0.bmp"] == ("test", "ko", "ground_truth/ko/0.png")
    assert found["test/ko/1.bmp"] == ("test", "ko", "ground_truth/ko/1.bmp")


def test_masks_are_found_below_folders_and_by_names_that_end_in_mask(tmp_path: Path) -> None:
    category(tmp_path)
    pictures(tmp_path, "test/dent/a/0.png", "test/dent/b_mask.png")
    pictures(tmp_path, "ground_truth/dent/a/0_mask.png", "ground_truth/dent/b_mask.png")
    found = rows(read_manifest(config(root=tmp_path)))
    assert found["test/dent/a/0.png"][2] == "ground_truth/dent/a/0_mask.png"
    assert found["test/dent/b_mask.png"][2] == "ground_truth/dent/b_mask.png"


def test_masks_of_normal_pictures_and_folders_beside_are_left_out_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    category(tmp_path)
    pictures(tmp_path, "ground_truth/good/0_mask.png", "extra/defect/0.png")
    with caplog.at_level(logging.WARNING):
        found = rows(read_manifest(config(root=tmp_path)))
    assert found["test/good/0.png"][2] == ""
    assert len(found) == 10
    assert "left out beside the split folders: extra" in caplog.text
    assert "normal pictures have no defect to mask" in caplog.text


def test_several_categories_are_listed_until_one_is_named(tmp_path: Path) -> None:
    for name in ("bottle", "cable"):
        category(tmp_path / name)
    (tmp_path / "notes").mkdir()
    assert categories(tmp_path) == ("bottle", "cable")
    with pytest.raises(ConfigError, match=r"2 categories[\s\S]*NAME, or data.category=all[\s\S]*b"):
        read_manifest(config(root=tmp_path))
    one = read_manifest(config(root=tmp_path, category="cable"))
    assert rows(one) == rows(read_manifest(config(root=tmp_path / "cable")))
    assert one.root == tmp_path / "cable"
    everything = rows(read_manifest(config(root=tmp_path, category="all")))
    assert len(everything) == 20
    assert everything["bottle/test/crack/0.png"][2] == "bottle/ground_truth/crack/0_mask.png"
    assert chosen_categories(config(root=tmp_path, category="all")) == ("bottle", "cable")
    with pytest.raises(ConfigError, match=r"'botle'[\s\S]*did you mean data.category=bottle"):
        read_manifest(config(root=tmp_path, category="botle"))


def test_a_folder_that_is_a_category_goes_by_its_own_name(tmp_path: Path) -> None:
    root = category(tmp_path / "bottle")
    assert categories(root) == ("bottle",)
    assert len(read_manifest(config(root=root, category="bottle"))) == 10
    assert len(read_manifest(config(root=root, category="all"))) == 10
    with pytest.raises(ConfigError, match="no category called 'cable'"):
        read_manifest(config(root=root, category="cable"))


def test_a_validation_split_of_the_data_may_hold_defects(tmp_path: Path) -> None:
    category(tmp_path)
    pictures(tmp_path, "validation/good/9.png", "validation/crack/9.png")
    pictures(tmp_path, "ground_truth/crack/9_mask.png")
    found = rows(prepare_dataset(config(root=tmp_path), seed=0).manifest)
    assert found["validation/crack/9.png"] == ("val", "crack", "ground_truth/crack/9_mask.png")
    assert Counter(split for split, _, _ in found.values()) == {"fit": 5, "val": 2, "test": 5}


def break_empty(root: Path) -> None:
    for file in (root / "test/crack").iterdir():
        file.unlink()


def break_train(root: Path) -> None:
    (root / "train").rename(root / "training pictures")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["ground_truth/crack/7_mask.png"], r"1 masks belong to no picture: ground_truth/crack/7_"),
        (["ground_truth/dent/0_mask.png"], r"nearest name is test/crack/0\.png"),
        (["ground_truth/0_mask.png"], r"no picture: ground_truth/0_mask\.png[\s\S]*NAME_mask\.png"),
        (["ground_truth/crack/0.png"], r"two masks[\s\S]*crack/0\.png and \S*crack/0_mask\.png"),
        (["test/crack/0.bmp"], r"several pictures[\s\S]*crack/0\.bmp and test/crack/0\.png"),
        (["test/loose.png"], r"1 pictures of test lie in no folder[\s\S]*loose\.png"),
        (["Test/good/0.png"], r"Several folders stand for one split: Test, test"),
    ],
)
def test_pictures_and_masks_that_do_not_fit_together(
    tmp_path: Path, extra: list[str], message: str
) -> None:
    pictures(category(tmp_path), *extra)
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(config(root=tmp_path))
    assert len(str(caught.value).splitlines()) <= 6


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(config(root=tmp_path / "gone"))
    (tmp_path / "empty/photos").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no train folder[\s\S]*MVTec AD[\s\S]*VisA[\s\S]*photos"):
        read_manifest(config(root=tmp_path / "empty"))
    root = category(tmp_path / "a")
    break_empty(root)
    with pytest.raises(DataError, match=r"1 folders hold no pictures: test/crack"):
        read_manifest(config(root=root))
    (root / "b/train").mkdir(parents=True)
    with pytest.raises(DataError, match="has no folders of pictures"):
        read_manifest(config(root=root / "b"))
    with pytest.raises(DataError, match=r"not laid out as VisA[\s\S]*split_csv/1cls\.csv"):
        read_manifest(config(root=root, layout="visa"))
    with pytest.raises(ConfigError, match="names no data"):
        read_manifest(config())


def test_the_named_layout_says_which_folder_is_normal(tmp_path: Path) -> None:
    category(tmp_path, normal="ok", defect="ko")
    with pytest.raises(DataError, match=r"5 defects are in train[\s\S]*train/ok/0\.png \(ok\)"):
        prepare_dataset(config(root=tmp_path, layout="mvtec"), seed=0)


# --- VisA ----------------------------------------------------------------------------------------

VISA = """object,split,label,image,mask
candle,train,normal,candle/Images/Normal/0.png,
candle,train,normal,candle/Images/Normal/1.png,
candle,test,anomaly,candle/Images/Anomaly/0.png,candle/Masks/0.png
pcb1,train,normal,pcb1/Images/Normal/0.png,
"""


def visa(root: Path, text: str = VISA) -> Path:
    lines = [line.split(",") for line in VISA.splitlines()[1:]]
    pictures(root, *(line[3] for line in lines), *(line[4] for line in lines if line[4]))
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text(text)
    return root


def test_the_table_of_visa(tmp_path: Path) -> None:
    root = visa(tmp_path)
    assert categories(root) == ("candle", "pcb1")
    found = rows(read_manifest(config(root=root, category="candle", layout="visa")))
    assert found == {
        "candle/Images/Normal/0.png": ("train", "good", ""),
        "candle/Images/Normal/1.png": ("train", "good", ""),
        "candle/Images/Anomaly/0.png": ("test", "anomaly", "candle/Masks/0.png"),
    }
    assert len(read_manifest(config(root=root, category="all"))) == 4


def test_paths_of_visa_may_have_backslashes(tmp_path: Path) -> None:
    found = rows(
        read_manifest(config(root=visa(tmp_path, VISA.replace("/", "\\")), category="all"))
    )
    assert found["candle/Images/Anomaly/0.png"][2] == "candle/Masks/0.png"


@pytest.mark.parametrize(("normal", "is_one"), [("good", True), ("OK", True), ("cat", False)])
def test_a_folder_is_for_anomaly_detection_where_train_is_all_normal(
    tmp_path: Path, normal: str, is_one: bool
) -> None:
    pictures(tmp_path / "bottle", f"train/{normal}/0.png", "test/crack/0.png")
    assert holds_defects(tmp_path / "bottle") == is_one
    assert holds_defects(tmp_path) == is_one
    pictures(tmp_path / "bottle", "train/dog/0.png")
    assert not holds_defects(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("anomaly,candle", "bad,candle", r"1 rows have an unknown label[\s\S]*line 4: 'bad'"),
        ("Masks/0", "Masks/1", r"column 'mask' that is not in[\s\S]*line 4: 'candle/Masks/1\.png'"),
        ("Normal/1", "Normal/7", r"column 'image'[\s\S]*line 3"),
        ("Normal/1", "Normal/0", r"repeat an id[\s\S]*line 3"),
        ("split,label", "set,label", r"lacks 1 columns: split"),
        ("candle,test", ",test", r"1 rows name no object"),
        ("candle,test", "candle,exam", r"unknown split[\s\S]*line 4: 'exam'"),
    ],
)
def test_wrong_rows_of_visa_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = visa(tmp_path, VISA.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_manifest(config(root=root, category="candle"))


# --- tables --------------------------------------------------------------------------------------

CSV = "ID,target,part,mask\n" + "".join(f"n{row},fine,train,\n" for row in range(4))
CSV += "n4,fine,test,masks/n4.png\nd0,dent,test,masks\\d0.png\nd1,scratch,test,\n"


def csv_config(root: Path, text: str = CSV, **values: Any) -> AnomalyDataConfig:
    pictures(root, *(f"n{row}.png" for row in range(5)), "d0.png", "d1.png")
    pictures(root, "masks/d0.png", "masks/n4.png")
    given = {"split_col": "part", "mask_col": "mask", "normal_label": "fine", **values}
    return config(train_csv=table(root, text), **given)


def test_a_table_with_masks_and_splits(tmp_path: Path) -> None:
    found = rows(read_manifest(csv_config(tmp_path)))
    assert found["n0"] == ("train", "good", "")
    assert found["n4"] == ("test", "good", ""), "a normal picture has no defect to mask"
    assert found["d0"] == ("test", "dent", "masks/d0.png")
    assert found["d1"] == ("test", "scratch", "")


def test_a_table_of_normal_pictures_only_will_do(tmp_path: Path) -> None:
    text = "".join(CSV.splitlines(keepends=True)[:5])
    dataset = prepare_dataset(csv_config(tmp_path, text), seed=0)
    assert dataset.class_names == ("good",)
    assert "There is no test split: nothing shows how well defects are found." in dataset.notes


def test_wrong_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'mask' that is not in[\s\S]*line 8: 'masks/no'"):
        read_manifest(csv_config(tmp_path, CSV.replace("scratch,test,", "scratch,test,masks/no")))
    with pytest.raises(ConfigError, match=r"No row is normal[\s\S]*set data.normal_label=fine"):
        read_manifest(csv_config(tmp_path, normal_label="fin"))
    with pytest.raises(DataError, match=r"'good' stands for normal pictures"):
        read_manifest(csv_config(tmp_path, CSV.replace("dent", "good")))
    with pytest.raises(DataError, match=r"1 defects are in train[\s\S]*d0 \(dent\)"):
        prepare_dataset(csv_config(tmp_path, CSV.replace("dent,test", "dent,train")), seed=0)


def test_splits_that_were_written_are_read_again_with_their_masks(tmp_path: Path) -> None:
    dataset = prepare_dataset(config(root=category(tmp_path / "data")), seed=0)
    write_splits(dataset.manifest, tmp_path / "splits.csv", hashes=dataset.hashes)
    again = read_manifest(config(manifest=tmp_path / "splits.csv"))
    assert {name: row[:2] for name, row in rows(again).items()} == {
        name: row[:2] for name, row in rows(dataset.manifest).items()
    }
    assert rows(again)["test/crack/0.png"][2] == "data/ground_truth/crack/0_mask.png"
    (tmp_path / "data/ground_truth/crack/0_mask.png").unlink()
    with pytest.raises(DataError, match=r"1 masks are not there: data/ground_truth/crack/0_mask"):
        read_manifest(config(manifest=tmp_path / "splits.csv"))


@pytest.mark.parametrize("again", [False, True])
def test_written_copies_with_made_defects_are_not_read_as_pictures(
    tmp_path: Path, again: bool
) -> None:
    """The file has no pixels of theirs: read as pictures they would be defects without a defect."""
    made = config(root=category(tmp_path / "data"), synthetic_defects=True, val_fraction=0.4)
    first = prepare_dataset(made, seed=0)
    write_splits(first.manifest, tmp_path / "splits.csv", hashes=first.hashes)
    source = config(manifest=tmp_path / "splits.csv", synthetic_defects=again)
    second = prepare_dataset(source, seed=0).manifest
    expected = {
        name: row[:2]
        for name, row in rows(first.manifest).items()
        if again or not name.startswith("<synthetic>/")
    }
    assert len(second) == len(expected)
    assert {name: row[:2] for name, row in rows(second).items()} == expected


def test_pictures_are_kept_at_four_times_the_size_that_a_model_sees(tmp_path: Path) -> None:
    """Resized by little and then again, texture loses detail."""
    root = category(tmp_path / "data")
    for file in root.rglob("*.png"):
        Image.new("RGB", (200, 260)).save(file)
    made = config(root=root)
    samples = prepare_dataset(made, seed=0).part("fit")
    sides = {}
    for name, section in (("anomaly", made), ("classify", DataConfig())):
        images, _ = open_images(
            samples, section, size=32, cache_dir=tmp_path / f"cache-{name}", say=print
        )
        sides[name] = min(images[0].shape[:2])
    assert sides == {"anomaly": 128, "classify": 37}


# --- check ---------------------------------------------------------------------------------------


def checked(section: AnomalyDataConfig) -> CheckReport:
    manifest = read_manifest(section, require_files=False)
    findings = defect_findings(manifest, unused_masks=unused_masks(section))
    return check(manifest, workers=0, of_labels=findings)


def kinds(report: CheckReport) -> dict[str, tuple[str, int]]:
    return {finding.kind: (finding.severity, finding.count) for finding in report.findings}


def test_a_good_set_has_no_finding_about_classes(tmp_path: Path) -> None:
    found = kinds(checked(config(root=category(tmp_path, count=25))))
    assert found["defect_without_mask"] == ("info", 1)
    assert set(found) <= {"defect_without_mask", "image_size", "near_duplicate"}


def test_every_fault_of_masks_and_splits_is_found(tmp_path: Path) -> None:
    category(tmp_path, count=3)
    pictures(tmp_path, "train/dent/0.png", "ground_truth/crack/9_mask.png")
    Image.new("L", (6, 4)).save(tmp_path / "ground_truth/crack/0_mask.png")
    pictures(tmp_path, "ground_truth/crack/1_mask.png", size=(7, 4))
    report = checked(config(root=tmp_path))
    found = kinds(report)
    assert found["defect_in_training"] == ("error", 1)
    assert found["mask_without_picture"] == ("error", 1)
    assert found["empty_mask"] == ("warning", 1)
    assert found["unfit_mask"] == ("error", 1)
    assert found["few_normal_pictures"] == ("warning", 3)
    assert report.exit_code == 1
    text = json.dumps(report.as_dict())
    assert "7 x 4 pixels (width x height), not 6 x 4 pixels" in text
    assert "class_counts" not in found
    assert "label_unseen_in_training" not in found


def test_a_test_of_one_class_and_lost_masks_of_a_table(tmp_path: Path) -> None:
    text = CSV.replace("fine,test,masks/n4.png", "fine,train,").replace("masks\\d0", "masks/gone")
    found = kinds(checked(csv_config(tmp_path, text)))
    assert found["test_of_one_class"] == ("warning", 2)
    assert found["missing_mask"] == ("error", 1)
    assert "unused_file" not in found
    text = "".join(line for line in CSV.splitlines(keepends=True) if "train" not in line)
    assert kinds(checked(csv_config(tmp_path, text)))["no_normal_picture_in_training"][0] == "error"


def test_a_table_without_splits_has_no_defect_in_train_and_masks_beside_are_no_pictures(
    tmp_path: Path,
) -> None:
    pictures(tmp_path, "d0_mask.png")
    text = CSV.replace("masks\\d0.png", "d0_mask.png")
    found = kinds(checked(csv_config(tmp_path, text, split_col=None)))
    assert "defect_in_training" not in found
    assert "unused_file" not in found
    pictures(tmp_path, "other.png")
    found = kinds(checked(csv_config(tmp_path, text, split_col=None)))
    assert found["unused_file"] == ("info", 1)


# --- the bundled digits --------------------------------------------------------------------------


def test_the_digits_are_the_same_every_time_and_fit_the_reader(tmp_path: Path) -> None:
    first, second = (write_defect_digits(tmp_path / name) for name in "ab")
    files = sorted(file.relative_to(first) for file in first.rglob("*.png"))
    assert len(files) == COUNT
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
    manifest = prepare_dataset(config(digits=first), seed=0).manifest
    counts = Counter((split, label, mask != "") for split, label, mask in rows(manifest).values())
    held_out = counts.pop(("val", "good", False))
    assert abs(held_out - 22) <= 3, "whole series"
    assert counts == {
        ("fit", "good", False): 110 - held_out,
        ("test", "good", False): 34,
        ("test", "other_digit", False): 72,
        ("test", "patched", True): 34,
    }


def test_check_finds_no_fault_in_the_digits(tmp_path: Path) -> None:
    report = checked(config(digits=tmp_path / "digits"))
    assert not [finding for finding in report.findings if finding.severity == "error"]
    assert "empty_mask" not in kinds(report)


def test_a_folder_with_other_content_is_not_taken_for_the_digits(tmp_path: Path) -> None:
    pictures(tmp_path, "digits/train/good/0.png")
    with pytest.raises(DataError, match=rf"{COUNT} pictures[\s\S]*1 pictures"):
        write_defect_digits(tmp_path / "digits")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_defect_digits(tmp_path / "file" / "digits")
