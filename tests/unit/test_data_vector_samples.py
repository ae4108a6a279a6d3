"""Rows of a table as samples: their splits, what is remarkable about them, and their batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sightline.data.loading import Shard
from sightline.data.manifest import Manifest
from sightline.data.vector_files import open_vectors
from sightline.data.vector_loading import VectorLoader
from sightline.data.vector_samples import (
    LEAST_ROWS,
    VectorRows,
    divide_rows,
    open_table,
    read_row_splits,
    unit_length,
    write_row_splits,
)
from sightline.data.vector_settings import VectorDataConfig
from sightline.errors import ConfigError, DataError

Table = npt.NDArray[Any]


def numbers(rows: int = 100, width: int = 6, seed: int = 3) -> Table:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def saved(values: Table, name: str = "vectors.npy") -> VectorDataConfig:
    """The settings of a table that is written into the working directory."""
    np.save(name, values)
    return VectorDataConfig(vectors=Path(name).absolute())


def divided(config: VectorDataConfig, seed: int = 1) -> tuple[Manifest, list[str]]:
    return divide_rows(config, seed=seed, cache_dir=Path("cache"))


def rows_of(values: Table, ids: list[int] | None = None) -> VectorRows:
    config = saved(values)
    assert config.vectors is not None
    chosen = list(range(len(values))) if ids is None else ids
    manifest = Manifest.build(
        Path(), id=[str(one) for one in chosen], path=["vectors.npy"] * len(chosen)
    )
    return VectorRows(manifest, open_vectors(config.vectors))


def batches(loader: VectorLoader, epoch: int, start: int = 0) -> list[list[str]]:
    return [batch.ids for batch in loader.batches(epoch, start)]


# Rows.


def test_rows_are_read_in_their_order_and_as_float32() -> None:
    values = numbers().astype(np.float16)
    some = rows_of(values, [7, 3, 90, 0])
    assert len(some) == 4
    assert some.dimension == 6
    assert some.rows.tolist() == [7, 3, 90, 0]
    read = some.read()
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values[[7, 3, 90, 0]].astype(np.float32))
    np.testing.assert_array_equal(some.read(np.array([2, 1])), values[[90, 3]].astype(np.float32))
    np.testing.assert_array_equal(some.select(np.array([3])).read(), values[:1].astype(np.float32))


def test_blocks_are_the_rows_cut_and_normalised_where_asked() -> None:
    values = numbers(11)
    plain = rows_of(values)
    rows = VectorRows(plain.manifest, plain.table, normalize=True)
    found = list(rows.blocks(4))
    assert [len(block) for block in found] == [4, 4, 3]
    wanted = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(np.concatenate(found), wanted, rtol=1e-6)


def test_unit_length_of_tiny_huge_and_zero_vectors() -> None:
    given = np.float32([[3e-30, 4e-30], [3e30, 4e30], [0, 0], [-5, 0]])
    found = unit_length(given)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)


def test_a_row_that_the_table_does_not_have_any_more_is_told() -> None:
    some = rows_of(numbers(30), [29, 3])
    short = VectorRows(some.manifest, rows_of(numbers(20)).table)
    with pytest.raises(DataError) as caught:
        short.read()
    assert "row 29" in str(caught.value)
    assert "20 rows" in str(caught.value)


# Batches.


def test_the_order_depends_on_the_ids_the_seed_and_the_epoch_alone() -> None:
    values = numbers(40)
    ids = list(range(40))
    upside_down = ids[::-1]
    first = VectorLoader(rows_of(values, ids), batch_size=8, training=True, seed=5)
    second = VectorLoader(rows_of(values, upside_down), batch_size=8, training=True, seed=5)
    assert batches(first, 1) == batches(second, 1)
    assert batches(first, 1) == batches(first, 1)
    assert batches(first, 1) != batches(first, 2)
    other = VectorLoader(rows_of(values, ids), batch_size=8, training=True, seed=6)
    assert batches(first, 1) != batches(other, 1)
    for batch in first.batches(3):
        places = [int(one) for one in batch.ids]
        np.testing.assert_array_equal(batch.vectors.numpy(), values[places])


def test_an_epoch_begun_in_the_middle_goes_on_with_the_same_batches() -> None:
    loader = VectorLoader(rows_of(numbers(40)), batch_size=6, training=True)
    whole = batches(loader, 2)
    for start in range(len(whole) + 1):
        assert batches(loader, 2, start) == whole[start:]


@pytest.mark.parametrize("rows", [16, 17, 19, 23, 24])
def test_a_batch_that_is_not_full_is_left_out_in_training_only(rows: int) -> None:
    samples = rows_of(numbers(rows))
    training = VectorLoader(samples, batch_size=8, training=True)
    sizes = [len(one) for one in batches(training, 1)]
    assert len(training) == len(sizes)
    # One row alone has nothing to be compared with, and joins the batch before.
    assert sizes == ([8, 9] if rows == 17 else [8] * (rows // 8))
    judged = VectorLoader(samples, batch_size=8, training=False)
    assert [one for batch in judged for one in batch.ids] == [str(one) for one in range(rows)]


def test_the_only_batch_is_kept_though_it_is_not_full() -> None:
    loader = VectorLoader(rows_of(numbers(25)), batch_size=512, training=True)
    (only,) = batches(loader, 1)
    assert sorted(only, key=int) == [str(one) for one in range(25)]


@pytest.mark.parametrize("training", [True, False])
def test_processes_share_every_batch(training: bool) -> None:
    samples = rows_of(numbers(54))
    alone = VectorLoader(samples, batch_size=12, training=training)
    parts = [
        VectorLoader(samples, batch_size=12, training=training, shard=Shard(rank, 3))
        for rank in range(3)
    ]
    together = [batches(one, 4) for one in parts]
    assert len({len(one) for one in together}) == 1
    for number, whole in enumerate(batches(alone, 4)):
        shares = [one[number] for one in together]
        assert sorted(one for share in shares for one in share) == sorted(whole)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


# Splits.


def test_splits_are_of_the_fractions_asked_for_and_of_the_seed() -> None:
    config = saved(numbers(200))
    one, _ = divided(config)
    assert [len(one.rows(name)) for name in ("fit", "val", "test")] == [140, 30, 30]
    again, _ = divided(config)
    np.testing.assert_array_equal(one.split, again.split)
    other, _ = divided(config, seed=2)
    assert (one.split != other.split).any()


def test_copies_are_told_and_stay_in_one_split() -> None:
    values = np.concatenate([numbers(60)] * 3)
    found, notes = divided(saved(values))
    assert [one for one in notes if one.startswith("120 rows repeat an earlier row exactly")]
    by_content: dict[bytes, set[int]] = {}
    for row, number in enumerate(found.id):
        by_content.setdefault(values[int(number)].tobytes(), set()).add(int(found.split[row]))
    assert len(by_content) == 60
    assert all(len(splits) == 1 for splits in by_content.values())
    assert len({int(one) for one in found.split}) == 3


def test_copies_may_be_divided_where_that_is_said() -> None:
    values = np.concatenate([numbers(60)] * 3)
    config = saved(values).model_copy(update={"group_duplicates": False})
    found, notes = divided(config)
    assert "120 rows repeat an earlier row exactly" in notes
    assert (found.group.codes < 0).all()


def test_bad_rows_are_refused_or_left_out_and_counted() -> None:
    values = numbers(50)
    values[7, 0], values[30] = np.nan, np.inf
    config = saved(values)
    with pytest.raises(DataError) as caught:
        divided(config)
    assert "2 of 50 vectors are not finite" in str(caught.value)
    assert "rows 7, 30" in str(caught.value)
    assert "data.on_bad_row=skip" in str(caught.value)
    found, notes = divided(config.model_copy(update={"on_bad_row": "skip"}))
    assert len(found) == 48
    assert not {"7", "30"} & set(found.id.tolist())
    assert "left out 2 rows with NaN or infinity: 7, 30" in notes


def test_too_few_rows_are_refused_after_the_bad_ones_are_left_out() -> None:
    values = numbers(LEAST_ROWS + 1)
    assert len(divided(saved(values[1:]))[0]) == LEAST_ROWS
    values[[0, 5], 1] = np.nan
    with pytest.raises(DataError) as caught:
        divided(saved(values).model_copy(update={"on_bad_row": "skip"}))
    assert f"{LEAST_ROWS - 1} usable rows of {LEAST_ROWS + 1}" in str(caught.value)


def test_zero_rows_are_told_where_directions_matter() -> None:
    values = numbers(40)
    values[[4, 9]] = 0
    config = saved(values)
    assert not [one for one in divided(config)[1] if "all zero" in one]
    _, notes = divided(config.model_copy(update={"normalize": True}))
    assert "2 rows are all zero and stay so: 4, 9" in notes


def test_nothing_named_is_an_error_that_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"data\.vectors=FILE"):
        open_table(VectorDataConfig(), cache_dir=Path("cache"))


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    table = open_table(VectorDataConfig(digits=Path("digits").absolute()), cache_dir=Path("cache"))
    np.testing.assert_array_equal(table.values, load_digits().data.astype(np.float32))


def test_splits_are_read_again_as_they_were_written() -> None:
    found, _ = divided(saved(np.concatenate([numbers(60), numbers(20)])))
    target = Path("run", "splits.csv")
    target.parent.mkdir()
    write_row_splits(found, target)
    again = read_row_splits(target)
    assert again.id.tolist() == found.id.tolist()
    np.testing.assert_array_equal(again.split, found.split)
    groups = {found.group.text(row) for row in range(len(found))}
    assert {again.group.text(row) for row in range(len(again))} == groups
    assert again.file(0).samefile("vectors.npy")
    facts = json.loads(Path("run", "vectors.json").read_text(encoding="utf-8"))
    assert facts["bytes"] == Path("vectors.npy").stat().st_size


def test_a_table_that_changed_is_refused_unless_that_is_meant() -> None:
    values = numbers(60)
    found, _ = divided(saved(values))
    write_row_splits(found, Path("splits.csv"))
    values[3, 2] += 1
    np.save("vectors.npy", values)
    with pytest.raises(DataError) as caught:
        read_row_splits(Path("splits.csv"))
    assert "not the one that the splits were made for" in str(caught.value)
    assert "data.verify_files=false" in str(caught.value)
    assert len(read_row_splits(Path("splits.csv"), verify=False)) == 60
    Path("vectors.npy").unlink()
    with pytest.raises(DataError, match="not there any more"):
        read_row_splits(Path("splits.csv"))
