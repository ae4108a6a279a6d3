"""The manifest: categories, unique ids, selection, the file it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.manifest import TEXT, Category, Manifest, shortened
from sightline.data.splits_file import read_splits
from sightline.errors import DataError

pytestmark = pytest.mark.phase_01

ROOT = Path("pictures")


@given(st.lists(st.text(alphabet="abé\N{SNOWMAN}", max_size=4), min_size=1))
def test_category_returns_the_text_it_was_made_from(values: list[str]) -> None:
    column = Category.encode(values)
    assert [column.text(row) for row in range(len(column))] == values
    assert column.names.tolist() == sorted(set(values) - {""})


def test_selected_rows_keep_their_codes() -> None:
    column = Category.encode(["b", "a", "", "c"])
    chosen = column.select([3, 2])
    assert [chosen.text(0), chosen.text(1)] == ["c", ""]
    assert chosen.codes.tolist() == [2, -1]


def test_repeated_ids_are_named() -> None:
    with pytest.raises(DataError, match=r"1 sample ids occur more than once[\s\S]*got: +b\b"):
        Manifest.build(ROOT, id=["a", "b", "b"], path=["1", "2", "3"])


def test_unknown_split_names_are_named() -> None:
    with pytest.raises(DataError, match="unknown names: traning"):
        Manifest.build(ROOT, id=["a", "b"], path=["1", "2"], split=["traning", "test"])


def test_rows_of_a_split_and_selection_by_mask() -> None:
    manifest = Manifest.build(
        ROOT,
        id=["a", "b", "c"],
        path=["1", "2", "3"],
        label=["x", "y", "x"],
        split=["fit", "", "test"],
    )
    assert manifest.rows("fit", "test").tolist() == [0, 2]
    chosen = manifest.select(np.array([False, True, True]))
    assert chosen.id.tolist() == ["b", "c"]
    assert [chosen.split_text(0), chosen.split_text(1)] == ["", "test"]
    assert chosen.file(1) == ROOT / "3"


def test_columns_that_are_left_out_are_empty() -> None:
    manifest = Manifest.build(ROOT, id=["a"], path=["1"])
    assert (manifest.label.text(0), manifest.group.text(0), manifest.split_text(0)) == ("", "", "")
    assert manifest.fold.tolist() == [-1]
    assert manifest.mask.tolist() == [""]


def test_the_written_table_reads_back_equal(tmp_path: Path) -> None:
    manifest = Manifest.build(
        tmp_path,
        id=["a,1", 'b"2', "c"],
        path=["x/1.jpg", "x/2.jpg", "y/3.jpg"],
        label=["x", "x", "y"],
        group=["g", "", "g"],
        camera=["0", "1", ""],
        split=["fit", "val", "test"],
        fold=[0, 1, -1],
        mask=["", "m.png", ""],
    )
    manifest.write_csv(tmp_path / "table.csv")
    again = read_splits(tmp_path / "table.csv")
    assert again.root == manifest.root
    for column in ("id", "path", "split", "fold", "mask"):
        assert getattr(again, column).tolist() == getattr(manifest, column).tolist()
    for column in ("label", "group", "camera"):
        ours, theirs = getattr(manifest, column), getattr(again, column)
        assert [ours.text(row) for row in range(3)] == [theirs.text(row) for row in range(3)]


def test_a_long_list_is_cut_with_the_number_that_is_missing() -> None:
    assert shortened(range(7)) == "0, 1, 2, 3, 4 and 2 more"
    assert shortened(np.array(["a", "b"], dtype=TEXT)) == "a, b"
