"""Reading folders, tables and the bundled digits, and every sentence said about bad input."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from sightline.data.augment_settings import AugmentConfig
from sightline.data.digits import write_digits
from sightline.data.image_files import list_images
from sightline.data.manifest import Manifest
from sightline.data.readers import read_manifest
from sightline.data.settings import DataConfig
from sightline.errors import ConfigError, DataError


def config(**values: Any) -> DataConfig:
    return DataConfig.model_validate_json(json.dumps(values, default=str))


def pictures(folder: Path, *names: str) -> Path:
    """Tiny pictures; their content differs by name."""
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shade = sum(map(ord, name)) % 256
        Image.new("RGB", (4, 4), (shade, 0, 0)).save(target.with_suffix(".png"))
        target.with_suffix(".png").rename(target)
    return folder


def labels(manifest: Manifest) -> dict[str, str]:
    return {str(manifest.id[row]): manifest.label.text(row) for row in range(len(manifest))}


def table(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    file = folder / "train.csv"
    file.write_bytes(text.encode(encoding))
    return file


# --- the section ---------------------------------------------------------------------------------


def test_a_section_without_a_source_is_allowed_until_data_is_read() -> None:
    assert config().source == "none"
    with pytest.raises(ConfigError, match=r"names no data[\s\S]*data\.root=FOLDER"):
        read_manifest(config())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"root": "a", "train_csv": "b"}, "name one source of samples, not 2: root, train_csv"),
        ({"root": "a", "id_col": "name"}, "id_col is not read with data.root, only with train_csv"),
        ({"train_csv": "a", "fold_col": "f"}, "fold_col is used only with folds"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "0.5 \\+ 0.5 must be below 1"),
        ({"folds": 1}, "at least 2, got 1"),
        ({"folds": 5, "val_fraction": 0.2}, "val_fraction is used only without folds"),
        ({"augment": {"schedule": [0.2, 0.5]}}, "schedule is used only with operations"),
        ({"folds": 5, "valid_fold": 5}, "valid_fold must be below folds: 5 with 5 folds"),
        ({"group_pattern": "("}, "no regular expression"),
        ({"group_pattern": "a(b)(c)"}, "exactly one group in round brackets, it has 2"),
        ({"augment": {"scale": [0.9, 0.5]}}, "0 < least <= greatest <= 1"),
        ({"augment": {"flip": 1.5}}, "less than or equal to 1"),
        ({"roots": "a"}, "Extra inputs are not permitted"),
        ({"folds": "5"}, "valid integer"),
    ],
)
def test_a_bad_section_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**values)


def test_every_key_of_the_section_is_described() -> None:
    for section in (DataConfig, AugmentConfig):
        undocumented = [
            name for name, field in section.model_fields.items() if not field.description
        ]
        assert undocumented in ([], ["augment"])


def test_names_of_the_interface_and_all_folds() -> None:
    """CLS-37, CLS-47."""
    read = config(
        train_csv="t.csv",
        sample_csv="s.csv",
        image_dir_train="d",
        image_ext=".png",
        id_col="ID",
        target_col="y",
        folds=5,
        valid_fold="all",
        stratify=False,
    )
    assert (read.valid_fold, read.folds, read.source) == ("all", 5, "csv")


# --- folders -------------------------------------------------------------------------------------


def test_a_folder_per_class_in_sorted_order(tmp_path: Path) -> None:
    pictures(
        tmp_path, "b/2.png", "a/x/1.JPG", "a/0.jpeg", "b/.hidden.png", ".git/c.png", "b/z.TIFF"
    )
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    manifest = read_manifest(config(root=tmp_path))
    assert labels(manifest) == {"a/0.jpeg": "a", "a/x/1.JPG": "a", "b/2.png": "b", "b/z.TIFF": "b"}
    assert manifest.path.tolist() == manifest.id.tolist() == sorted(manifest.id.tolist())
    assert manifest.root == tmp_path
    assert not manifest.split.any()


def test_split_folders_fill_the_split_column(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path, "train/a/1.png", "train/b/1.png", "Validation/a/2.png", "test/b/3.png")
    pictures(tmp_path, "masks/a/1.png")
    with caplog.at_level(logging.WARNING):
        manifest = read_manifest(config(root=tmp_path))
    assert labels(manifest) == {
        "Validation/a/2.png": "a",
        "test/b/3.png": "b",
        "train/a/1.png": "a",
        "train/b/1.png": "b",
    }
    assert [manifest.split_text(row) for row in range(4)] == ["val", "test", "train", "train"]
    assert "left out beside the split folders: masks" in caplog.text


def test_a_class_called_test_is_a_class(tmp_path: Path) -> None:
    manifest = read_manifest(config(root=pictures(tmp_path, "test/1.png", "train/2.png")))
    assert manifest.label.names.tolist() == ["test", "train"]


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(DataError, match="Several folders stand for one split: val, valid"):
        read_manifest(config(root=tmp_path))


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "c").symlink_to(tmp_path / "b", target_is_directory=True)
    assert list_images(tmp_path).tolist() == ["a/1.png", "b/2.png", "c/2.png"]


def test_chosen_classes(tmp_path: Path) -> None:
    """RET-4."""
    pictures(tmp_path, "cat/1.png", "dog/2.png", "cow/3.png")
    chosen = read_manifest(config(root=tmp_path, class_names=["dog", "cat"]))
    assert chosen.label.names.tolist() == ["cat", "dog"]
    with pytest.raises(ConfigError, match=r"no class: Dgo, zebra\.[\s\S]*dog instead of Dgo"):
        read_manifest(config(root=tmp_path, class_names=["Dgo", "cat", "zebra"]))


def _loose(folder: Path) -> Path:
    return pictures(folder, "a/1.png", "b/2.png", "loose.png")


def _flat(folder: Path) -> Path:
    return pictures(folder, "1.png", "2.png")


def _empty_class(folder: Path) -> Path:
    (folder / "b").mkdir()
    return pictures(folder, "a/1.png")


def _one_class(folder: Path) -> Path:
    return pictures(folder, "a/1.png")


def _missing(folder: Path) -> Path:
    return folder / "nowhere"


def _file(folder: Path) -> Path:
    return pictures(folder, "1.png") / "1.png"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_loose, "1 pictures lie beside the class folders and have no label: loose.png"),
        (_flat, r"no class folders; 2 pictures lie in it directly[\s\S]*data\.train_csv"),
        (_empty_class, r"1 class folders hold no pictures: b\.[\s\S]*add pictures"),
        (_one_class, r"All 1 pictures have one class: a\.[\s\S]*at least 2 classes"),
        (_missing, r"nowhere does not exist[\s\S]*relative to that file, on the command line"),
        (_file, "is a file, not a folder"),
        (lambda folder: folder, r"has no class folders\.[\s\S]*one folder of pictures per class"),
    ],
)
def test_what_is_wrong_with_a_folder(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest(config(root=make(tmp_path)))


# --- groups from ids -----------------------------------------------------------------------------


def test_groups_by_pattern_are_kept_apart_per_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path, "a/p_001_1.png", "a/p_001_2.png", "a/p_002_1.png", "b/p_001_1.png")
    manifest = read_manifest(config(root=tmp_path, group_pattern=r"([^/]+)_\d+\.\w+$"))
    groups = [manifest.group.text(row) for row in range(4)]
    assert groups == ["a/p_001", "a/p_001", "a/p_002", "b/p_001"]
    assert (
        "1 objects occur under several classes and are kept apart per class: p_001" in caplog.text
    )


def test_a_pattern_that_finds_nothing_names_the_ids(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1_1.png", "b/odd.png")
    with pytest.raises(DataError, match=r"finds no object in 1 of 2 ids[\s\S]*got: +b/odd\.png"):
        read_manifest(config(root=tmp_path, group_pattern=r"(\d+)_\d"))


# --- tables --------------------------------------------------------------------------------------


def test_ids_with_and_without_extension(tmp_path: Path) -> None:
    """CLS-22, CLS-48, CLS-55: never .jpg.jpg, dots in ids, other extensions, any letter case."""
    pictures(tmp_path, "one.jpg", "two.jpg", "v1.2.jpg", "four.PNG", "five.webp", "sub/six.jpg")
    pictures(tmp_path, "two.jpg.jpg")
    rows = ["one.jpg,a", "two,b", "v1.2,a", "four,a", "five.jpg,b", "sub\\six,b"]
    file = table(tmp_path, "ID,target\n" + "\n".join(rows))
    manifest = read_manifest(config(train_csv=file))
    assert manifest.path.tolist() == [
        "one.jpg",
        "two.jpg",
        "v1.2.jpg",
        "four.PNG",
        "five.webp",
        "sub/six.jpg",
    ]
    assert manifest.id.tolist()[:3] == ["one.jpg", "two", "v1.2"]


def test_the_configured_extension_comes_first(tmp_path: Path) -> None:
    pictures(tmp_path, "x.jpg", "x.tif", "y.jpg")
    file = table(tmp_path, "ID,target\nx,a\ny,b\n")
    manifest = read_manifest(config(train_csv=file, image_ext="tif"))
    assert manifest.path.tolist() == ["x.tif", "y.jpg"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiters_quotes_and_byte_order_mark(
    delimiter: str, encoding: str, tmp_path: Path
) -> None:
    pictures(tmp_path / "img", "x.jpg", "y.jpg")
    lines = [("name", "kind, of"), ('"x"', f'"a{delimiter}b"'), (" y ", "é")]
    text = "\r\n".join(
        delimiter.join(f'"{cell}"' if "," in cell and '"' not in cell else cell for cell in line)
        for line in lines
    )
    manifest = read_manifest(
        config(
            train_csv=table(tmp_path, text + "\r\n\r\n", encoding=encoding),
            image_dir_train=tmp_path / "img",
            id_col="name",
            target_col="kind, of",
        )
    )
    assert labels(manifest) == {"x": f"a{delimiter}b", "y": "é"}


def test_all_columns_of_a_table(tmp_path: Path) -> None:
    pictures(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    file = table(
        tmp_path,
        "ID,target,g,s,f,c,m\n1,a,p,Training,0,k,1_m.png\n2,b,p,dev,1,,\n3,a,,TEST,,l,\n",
    )
    manifest = read_manifest(
        config(
            train_csv=file,
            group_col="g",
            split_col="s",
            fold_col="f",
            folds=2,
            camera_col="c",
            mask_col="m",
        )
    )
    assert [manifest.group.text(row) for row in range(3)] == ["p", "p", ""]
    assert [manifest.camera.text(row) for row in range(3)] == ["k", "", "l"]
    assert [manifest.split_text(row) for row in range(3)] == ["train", "val", "test"]
    assert manifest.fold.tolist() == [0, 1, -1]
    assert manifest.mask.tolist() == ["1_m.png", "", ""]


def test_chosen_classes_of_a_table_have_codes_without_gaps(tmp_path: Path) -> None:
    pictures(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    file = table(tmp_path, "ID,target\n1,a\n2,b\n3,c\n")
    manifest = read_manifest(config(train_csv=file, class_names=["c", "b"]))
    assert labels(manifest) == {"2": "b", "3": "c"}
    assert manifest.label.codes.tolist() == [0, 1]
    with pytest.raises(ConfigError, match="no class: d"):
        read_manifest(config(train_csv=file, class_names=["c", "d"]))


def test_blocks_join_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.data.table.BLOCK_ROWS", 3)
    names = [f"{number}.jpg" for number in range(7)]
    pictures(tmp_path, *names)
    file = table(tmp_path, "ID,target\n" + "".join(f"{name},{name[0]}\n" for name in names))
    assert labels(read_manifest(config(train_csv=file))) == {name: name[0] for name in names}


@pytest.mark.parametrize(
    ("text", "extra", "message"),
    [
        (
            "ID,Target\n1,a\n",
            {},
            r"no column 'target'[\s\S]*data\.target_col names[\s\S]*columns ID, Target"
            r"[\s\S]*set data\.target_col=Target",
        ),
        (
            "file,y\n1,a\n",
            {"target_col": "y"},
            r"no column 'ID'[\s\S]*name the column with data\.id_col=NAME",
        ),
        (
            "ID,target\n1,a\n2,b\n",
            {"group_col": "patient"},
            r"no column 'patient'[\s\S]*data\.group_col=NAME",
        ),
        ("ID,target,ID\n1,a,2\n", {}, "several columns called ID"),
        ("", {}, "is empty"),
        ("ID,target\n", {}, "a header and no rows"),
        ("ID,target\n1,a\n1,b\n", {}, r"1 rows repeat an id[\s\S]*line 3: '1'"),
        ("ID,target\n1,a\n,b\n", {}, r"1 rows have no id[\s\S]*line 3"),
        ("ID,target\n1,a\n2, \n", {}, r"no label in column 'target'[\s\S]*line 3: '2'"),
        ("ID,target\n1,a\n2,b,c\n", {}, r"Line 3 of .* has 3 values[\s\S]*expected: +2"),
        ("ID,target\n1,a\n2,a\n", {}, r"All 2 rows have one label: a\."),
        (
            "ID,target\n1,a\n1.jpg,b\n",
            {},
            r"an earlier row has[\s\S]*line 3: '1\.jpg'",
        ),
        (
            "ID,target,s\n1,a,train\n2,b,holdout\n",
            {"split_col": "s"},
            r"1 rows name an unknown split[\s\S]*line 3: 'holdout'",
        ),
        (
            "ID,target,f\n1,a,0\n2,b,one\n",
            {"fold_col": "f", "folds": 2},
            r"1 rows have a fold that is no whole number from 0[\s\S]*line 3: 'one'",
        ),
        (
            "ID,target\n1,a\n2,b\n" + "".join(f"x{row},a\n" for row in range(7)),
            {},
            r"7 of 9 pictures are not in[\s\S]*line 4: 'x0';[\s\S]*line 8: 'x4' and 2 more"
            r"[\s\S]*data\.image_dir_train",
        ),
        ('ID,target\n1,a\n2,"b\n', {}, r"Line 3 of .* cannot be read: unexpected end of data"),
    ],
)
def test_what_is_wrong_with_a_table(
    text: str, extra: dict[str, str], message: str, tmp_path: Path
) -> None:
    pictures(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(DataError, match=message):
        read_manifest(config(train_csv=table(tmp_path, text), **extra))


def test_a_table_that_is_not_there_explains_the_path_rule(tmp_path: Path) -> None:
    """CLS-54."""
    with pytest.raises(DataError, match=r"cannot be opened[\s\S]*relative to that file"):
        read_manifest(config(train_csv=tmp_path / "train.csv"))
    file = table(tmp_path, "ID,target\n1,a\n")
    with pytest.raises(DataError, match=r"picture folder .*img does not exist[\s\S]*relative to"):
        read_manifest(config(train_csv=file, image_dir_train=tmp_path / "img"))


def test_a_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = table(tmp_path, "ID,target\n1,é\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"is not UTF-8 text[\s\S]*byte 0xe9"):
        read_manifest(config(train_csv=file))


def test_missing_pictures_can_be_left_to_the_check(tmp_path: Path) -> None:
    pictures(tmp_path, "1.jpg")
    file = table(tmp_path, "ID,target\n1,a\n2,b\n3.png,b\n")
    manifest = read_manifest(config(train_csv=file), require_files=False)
    assert manifest.path.tolist() == ["1.jpg", "2.jpg", "3.png"]


# --- digits --------------------------------------------------------------------------------------


def test_the_digits_are_written_once_and_alike(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    folder = write_digits(tmp_path / "deep" / "digits")
    manifest = read_manifest(config(digits=folder))
    assert len(manifest) == 1797
    assert len(manifest.label.names) == 10
    file = manifest.file(0)
    before = file.stat().st_mtime_ns
    assert write_digits(folder) == folder
    assert file.stat().st_mtime_ns == before
    other = write_digits(tmp_path / "again")
    assert (other / manifest.path[5]).read_bytes() == manifest.file(5).read_bytes()
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["digits"]
    row = int(file.stem)
    pixels = np.asarray(Image.open(file))
    assert np.abs(pixels - load_digits().images[row] * 255 / 16).max() <= 0.5
    assert manifest.label.text(0).startswith(str(load_digits().target[row]))


def test_a_folder_with_other_content_is_not_taken_for_digits(tmp_path: Path) -> None:
    pictures(tmp_path, "0_zero/1.png")
    with pytest.raises(DataError, match=r"does not hold the handwritten digits[\s\S]*1 pictures"):
        write_digits(tmp_path)


def test_digits_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_digits(tmp_path / "file" / "digits")


def test_a_train_folder_beside_flat_pictures_is_no_class(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/2.png", "test/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    manifest = read_manifest(config(root=tmp_path))
    assert [str(name) for name in manifest.label.names] == ["a", "b"]
    assert [str(one) for one in manifest.id] == ["train/a/1.png", "train/b/2.png"]
