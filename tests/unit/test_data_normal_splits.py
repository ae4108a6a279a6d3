"""Splits of normal pictures and defects: what is given stays, and fit never holds a defect."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.data.defect_settings import AnomalyDataConfig
from sightline.data.manifest import Manifest
from sightline.data.normal_splits import assign_normal_splits
from sightline.errors import DataError


def manifest(rows: list[tuple[str, str]], group: list[str] | None = None) -> Manifest:
    """Rows of a label and a split."""
    ids = [f"{number:03d}" for number in range(len(rows))]
    return Manifest.build(
        Path("data"),
        id=ids,
        path=ids,
        label=[label for label, _ in rows],
        split=[split for _, split in rows],
        group=group,
    )


def assigned(
    table: Manifest,
    *,
    val: float = 0.2,
    test: float = 0.15,
    seed: int = 0,
    hold_out: Literal["series", "single"] = "series",
) -> tuple[Counter[tuple[str, str]], list[str], Manifest]:
    config = AnomalyDataConfig(
        train_csv=Path("table.csv"), test_fraction=test, val_fraction=val, hold_out=hold_out
    )
    result, notes = assign_normal_splits(table, config, seed=seed)
    counts = Counter((result.label.text(row), result.split_text(row)) for row in range(len(result)))
    return counts, notes, result


def test_validation_is_carved_from_the_normal_training_pictures() -> None:
    table = manifest([("good", "train")] * 40 + [("good", "test")] * 7 + [("cut", "test")] * 9)
    counts, notes, _ = assigned(table)
    assert counts == {
        ("good", "fit"): 32,
        ("good", "val"): 8,
        ("good", "test"): 7,
        ("cut", "test"): 9,
    }
    assert notes == ["9 of 9 defects of test have no mask; pixel scores leave them out."]


def test_without_splits_defects_are_test_and_normal_pictures_are_divided() -> None:
    counts, notes, _ = assigned(manifest([("good", "")] * 40 + [("cut", "")] * 5))
    assert counts == {
        ("good", "fit"): 26,
        ("good", "val"): 8,
        ("good", "test"): 6,
        ("cut", "test"): 5,
    }
    assert "its 5 defects are in test and its normal pictures are divided" in notes[0]


def test_a_given_validation_is_kept_and_may_hold_defects() -> None:
    rows = [("good", "train")] * 10 + [("good", "val")] * 2 + [("cut", "val")] * 3
    counts, notes, _ = assigned(manifest([*rows, ("cut", ""), ("good", "test")]))
    assert counts == {
        ("good", "fit"): 10,
        ("good", "val"): 2,
        ("cut", "val"): 3,
        ("cut", "test"): 1,
        ("good", "test"): 1,
    }
    assert "1 defects without a split are in test." in notes


def test_a_validation_of_defects_only_is_remarked() -> None:
    counts, notes, _ = assigned(manifest([("good", "train")] * 10 + [("cut", "val")] * 3))
    assert counts[("good", "fit")] == 10
    assert any("3 defects and no normal picture, so no threshold" in note for note in notes)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("cut", "test")] * 3, "The test has 3 defects and no normal picture"),
        ([("good", "test")] * 4, "The test has 4 normal pictures and no defect"),
        ([], "There is no test split"),
    ],
)
def test_a_test_of_one_class_is_allowed_and_remarked(
    rows: list[tuple[str, str]], sentence: str
) -> None:
    _, notes, _ = assigned(manifest([("good", "train")] * 10 + rows))
    assert any(note.startswith(sentence) for note in notes)


@pytest.mark.parametrize("split", ["train", "fit"])
def test_defects_in_train_are_named(split: str) -> None:
    with pytest.raises(DataError, match=r"1 defects are in train[\s\S]*010 \(cut\)"):
        assigned(manifest([("good", "train")] * 10 + [("cut", split)]))


def test_without_normal_training_pictures_there_is_nothing_to_learn() -> None:
    for rows in ([("cut", "")] * 3, [("good", "test")] * 3, [("cut", "test"), ("good", "val")]):
        with pytest.raises(DataError, match="both normal and for training"):
            assigned(manifest(rows))
    with pytest.raises(DataError, match="shares a group with a defect"):
        assigned(manifest([("good", ""), ("cut", "")], group=["a", "a"]))


def test_a_normal_picture_goes_with_the_defect_of_its_group() -> None:
    table = manifest([("good", "")] * 20 + [("cut", "")], group=["part", *[""] * 19, "part"])
    _, notes, result = assigned(table)
    assert result.split_text(0) == result.split_text(20) == "test"
    assert "1 normal pictures share a group with a defect and are in test with it." in notes


@given(
    st.lists(
        st.tuples(st.sampled_from(["good", "cut", "dent"]), st.sampled_from(["", "val", "test"])),
        max_size=25,
    ),
    st.sampled_from(["", "train"]),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_fit_is_normal_what_is_given_stays_and_the_order_of_rows_does_not_matter(
    rows: list[tuple[str, str]], split: str, seed: int
) -> None:
    table = manifest([*rows, *[("good", split)] * 8])
    _, _, result = assigned(table, seed=seed)
    names = [result.label.text(row) for row in result.rows("fit")]
    assert set(names) == {"good"}
    assert not (result.split == 0).any()
    kept = np.isin(table.split, table.split[table.rows("val", "test")])
    assert (result.split[kept] == table.split[kept]).all()
    order = np.random.default_rng(seed).permutation(len(table))
    _, _, shuffled = assigned(table.select(order), seed=seed)
    assert (shuffled.split == result.split[order]).all()


def test_pictures_of_one_burst_are_not_divided() -> None:
    # Four shots of each of 30 pieces, the numbers leap between pieces.
    names = [f"train/good/exp{shot}_{1000 * piece + shot}.png" for piece in range(30)
             for shot in range(4)]  # fmt: skip
    table = Manifest.build(
        Path("data"), id=names, path=names, label=["good"] * 120, split=["train"] * 120
    )
    counts, _, result = assigned(table)
    assert abs(counts["good", "val"] - 24) <= 4
    splits = [result.split_text(row) for row in range(120)]
    assert all(len(set(splits[4 * piece : 4 * piece + 4])) == 1 for piece in range(30))
    assert (result.group.codes < 0).all(), "series are no groups of the data"
    _, _, single = assigned(table, hold_out="single")
    alone = [single.split_text(row) for row in range(120)]
    assert any(len(set(alone[4 * piece : 4 * piece + 4])) > 1 for piece in range(30))


def test_groups_that_the_data_gives_come_before_series() -> None:
    groups = [f"piece {row % 10}" for row in range(60)]
    table = manifest([("good", "train")] * 60, groups)
    _, _, result = assigned(table)
    for name in set(groups):
        parts = {result.split_text(row) for row in range(60) if groups[row] == name}
        assert len(parts) == 1


@pytest.mark.parametrize("count", [3, 5, 12, 24, 31])
def test_small_sets_have_a_validation_of_about_its_share(count: int) -> None:
    names = [f"train/good/normal-{number}.jpg" for number in range(1, count + 1)]
    table = Manifest.build(
        Path("data"), id=names, path=names, label=["good"] * count, split=["train"] * count
    )
    counts, _, _ = assigned(table)
    assert abs(counts["good", "val"] - 0.2 * count) <= 1.5
    assert counts["good", "val"] >= 1
