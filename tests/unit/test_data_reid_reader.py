"""Every layout of identities, the names in them, and every sentence about wrong ones."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from sightline.data.augment_settings import AugmentConfig
from sightline.data.dataset import prepare_dataset
from sightline.data.manifest import TEXT, Manifest
from sightline.data.readers import read_manifest, read_with_notes
from sightline.data.reid_layouts import find_layout, holds_identities
from sightline.data.reid_names import MARKET_PATTERN, MSMT_PATTERN, parse_names
from sightline.data.reid_settings import ReidDataConfig
from sightline.data.splits_file import write_splits
from sightline.errors import ConfigError, DataError


def config(**values: Any) -> ReidDataConfig:
    return ReidDataConfig.model_validate_json(json.dumps(values, default=str))


def pictures(root: Path, *names: str) -> Path:
    """Pictures whose content differs by name."""
    for name in names:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(zlib.crc32(name.encode()))
        Image.fromarray(random.integers(0, 256, (4, 2, 3), np.uint8)).save(target)
    return root


def rows(manifest: Manifest) -> dict[str, tuple[str, str, str]]:
    """Id -> split, identity and camera."""
    return {
        str(manifest.id[row]): (
            manifest.split_text(row),
            manifest.label.text(row),
            manifest.camera.text(row),
        )
        for row in range(len(manifest))
    }


def market(root: Path, folders: tuple[str, str, str] = ("bounding_box_train", "query",
                                                        "bounding_box_test")) -> Path:  # fmt: skip
    train, query, gallery = folders
    return pictures(
        root,
        f"{train}/0002_c1s1_000451_03.png",
        f"{train}/0002_c2s1_000452_03.png",
        f"{train}/0007_c3s3_000453_01.png",
        f"{query}/0011_c1s1_000001_00.png",
        f"{gallery}/0011_c4s1_000002_00.png",
        f"{gallery}/0000_c4s1_000003_00.png",
        f"{gallery}/-1_c4s1_000004_00.png",
    )


def msmt(root: Path) -> Path:
    listed = {
        "list_train.txt": ["0000/0000_000_01_0303morning_0008_0.png 0",
                           "0001/0001_000_02_0303morning_0008_0.png 1"],
        "list_val.txt": ["0000/0000_001_05_0303noon_0010_1.png 0"],
        "list_query.txt": ["0000/0000_000_03_0303morning_0020_0.png 0"],
        "list_gallery.txt": ["0000/0000_001_04_0303noon_0021_0.png 0",
                             "0005/0005_000_15_0303noon_0021_0.png 5"],
    }  # fmt: skip
    for name, lines in listed.items():
        folder = "train" if name in ("list_train.txt", "list_val.txt") else "test"
        pictures(root, *(f"{folder}/{line.split()[0]}" for line in lines))
        (root / name).write_text("\n".join(lines) + "\n")
    return root


def veri(root: Path) -> Path:
    listed = {
        "name_train.txt": ("image_train", ["0001_c001_00016450_0.png", "0003_c002_00016450_0.png"]),
        "name_query.txt": ("image_query", ["0002_c003_00016450_0.png"]),
        "name_test.txt": ("image_test", ["0002_c004_00016451_0.png", "0002_c003_00016450_0.png"]),
    }
    for name, (folder, lines) in listed.items():
        pictures(root, *(f"{folder}/{line}" for line in lines))
        (root / name).write_text("\n".join(lines))
    return root


# --- the section ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 5}, "folds is not read in re-identification: re-identification validates on"),
        ({"train_csv": "a", "sample_csv": "a"}, "sample_csv is not read"),
        ({"stratify": False}, "stratify is not read in re-identification: whole identities"),
        ({"root": "a", "group_pattern": "(a)"}, "group_pattern is not read"),
        ({"root": "a", "class_names": ["1"]}, "class_names is not read .*every identity"),
        ({"on_unvalidated_class": "note"}, "on_unvalidated_class is not read"),
        ({"train_csv": "a", "layout": "market"}, "layout is read only with root"),
        ({"manifest": "a", "camera_pattern": "(a)"}, "camera_pattern is read only with root or tr"),
        ({"digits": "a", "query_folder": "q"}, "query_folder is read only with root"),
        ({"root": "a", "layout": "folders", "name_pattern": "(?P<identity>a)"}, "name_pattern is "),
        ({"root": "a", "name_pattern": "(a)"}, "needs the named group .*it has none"),
        ({"root": "a", "name_pattern": "(?P<identity>a)(?P<day>b)"}, "it has day, identity"),
        ({"root": "a", "name_pattern": "(?P<identity>"}, "name_pattern is no regular expression"),
        ({"root": "a", "camera_pattern": "a"}, "exactly one group in round brackets, it has 0"),
        ({"root": "a", "camera_pattern": "(a"}, "camera_pattern is no regular expression"),
        ({"train_csv": "a", "camera_pattern": "(a)", "camera_col": "c"}, "both name cameras"),
        ({"layout": "markt"}, "market"),
    ],
)
def test_keys_that_nothing_would_read_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**values)


def test_defaults_are_those_of_the_task() -> None:
    section = config()
    assert (section.tree, section.fit) == ("identities", "stretch")
    assert section.augment.model_dump() == AugmentConfig(preset="reid").model_dump()


# --- names ---------------------------------------------------------------------------------------

numbers = st.integers(0, 9999)


@settings(deadline=None)
@given(numbers, numbers, numbers, st.integers(1, 6))
def test_names_of_market_give_identity_and_camera(
    identity: int, camera: int, frame: int, width: int
) -> None:
    name = f"query/{identity:0{width}d}_c{camera}s1_{frame:06d}_00.jpg"
    parsed = parse_names(np.array([name], TEXT), MARKET_PATTERN)
    assert parsed.identity == [f"{identity:0{width}d}"]
    assert parsed.camera == [str(camera)]
    assert not len(parsed.lost)


@settings(deadline=None)
@given(numbers, numbers, numbers)
def test_names_of_msmt_give_identity_and_camera(identity: int, track: int, camera: int) -> None:
    name = f"0000/{identity:04d}_{track:03d}_{camera:02d}_0303morning_0008_0.jpg"
    parsed = parse_names(np.array([name], TEXT), MSMT_PATTERN)
    assert (parsed.identity, parsed.camera) == ([f"{identity:04d}"], [f"{camera:02d}"])


@settings(deadline=None)
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=20), max_size=8))
def test_any_text_parses_or_is_named(names: list[str]) -> None:
    parsed = parse_names(np.array(names, TEXT), MARKET_PATTERN)
    assert len(parsed.identity) == len(parsed.camera) == len(names)
    assert [row for row, name in enumerate(parsed.identity) if not name] == parsed.lost.tolist()


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("cow-1_c1_001.png", MARKET_PATTERN),
        ("deer12_c1.png", MARKET_PATTERN),
        ("cow-1_000_01_x.png", MSMT_PATTERN),
    ],
)
def test_an_identity_begins_the_name(name: str, pattern: str) -> None:
    """The 1 of cow-1 is no number of an identity, and no junk."""
    assert parse_names(np.array([f"query/{name}"], TEXT), pattern) == ([""], [""], [0])


def test_animals_with_a_number_are_not_merged(tmp_path: Path) -> None:
    pictures(tmp_path, "cow-1_c1_1.png", "cow-1_c2_1.png", "deer-1_c1_1.png", "deer-2_c2_1.png")
    with pytest.raises(DataError, match="4 of 4 names do not say which identity") as caught:
        read_manifest(config(root=tmp_path))
    assert "data.name_pattern=REGEX" in str(caught.value.remedy)
    own = config(root=tmp_path, name_pattern=r"(?P<identity>\d+)_c(?P<camera>\d+)")
    assert rows(read_manifest(own))["deer-1_c1_1.png"] == ("", "1", "1")


def test_folders_of_a_path_are_no_part_of_a_name() -> None:
    assert parse_names(np.array(["0001_c1/x.jpg"], TEXT), MARKET_PATTERN).lost.tolist() == [0]


# --- the layout market ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folders",
    [
        ("bounding_box_train", "query", "bounding_box_test"),
        ("train", "query", "gallery"),
        ("image_train", "image_query", "image_test"),
        ("train", "query", "test"),
        ("Train", "Query", "Gallery"),
    ],
)
def test_flat_folders_in_the_layout_of_market(
    tmp_path: Path, folders: tuple[str, str, str]
) -> None:
    section = config(root=market(tmp_path, folders))
    manifest, notes = read_with_notes(section)
    train, query, gallery = folders
    assert rows(manifest) == {
        f"{train}/0002_c1s1_000451_03.png": ("train", "0002", "1"),
        f"{train}/0002_c2s1_000452_03.png": ("train", "0002", "2"),
        f"{train}/0007_c3s3_000453_01.png": ("train", "0007", "3"),
        f"{query}/0011_c1s1_000001_00.png": ("query", "0011", "1"),
        f"{gallery}/0011_c4s1_000002_00.png": ("gallery", "0011", "4"),
        f"{gallery}/0000_c4s1_000003_00.png": ("gallery", "0000", "4"),
    }
    assert notes == [
        f"The folder is read as market, because pictures lie flat in {train}, {query}, {gallery}.",
        "1 pictures of identity -1 (junk, as Market-1501 marks it) are left out.",
        "1 pictures of the gallery show identity 0, distractors that nobody asks for.",
    ]
    assert holds_identities(tmp_path)
    assert rows(read_manifest(section)) == rows(manifest)


def test_folders_may_have_names_of_their_own(tmp_path: Path) -> None:
    market(tmp_path, ("a", "b", "c"))
    section = config(root=tmp_path, train_folder="a", query_folder="b", gallery_folder="c")
    splits = {
        name.split("/")[0]: split for name, (split, *_) in rows(read_manifest(section)).items()
    }
    assert splits == {"a": "train", "b": "query", "c": "gallery"}
    with pytest.raises(DataError, match=r"(?s)b2 does not exist.*data.query_folder"):
        read_manifest(config(root=tmp_path, train_folder="a", query_folder="b2"))


def test_a_validation_folder_is_val_and_others_are_named(tmp_path: Path) -> None:
    market(tmp_path)
    pictures(tmp_path, "bounding_box_val/0099_c1s1_1.png", "gt_bbox/0011_c1s1_1.png")
    manifest, notes = read_with_notes(config(root=tmp_path))
    assert rows(manifest)["bounding_box_val/0099_c1s1_1.png"] == ("val", "0099", "1")
    assert notes[-1] == "Folders left out beside: gt_bbox."


def test_flat_train_and_test_without_a_query(tmp_path: Path) -> None:
    pictures(tmp_path, "train/1_c1.png", "train/2_c1.png", "test/3_c1.png", "test/3_c2.png")
    assert [split for split, *_ in rows(read_manifest(config(root=tmp_path))).values()] == [
        "train", "train", "test", "test",
    ]  # fmt: skip
    assert not holds_identities(tmp_path)  # It may as well be for another task.


def test_pictures_in_one_flat_folder_have_no_split(tmp_path: Path) -> None:
    pictures(tmp_path, "1_c1.png", "2_c1.png")
    assert rows(read_manifest(config(root=tmp_path))) == {
        "1_c1.png": ("", "1", "1"),
        "2_c1.png": ("", "2", "1"),
    }
    assert rows(read_manifest(config(root=tmp_path, layout="market"))).keys() == {
        "1_c1.png", "2_c1.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("folders", "splits"),
    [(("",), [""]), (("train/", "test/"), ["test", "train"])],
)
def test_distractors_without_a_gallery_are_left_out(
    tmp_path: Path, folders: tuple[str, ...], splits: list[str]
) -> None:
    names = ("0000_c1.png", "0000_c2.png", "0001_c1.png", "0002_c1.png")
    pictures(tmp_path, *(f"{folder}{name}" for folder in folders for name in names))
    manifest, notes = read_with_notes(config(root=tmp_path))
    assert [str(name) for name in manifest.label.names] == ["0001", "0002"]
    assert sorted({split for split, *_ in rows(manifest).values()}) == splits
    assert notes[1].startswith(f"{2 * len(folders)} pictures of identity 0 (distractors, as Market")


def test_distractors_are_learnt_and_validated_on_by_nobody(tmp_path: Path) -> None:
    pictures(market(tmp_path), "bounding_box_train/0000_c1s1_1.png", "bounding_box_val/00_c1.png",
             "bounding_box_val/0099_c1.png")  # fmt: skip
    manifest, notes = read_with_notes(config(root=tmp_path))
    zero = [split for split, name, _ in rows(manifest).values() if not name.strip("0")]
    assert zero == ["gallery"]
    assert notes[2].startswith("2 pictures of identity 0 (distractors")
    assert notes[3].startswith("1 pictures of the gallery show identity 0")
    for file in (tmp_path / "bounding_box_val").iterdir():
        file.rename(file.with_name(f"0000_c{file.name}"))
    with pytest.raises(DataError, match="bounding_box_val holds nothing but junk"):
        read_manifest(config(root=tmp_path))


def test_flat_pictures_beside_a_folder(tmp_path: Path) -> None:
    pictures(tmp_path, "0001_c1.png", "0001_c2.png", "0002_c1.png")
    (tmp_path / "notes").mkdir()
    with pytest.raises(DataError, match="3 pictures lie beside the folders notes") as caught:
        read_manifest(config(root=tmp_path, name_pattern=MARKET_PATTERN))
    assert "data.layout=market" in str(caught.value.remedy)
    assert len(read_manifest(config(root=tmp_path, layout="market"))) == 3


def test_one_identity_may_be_read(tmp_path: Path) -> None:
    """A gallery to be indexed may show one; training asks for two by itself."""
    flat = pictures(tmp_path / "flat", "1_c1.png", "1_c2.png")
    nested = pictures(tmp_path / "nested", "a/1.png", "a/2.png")
    table = pictures(tmp_path / "table", "1.png", "2.png") / "table.csv"
    table.write_text("ID,target\n1,a\n2,a\n")
    for section in (config(root=flat), config(root=nested), config(train_csv=table)):
        assert len(read_manifest(section)) == 2
        with pytest.raises(DataError, match="too few identities") as caught:
            prepare_dataset(section, seed=0)
        assert "or correct the folder, column or pattern" in str(caught.value.remedy)


def test_a_pattern_of_ones_own_may_have_no_camera(tmp_path: Path) -> None:
    pictures(tmp_path, "cow-a.1.png", "cow-a.2.png", "cow-b.1.png")
    section = config(root=tmp_path, name_pattern=r"(?P<identity>cow-\w)")
    assert set(rows(read_manifest(section)).values()) == {("", "cow-a", ""), ("", "cow-b", "")}
    with_days = section.model_copy(update={"camera_pattern": r"\.(\d)\."})
    assert rows(read_manifest(with_days))["cow-a.2.png"] == ("", "cow-a", "2")


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (["0001_000_01_x.png"], "these look like names of MSMT17: data.name_pattern='^(?P<id"),
        (["0001-x.png", "2_y.png"], "an identity and no camera: data.name_pattern='^(?P<id"),
        (["a/x.png", "b/y.png"], "say data.layout=folders"),
        (["cow.png"], "a table with data.train_csv=FILE"),
        (["1_c1.png", "x.png"], "rename these pictures or move them"),
    ],
)
def test_names_that_do_not_parse(tmp_path: Path, names: list[str], remedy: str) -> None:
    splits = ("train", "query", "gallery")
    pictures(tmp_path, *(f"{split}/{name}" for split in splits for name in names))
    with pytest.raises(DataError, match=r"\d of \d names do not say which identity") as caught:
        read_manifest(config(root=tmp_path, layout="market"))
    assert remedy in str(caught.value.remedy)
    assert MARKET_PATTERN in str(caught.value.expected)


def test_five_names_that_do_not_parse_are_shown(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"x{row}.png" for row in range(7)), "1_c1.png")
    with pytest.raises(DataError, match="7 of 8 names") as caught:
        read_manifest(config(root=tmp_path))
    assert caught.value.got == "x0.png, x1.png, x2.png, x3.png, x4.png and 2 more"


def test_wrong_folders_of_market(tmp_path: Path) -> None:
    root = pictures(tmp_path / "a", "bounding_box_train/1_c1.png", "bounding_box_test/1_c1.png")
    with pytest.raises(DataError, match="no query folder") as caught:
        read_manifest(config(root=root))
    assert f"data.root={root / 'bounding_box_train'} makes a test" in str(caught.value.remedy)
    root = pictures(tmp_path / "b", "query/1_c1.png", "gallery/1_c1.png")
    with pytest.raises(DataError, match="no train folder"):
        read_manifest(config(root=root))
    root = market(tmp_path / "c")
    for file in (root / "query").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="query holds no pictures"):
        read_manifest(config(root=root))
    pictures(root, "query/-1_c1.png")
    with pytest.raises(DataError, match="query holds nothing but junk"):
        read_manifest(config(root=root))
    pictures(root, "query/0000_c1.png")
    with pytest.raises(DataError, match="1 queries ask for identity 0"):
        read_manifest(config(root=root))
    root = pictures(tmp_path / "e", "train/1_c1.png", "query/1/a.png", "gallery/1_c1.png")
    with pytest.raises(DataError, match="Some splits hold pictures and others hold folders"):
        read_manifest(config(root=root))
    with pytest.raises(DataError, match="is not laid out as Market-1501"):
        read_manifest(config(root=pictures(tmp_path / "f", "x/1_c1.png"), layout="market"))


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(config(root=tmp_path / "gone"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file, not a folder"):
        read_manifest(config(root=tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither pictures nor folders"):
        read_manifest(config(root=tmp_path / "empty"))
    market(tmp_path / "set" / "Market-1501")
    with pytest.raises(DataError, match="one level below") as caught:
        read_manifest(config(root=tmp_path / "set"))
    assert caught.value.remedy == f"name that folder: data.root={tmp_path / 'set' / 'Market-1501'}"
    with pytest.raises(ConfigError, match="names no data"):
        read_manifest(config())


# --- lists ---------------------------------------------------------------------------------------


def test_the_lists_of_msmt17(tmp_path: Path) -> None:
    manifest, notes = read_with_notes(config(root=msmt(tmp_path)))
    assert rows(manifest) == {
        "train/0000/0000_000_01_0303morning_0008_0.png": ("train", "0", "01"),
        "train/0001/0001_000_02_0303morning_0008_0.png": ("train", "1", "02"),
        "train/0000/0000_001_05_0303noon_0010_1.png": ("train", "0", "05"),
        "test/0000/0000_000_03_0303morning_0020_0.png": ("query", "test-0", "03"),
        "test/0000/0000_001_04_0303noon_0021_0.png": ("gallery", "test-0", "04"),
        "test/0005/0005_000_15_0303noon_0021_0.png": ("gallery", "test-5", "15"),
    }
    assert notes == [
        "The folder is read as lists, because it holds list_train.txt, list_val.txt, "
        "list_query.txt, list_gallery.txt.",
        "1 pictures of the list of val join train, because 1 of its 1 identities are in train "
        "too; validation is carved from whole identities.",
        "2 identities of query and gallery are called test-N: 1 of their numbers stand for "
        "someone else in train.",
    ]
    assert holds_identities(tmp_path)


def test_a_list_of_val_with_people_of_its_own_is_val(tmp_path: Path) -> None:
    pictures(msmt(tmp_path), "train/0009/0009_001_05_0303noon_0010_1.png")
    (tmp_path / "list_val.txt").write_text("0009/0009_001_05_0303noon_0010_1.png 9\n")
    found = rows(read_manifest(config(root=tmp_path)))
    assert found["train/0009/0009_001_05_0303noon_0010_1.png"] == ("val", "9", "05")


def test_pictures_of_lists_may_lie_elsewhere(tmp_path: Path) -> None:
    msmt(tmp_path)
    (tmp_path / "train").rename(tmp_path / "mask_train_v2")
    (tmp_path / "test").rename(tmp_path / "people")
    with pytest.raises(DataError, match=r"no folder with the pictures of query"):
        read_manifest(config(root=tmp_path))
    section = config(root=tmp_path, query_folder="people", gallery_folder="people")
    assert {name.split("/")[0] for name in rows(read_manifest(section))} == {
        "mask_train_v2", "people",
    }  # fmt: skip


def test_the_lists_of_veri(tmp_path: Path) -> None:
    manifest, notes = read_with_notes(config(root=veri(tmp_path)))
    assert rows(manifest) == {
        "image_train/0001_c001_00016450_0.png": ("train", "0001", "001"),
        "image_train/0003_c002_00016450_0.png": ("train", "0003", "002"),
        "image_query/0002_c003_00016450_0.png": ("query", "0002", "003"),
        "image_test/0002_c004_00016451_0.png": ("gallery", "0002", "004"),
        "image_test/0002_c003_00016450_0.png": ("gallery", "0002", "003"),
    }
    assert len(notes) == 1
    without_lists = config(root=tmp_path, layout="market")
    assert rows(read_manifest(without_lists)) == rows(manifest)


def test_wrong_lists(tmp_path: Path) -> None:
    root = msmt(tmp_path)
    (root / "list_query.txt").rename(root / "gone.txt")
    with pytest.raises(DataError, match="no complete set of lists"):
        read_manifest(config(root=root))
    (root / "gone.txt").rename(root / "list_query.txt")
    lines = (root / "list_query.txt").read_text()
    (root / "list_query.txt").write_text("")
    with pytest.raises(DataError, match=r"list_query\.txt is empty"):
        read_manifest(config(root=root))
    (root / "list_query.txt").write_text(lines + "\nREADME 3\n0001/a.png\n")
    with pytest.raises(DataError, match="2 lines of") as caught:
        read_manifest(config(root=root))
    assert "line 3: 'README 3', line 4: '0001/a.png'" in str(caught.value.got)
    (root / "list_query.txt").write_text(lines + lines)
    with pytest.raises(DataError, match="1 pictures are listed more than once") as caught:
        read_manifest(config(root=root))
    assert "(list_query.txt and list_query.txt)" in str(caught.value.got)
    (root / "list_query.txt").write_text(lines.split()[0])
    with pytest.raises(DataError, match="Some lists give the identities"):
        read_manifest(config(root=root))
    (root / "list_query.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(config(root=root))
    (root / "list_query.txt").write_text(lines + "0007/0007_000_01_a.png 7\n")
    with pytest.raises(DataError, match=r"(?s)1 of 7 listed pictures are not there.*0007_000_01_a"):
        read_manifest(config(root=root))
    assert len(read_manifest(config(root=root), require_files=False)) == 7


# --- a folder per identity, tables ---------------------------------------------------------------


def test_a_folder_per_identity(tmp_path: Path) -> None:
    names = ("train/b/1_left.png", "train/c/1_left.png", "test/d/4_left.png", "test/d/5_left.png")
    pictures(tmp_path, *names)
    section = config(root=tmp_path, camera_pattern=r"/(\d+)_")
    manifest, notes = read_with_notes(section)
    assert rows(manifest) == {
        "train/b/1_left.png": ("train", "b", "1"),
        "train/c/1_left.png": ("train", "c", "1"),
        "test/d/4_left.png": ("test", "d", "4"),
        "test/d/5_left.png": ("test", "d", "5"),
    }
    assert notes == [
        "The folder is read as folders, because each folder of pictures is named after an identity."
    ]
    assert (read_manifest(config(root=tmp_path)).camera.codes == -1).all()
    lost = config(root=tmp_path, camera_pattern=r"/([1-4])_")
    with pytest.raises(DataError, match="finds no camera in 1 of 4 ids") as caught:
        read_manifest(lost)
    assert caught.value.got == "test/d/5_left.png"
    with pytest.raises(ConfigError, match=r"data\.name_pattern is not read where each"):
        read_manifest(config(root=tmp_path, name_pattern="(?P<identity>a)"))


def test_folders_of_query_and_gallery(tmp_path: Path) -> None:
    names = ["train/b/1.png", "train/c/1.png", "query/d/4.png"]
    pictures(tmp_path, *names, "gallery/d/5.png", "gallery/e/5.png")
    assert holds_identities(tmp_path)
    assert find_layout(tmp_path, config(root=tmp_path)).layout == "folders"
    splits = [split for split, *_ in rows(read_manifest(config(root=tmp_path))).values()]
    assert sorted(splits) == ["gallery", "gallery", "query", "train", "train"]
    (tmp_path / "gallery").rename(tmp_path / "test")
    manifest, notes = read_with_notes(config(root=tmp_path))
    assert len(manifest.rows("gallery")) == 2
    assert notes[-1] == "Beside the query the pictures of test are the gallery."
    (tmp_path / "train").rename(tmp_path / "unused")
    with pytest.raises(DataError, match="a query and no training pictures"):
        read_manifest(config(root=tmp_path))


def test_a_test_beside_query_and_gallery_is_named(tmp_path: Path) -> None:
    names = ["train/b/1.png", "train/c/1.png", "query/d/4.png", "gallery/d/5.png"]
    pictures(tmp_path, *names, "test/e/1.png", "test/e/2.png")
    section = config(root=tmp_path)
    said = read_with_notes(section)[1][-1]
    assert said.startswith("2 pictures of test are read by nobody, because query and gallery are")
    write_splits(read_manifest(section), tmp_path / "splits.csv")
    assert read_with_notes(config(manifest=tmp_path / "splits.csv"))[1] == [said]


def test_a_sample_without_identity_is_refused(tmp_path: Path) -> None:
    manifest = read_manifest(config(root=market(tmp_path)))
    write_splits(manifest, tmp_path / "splits.csv")
    text = (tmp_path / "splits.csv").read_text()
    (tmp_path / "splits.csv").write_text(text.replace(",0011,", ",,"))
    section = config(manifest=tmp_path / "splits.csv")
    with pytest.raises(DataError, match="2 samples have no label") as caught:
        prepare_dataset(section, seed=0)
    assert "query/0011_c1s1_000001_00.png" in str(caught.value.got)
    assert len(read_manifest(section, require_files=False)) == 6


def test_a_table_with_cameras_and_splits(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"{row}.png" for row in range(4)))
    table = tmp_path / "table.csv"
    table.write_text(
        "ID,target,where,split\n0,a,gate,train\n1,b,gate,train\n2,c,gate,query\n3,c,yard,gallery\n"
    )
    section = config(train_csv=table, camera_col="where", split_col="split")
    assert rows(read_manifest(section)) == {
        "0": ("train", "a", "gate"),
        "1": ("train", "b", "gate"),
        "2": ("query", "c", "gate"),
        "3": ("gallery", "c", "yard"),
    }
    by_id = config(train_csv=table, split_col="split", camera_pattern=r"(\d)")
    assert rows(read_manifest(by_id))["3"] == ("gallery", "c", "3")


def test_a_manifest_keeps_cameras_and_splits(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"bounding_box_train/{name}_c{row}.png"
                         for name in (3, 4, 5, 6) for row in (1, 2)))  # fmt: skip
    dataset = prepare_dataset(config(root=market(tmp_path)), seed=1)
    write_splits(dataset.manifest, tmp_path / "splits.csv", hashes=dataset.hashes)
    again = prepare_dataset(config(manifest=tmp_path / "splits.csv"), seed=2)
    assert rows(again.manifest) == rows(dataset.manifest)
    assert {split for split, *_ in rows(again.manifest).values()} == {
        "fit", "val", "query", "gallery",
    }  # fmt: skip
