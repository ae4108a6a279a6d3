"""Splits and folds: groups stay whole, the order of rows is irrelevant, every class is trained."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.data.dataset import prepare_dataset
from sightline.data.fingerprints import digests
from sightline.data.folds import assign_folds, use_fold
from sightline.data.groups import group_duplicates
from sightline.data.manifest import Manifest
from sightline.data.settings import DataConfig
from sightline.data.splits import assign_splits
from sightline.data.splits_file import read_splits, write_splits
from sightline.errors import ConfigError, DataError

Rows = list[tuple[str, str, str]]
ROOT = Path("pictures")


def manifest(rows: Rows, *, split: list[str] | None = None, fold: Any = None) -> Manifest:
    """A manifest of (id, label, group) rows."""
    ids, labels, groups = ([row[column] for row in rows] for column in range(3))
    return Manifest.build(
        ROOT, id=ids, path=ids, label=labels, group=groups, split=split, fold=fold
    )


def plain(count: int, *labels: str) -> Rows:
    return [(f"{label}{row:03d}", label, "") for label in labels for row in range(count)]


def carved(rows: Manifest, seed: int = 0, **options: Any) -> tuple[dict[str, str], list[str]]:
    values = {"test_fraction": 0.2, "val_fraction": 0.2, **options}
    result, notes = assign_splits(rows, seed=seed, **values)
    return {str(result.id[row]): result.split_text(row) for row in range(len(result))}, notes


@st.composite
def tables(draw: st.DrawFn) -> Rows:
    cells = draw(
        st.lists(
            st.tuples(st.sampled_from("abcd"), st.sampled_from(["", *"pqrstuvwxyz"])),
            min_size=1,
            max_size=60,
        )
    )
    return [(f"i{row}", label, group) for row, (label, group) in enumerate(cells)]


@settings(max_examples=150, deadline=None)
@given(
    rows=tables(),
    seed=st.integers(0, 2**31),
    fractions=st.sampled_from([(0.15, 0.15), (0.4, 0.4), (0.0, 0.3), (0.5, 0.0), (0.05, 0.9)]),
    stratify=st.booleans(),
    shuffle=st.randoms(use_true_random=False),
)
def test_properties_of_carved_splits(
    rows: Rows, seed: int, fractions: tuple[float, float], stratify: bool, shuffle: Any
) -> None:
    """RET-2 and the decisions of retrieval.md on splits."""
    options = {"test_fraction": fractions[0], "val_fraction": fractions[1], "stratify": stratify}
    split, _ = carved(manifest(rows), seed, **options)
    assert set(split.values()) <= {"fit", "val", "test"}
    for group in {row[2] for row in rows} - {""}:
        assert len({split[name] for name, _, other in rows if other == group}) == 1
    for label in {row[1] for row in rows}:
        assert "fit" in {split[name] for name, other, _ in rows if other == label}
    again = list(rows)
    shuffle.shuffle(again)
    assert carved(manifest(again), seed, **options)[0] == split
    if fractions[0] == 0:
        assert "test" not in split.values()


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    share=st.sampled_from([0.02, 0.2]),
    seed=st.integers(0, 99),
)
def test_three_groups_are_in_every_split_and_shares_are_met(
    sizes: list[int], share: float, seed: int
) -> None:
    rows = [
        (f"{label}-{row}", f"{label}", "")
        for label, size in enumerate(sizes)
        for row in range(size)
    ]
    split, notes = carved(manifest(rows), seed, test_fraction=share, val_fraction=share)
    assert notes == []
    for label, size in enumerate(sizes):
        counts = Counter(split[f"{label}-{row}"] for row in range(size))
        for name in ("val", "test"):
            assert counts[name] >= 1
            assert abs(counts[name] - share * size) < 1


def test_shares_count_pictures_not_groups() -> None:
    rows = [(f"big{row}", "a", "big") for row in range(50)]
    rows += [(f"s{row}", "a", f"g{row}") for row in range(50)] + plain(10, "b")
    for seed in range(10):
        split, _ = carved(manifest(rows), seed, test_fraction=0.1, val_fraction=0.1)
        counts = Counter(split[name] for name, label, _ in rows if label == "a")
        assert (counts["test"], counts["val"]) == (10, 10)


def test_the_seed_changes_the_choice() -> None:
    rows = manifest(plain(20, "a", "b"))
    assert carved(rows, 1)[0] == carved(rows, 1)[0]
    assert carved(rows, 1)[0] != carved(rows, 2)[0]


def test_small_classes_are_named() -> None:
    rows = [
        *plain(5, "a"),
        *plain(2, "b"),
        ("c0", "c", "one"),
        ("c1", "c", "one"),
        ("c2", "c", "one"),
    ]
    split, notes = carved(manifest(rows))
    assert len(notes) == 1
    assert "2 classes have fewer than 3 groups" in notes[0]
    assert "b (2), c (1)" in notes[0]
    assert {split[name] for name in ("c0", "c1", "c2")} == {"fit"}


def test_a_class_inside_another_classes_group_stays_in_training() -> None:
    rows = [*plain(10, "a"), ("x0", "a", "mixed"), ("x1", "a", "mixed"), ("x2", "rare", "mixed")]
    for seed in range(20):
        split, _ = carved(manifest(rows), seed, test_fraction=0.4, val_fraction=0.4)
        assert {split[name] for name in ("x0", "x1", "x2")} == {"fit"}


def test_a_given_test_stays_and_validation_comes_from_train() -> None:
    rows = plain(10, "a", "b")
    given_split = ["test" if name in ("a000", "b001") else "train" for name, _, _ in rows]
    split, _ = carved(manifest(rows, split=given_split))
    assert {name for name, part in split.items() if part == "test"} == {"a000", "b001"}
    assert Counter(split.values()) == {"fit": 14, "val": 4, "test": 2}


def test_given_validation_is_kept_and_no_test_invented() -> None:
    rows = plain(5, "a", "b")
    given_split = ["val" if row < 1 else "train" for _ in "ab" for row in range(5)]
    split, notes = carved(manifest(rows, split=given_split))
    assert Counter(split.values()) == {"val": 2, "fit": 8}
    assert "gives splits without a test" in notes[0]


def test_query_and_gallery_are_left_alone() -> None:
    rows = [*plain(5, "a", "b"), ("q", "c", ""), ("g", "c", "")]
    split, notes = carved(manifest(rows, split=["train"] * 10 + ["query", "gallery"]))
    assert (split["q"], split["g"], notes) == ("query", "gallery", [])
    assert Counter(split.values())["val"] == 2


def test_groups_divided_by_the_data_itself_are_named() -> None:
    rows = [("1", "a", "g"), ("2", "a", "g"), ("3", "b", "h"), ("4", "b", "k"), ("5", "a", "m")]
    _, notes = carved(manifest(rows, split=["train", "test", "train", "val", "train"]))
    assert "divide 1 groups" in notes[0]
    assert notes[0].endswith("g.")


def test_impossible_splits_are_refused() -> None:
    rows = plain(5, "a", "b")
    with pytest.raises(ConfigError, match=r"leave nothing to train on[\s\S]*val_fraction=0.5"):
        carved(manifest(rows), test_fraction=0.5, val_fraction=0.5)
    with pytest.raises(DataError, match="No sample of 10 is left to train on"):
        carved(manifest(rows, split=["test"] * 10))


# --- folds ---------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    groups=st.lists(st.sampled_from(["", *"pqrstuvw"]), min_size=40, max_size=40),
    seed=st.integers(0, 1000),
    shuffle=st.randoms(use_true_random=False),
)
def test_properties_of_folds(groups: list[str], seed: int, shuffle: Any) -> None:
    """CLS-31."""
    rows = plain(20, "a", "b")
    rows = [
        (name, label, f"{label}{group}" if group else "")
        for (name, label, _), group in zip(rows, groups, strict=True)
    ]
    rows += [(f"{label}-alone{row}", label, "") for label in "ab" for row in range(3)]
    result = assign_folds(manifest(rows), 3, seed)
    fold = dict(zip(result.id.tolist(), result.fold.tolist(), strict=True))
    assert set(fold.values()) == {0, 1, 2}
    for group in {row[2] for row in rows} - {""}:
        assert len({fold[name] for name, _, other in rows if other == group}) == 1
    shuffle.shuffle(rows)
    again = assign_folds(manifest(rows), 3, seed)
    assert dict(zip(again.id.tolist(), again.fold.tolist(), strict=True)) == fold


@pytest.mark.parametrize("stratify", [True, False])
def test_folds_leave_the_test_out_and_become_splits(stratify: bool) -> None:
    rows = plain(10, "a", "b")
    split = ["test" if row < 2 else "fit" for _ in "ab" for row in range(10)]
    result = assign_folds(manifest(rows, split=split), 4, 0, stratify=stratify)
    assert [int(row) for row in result.fold[result.rows("test")]] == [-1] * 4
    assert Counter(result.fold[result.rows("fit")].tolist()) == dict.fromkeys(range(4), 4)
    first = use_fold(result, 1)
    assert first.rows("val").tolist() == np.flatnonzero(result.fold == 1).tolist()
    assert (len(first.rows("fit")), len(first.rows("test"))) == (12, 4)


def test_given_folds_are_kept() -> None:
    fold = [row % 2 for _ in "ab" for row in range(4)]
    assert assign_folds(manifest(plain(4, "a", "b"), fold=fold), 2, 0).fold.tolist() == fold


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ([0, 1, 0, 1, 0, 1, 0, -1], r"1 of 8 rows outside the test have no fold[\s\S]*b003"),
        ([0, 1, 0, 2, 0, 1, 0, 1], r"has the folds 0, 1, 2\.[\s\S]*0 to 1"),
        ([0, 0, 0, 0, 1, 1, 1, 1], "2 classes lie in one fold alone"),
        ([0, 1, 0, 1, 0, 1, 1, 0], r"1 groups lie in several folds[\s\S]*: shared\."),
    ],
)
def test_what_is_wrong_with_given_folds(fold: list[int], message: str) -> None:
    rows = plain(4, "a", "b")
    rows[6], rows[7] = ("b002", "b", "shared"), ("b003", "b", "shared")
    with pytest.raises(DataError, match=message):
        assign_folds(manifest(rows, fold=fold), 2, 0)


def test_classes_smaller_than_the_folds_are_named() -> None:
    rows = [*plain(5, "a"), *plain(2, "b")]
    with pytest.raises(DataError, match=r"1 classes have fewer pictures than folds: b \(2\)"):
        assign_folds(manifest(rows), 3, 0)
    rows = [(name, label, label if label == "b" else "") for name, label, _ in plain(5, "a", "b")]
    with pytest.raises(DataError, match=r"fewer groups than folds: b \(1\)[\s\S]*data\.folds=2"):
        assign_folds(manifest(rows), 3, 0)
    with pytest.raises(ConfigError, match="at least 2 folds"):
        assign_folds(manifest(rows), 1, 0)


# --- identical files -----------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(["", *"pqrs"])), min_size=1, max_size=25
    ),
    shuffle=st.randoms(use_true_random=False),
)
def test_merged_groups_are_the_connected_ones(cells: list[tuple[int, str]], shuffle: Any) -> None:
    rows = [(f"i{row:02d}", content, group) for row, (content, group) in enumerate(cells)]
    merged = _merge(rows)
    linked = {name: {name} for name, _, _ in rows}
    for _ in rows:
        for one in rows:
            for other in rows:
                if one[1] == other[1] or (one[2] and one[2] == other[2]):
                    together = linked[one[0]] | linked[other[0]]
                    for name in together:
                        linked[name] = together
    for one in rows:
        for other in rows:
            if one is not other:
                same = merged[one[0]] == merged[other[0]] != ""
                assert same == (other[0] in linked[one[0]])
    shuffle.shuffle(rows)
    assert _merge(rows) == merged


def _merge(rows: list[tuple[str, int, str]]) -> dict[str, str]:
    table = manifest([(name, "a", group) for name, _, group in rows])
    result = group_duplicates(table, np.array([[7, content] for _, content, _ in rows], np.uint64))
    return {str(result.id[row]): result.group.text(row) for row in range(len(result))}


def test_without_copies_nothing_changes() -> None:
    table = manifest([("1", "a", "g"), ("2", "a", "g"), ("3", "b", "")])
    assert group_duplicates(table, np.array([[1, 1], [1, 2], [2, 1]], np.uint64)) is table


# --- the file of splits, and the whole way -------------------------------------------------------


def _folder(root: Path, *, count: int = 6) -> Path:
    for label in "ab":
        (root / label).mkdir(parents=True)
        for row in range(count):
            shade = (ord(label) + 7 * row, 0, 0)
            Image.new("RGB", (4, 4), shade).save(root / label / f"{row}.png")
    (root / "b" / "copy.png").write_bytes((root / "a" / "0.png").read_bytes())
    return root


def _config(**values: Any) -> DataConfig:
    return DataConfig.model_validate_json(json.dumps(values, default=str))


def prepared(config: DataConfig, seed: int) -> Manifest:
    return prepare_dataset(config, seed=seed).manifest


def _splits(table: Manifest) -> dict[str, str]:
    return {str(table.id[row]): table.split_text(row) for row in range(len(table))}


def test_prepared_data_keeps_copies_together(tmp_path: Path) -> None:
    root = _folder(tmp_path / "data")
    for seed in range(8):
        table = prepared(_config(root=root), seed=seed)
        split = _splits(table)
        assert split["a/0.png"] == split["b/copy.png"]
        assert set(split.values()) == {"fit", "val", "test"}
    table = prepared(_config(root=root, folds=3, valid_fold="all"), seed=0)
    assert Counter(table.split_text(row) for row in range(len(table))).keys() == {"fit", "test"}
    assert set(table.fold[table.rows("fit")].tolist()) == {0, 1, 2}


def test_written_splits_are_used_as_they_are(tmp_path: Path) -> None:
    root = _folder(tmp_path / "data")
    table = prepared(_config(root=root), seed=3)
    file = tmp_path / "made" / "splits.csv"
    file.parent.mkdir()
    write_splits(table, file, hashes=digests(table))
    assert [entry.name for entry in file.parent.iterdir()] == ["splits.csv"]
    again = prepared(_config(manifest=file), seed=99)
    assert _splits(again) == _splits(table)
    assert all(again.file(row).is_file() for row in range(len(again)))
    assert [again.group.text(row) for row in range(13)] == [
        table.group.text(row) for row in range(13)
    ]
    (tmp_path / "data").rename(tmp_path / "made" / "data")
    file.write_text(file.read_text().replace("../data/", "data/"))
    assert _splits(prepared(_config(manifest=file), seed=0)) == _splits(table)


def test_changed_and_missing_files_are_named(tmp_path: Path) -> None:
    root = _folder(tmp_path / "data")
    table = prepared(_config(root=root), seed=3)
    file = tmp_path / "splits.csv"
    write_splits(table, file, hashes=digests(table))
    (root / "a" / "3.png").write_bytes((root / "a" / "4.png").read_bytes())
    with pytest.raises(DataError, match=r"1 of 13 files are not those[\s\S]*a/3\.png"):
        prepared(_config(manifest=file), seed=0)
    prepared(_config(manifest=file, verify_files=False), seed=0)
    (root / "a" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 of 13 files cannot be read[\s\S]*a/3\.png \(No such"):
        read_splits(file)


def test_what_is_wrong_with_a_file_of_splits(tmp_path: Path) -> None:
    file = tmp_path / "splits.csv"
    file.write_text("id,path,label\n1,1.png,a\n")
    with pytest.raises(DataError, match=r"no column 'group'[\s\S]*sightline split"):
        read_splits(file)
    file.write_text("id,path,label,group,camera,split,fold,mask\n")
    with pytest.raises(DataError, match="a header and no rows"):
        read_splits(file)
    with pytest.raises(DataError, match=r"cannot be written[\s\S]*a folder you may write to"):
        write_splits(manifest(plain(2, "a")), tmp_path / "nowhere" / "splits.csv")
