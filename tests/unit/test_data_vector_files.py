from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sightline.data.vector_files import open_vectors
from sightline.data.vector_rows import bad_rows, duplicate_groups, require_finite, zero_rows
from sightline.errors import DataError

Table = npt.NDArray[Any]


@pytest.fixture
def table() -> Table:
    return np.random.default_rng(0).standard_normal((2500, 6)).astype(np.float32)


def is_mapped(values: Any) -> bool:
    while values is not None:
        if isinstance(values, np.memmap):
            return True
        values = getattr(values, "base", None)
    return False


def write_fvecs(file: Path, table: Table) -> None:
    lengths = np.full((len(table), 1), table.shape[1], "<i4")
    file.write_bytes(np.hstack([lengths, table.astype("<f4").view("<i4")]).tobytes())


def write_jsonl(file: Path, rows: list[Any]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_parquet(file: Path, columns: dict[str, Any]) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), file, row_group_size=700)


def lists_of(table: Table, kind: str) -> Any:
    pa = pytest.importorskip("pyarrow")
    flat = pa.array(table.ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, table.shape[1])
    if kind == "json":
        return pa.array([json.dumps(row) for row in table.astype(float).tolist()])
    return pa.array(list(table), type=pa.list_(flat.type))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_npy_is_mapped_as_it_is(tmp_path: Path, table: Table, dtype: Any) -> None:
    np.save(tmp_path / "a.npy", table.astype(dtype))
    found = open_vectors(tmp_path / "a.npy")
    assert is_mapped(found.values)
    assert found.dtype == dtype
    assert not found.notes
    assert np.array_equal(found.values, table.astype(dtype))


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", ">f2", "int16", "uint8"])
def test_other_numbers_are_converted_with_a_note(
    tmp_path: Path, table: Table, dtype: str, cached: bool
) -> None:
    given = np.abs(10 * table).astype(dtype)
    np.save(tmp_path / "a.npy", given)
    found = open_vectors(tmp_path / "a.npy", cache_dir=tmp_path / "kept" if cached else None)
    assert found.dtype == (np.float16 if dtype == ">f2" else np.float32)
    assert np.array_equal(found.values, given.astype(np.float32))
    assert len(found.notes) == 1
    assert is_mapped(found.values) == cached


def test_fortran_order_keeps_its_rows(tmp_path: Path, table: Table) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(table))
    assert np.array_equal(open_vectors(tmp_path / "a.npy").values, table)


def test_numbers_beyond_float32_name_their_row(tmp_path: Path) -> None:
    values = np.ones((5, 2))
    values[3, 1] = 1e39
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=r"too large for float32[\s\S]*row 3"):
        open_vectors(tmp_path / "a.npy")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("cached", [True, False])
def test_npz_takes_the_table(tmp_path: Path, table: Table, compressed: bool, cached: bool) -> None:
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "a.npz", labels=np.arange(3), emb=table)
    found = open_vectors(tmp_path / "a.npz", cache_dir=tmp_path / "kept" if cached else None)
    assert found.column == "emb"
    assert np.array_equal(found.values, table)
    assert is_mapped(found.values) == (cached or not compressed)


def test_npz_with_several_tables(tmp_path: Path, table: Table) -> None:
    np.savez(tmp_path / "a.npz", one=table, vector=table + 1)
    assert open_vectors(tmp_path / "a.npz").column == "vector"
    assert np.array_equal(open_vectors(tmp_path / "a.npz", column="one").values, table)
    with pytest.raises(DataError, match=r"'two'[\s\S]*one, vector"):
        open_vectors(tmp_path / "a.npz", column="two")
    np.savez(tmp_path / "b.npz", one=table, two=table)
    with pytest.raises(DataError, match=r"not clear[\s\S]*one \(2500, 6\), two \(2500, 6\)"):
        open_vectors(tmp_path / "b.npz")


def test_fvecs_is_mapped(tmp_path: Path, table: Table) -> None:
    write_fvecs(tmp_path / "a.fvecs", table)
    found = open_vectors(tmp_path / "a.fvecs")
    assert is_mapped(found.values)
    assert np.array_equal(found.values, table)


def test_broken_fvecs_name_the_row(tmp_path: Path, table: Table) -> None:
    file = tmp_path / "a.fvecs"
    write_fvecs(file, table)
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.raises(DataError, match=r"is cut[\s\S]*row 2499"):
        open_vectors(file)
    file.write_bytes(whole[: 28 * 7] + b"\5\0\0\0" + whole[28 * 7 + 4 :])
    with pytest.raises(DataError, match=r"same length[\s\S]*length 5[\s\S]*row 7"):
        open_vectors(file)
    file.write_bytes(b"\0\0")
    with pytest.raises(DataError, match=r"no \.fvecs"):
        open_vectors(file)


@pytest.mark.parametrize("kind", ["list", "fixed", "json"])
@pytest.mark.parametrize("cached", [True, False])
def test_parquet_reads_lists_and_json(
    tmp_path: Path, table: Table, kind: str, cached: bool
) -> None:
    file, kept = tmp_path / "a.parquet", tmp_path / "kept" if cached else None
    write_parquet(file, {"id": np.arange(len(table)), "emb": lists_of(table, kind)})
    found = open_vectors(file, cache_dir=kept)
    assert (found.column, len(found.notes)) == ("emb", 1)
    assert found.dtype == np.float32
    assert np.array_equal(found.values, table)
    assert is_mapped(found.values) == cached
    assert np.array_equal(open_vectors(file, column="emb", cache_dir=kept).values, table)


def test_parquet_prefers_the_usual_name_and_lists_others(tmp_path: Path, table: Table) -> None:
    file = tmp_path / "a.parquet"
    columns = {"first": lists_of(table, "list"), "vector": lists_of(table + 1, "list")}
    write_parquet(file, columns)
    assert np.array_equal(open_vectors(file).values, table + 1)
    with pytest.raises(DataError, match=r"'third'[\s\S]*first, vector"):
        open_vectors(file, column="third")
    write_parquet(file, {"id": np.arange(3)})
    with pytest.raises(DataError, match=r"Nothing in the file[\s\S]*columns id"):
        open_vectors(file)


def test_parquet_names_ragged_missing_and_broken_rows(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    rows: list[Any] = [[1.0, 2.0]] * 1500
    for odd, said in (([1.0], "1 numbers"), (None, "no list")):
        write_parquet(file, {"vector": [*rows, odd]})
        with pytest.raises(DataError, match=rf"list of 2 numbers[\s\S]*{said}[\s\S]*row 1500"):
            open_vectors(file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        open_vectors(file)


def test_jsonl_reads_objects_lists_and_text(tmp_path: Path, table: Table) -> None:
    plain = table.astype(float).tolist()
    file = tmp_path / "a.jsonl"
    forms: list[tuple[list[Any], str | None]] = [
        (plain, None),
        ([{"title": "x", "embedding": row} for row in plain], "embedding"),
        ([{"title": "x", "emb": json.dumps(row)} for row in plain], "emb"),
    ]
    for rows, column in forms:
        write_jsonl(file, rows)
        for kept in (None, tmp_path / "kept"):
            found = open_vectors(file, cache_dir=kept)
            assert found.column == column
            assert np.array_equal(found.values, table)
    assert len(list((tmp_path / "kept").iterdir())) == 3


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ('{"vector": [1, 2, 3]}', r"list of 2 numbers[\s\S]*3 numbers"),
        ('{"vector": [1, "2"]}', "no list of numbers"),
        ('{"vector": [1, null]}', "no list of numbers"),
        ('{"vector": [true, false]}', "no list of numbers"),
        ('{"vector": []}', "no list of numbers"),
        ('{"title": "x"}', r"no key 'vector'[\s\S]*title"),
        ('{"vector": [1, 2', "no JSON"),
        ("\n[1, 2]", "is empty"),
    ],
)
def test_jsonl_names_the_line(tmp_path: Path, last: str, said: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"vector": [1, 2]}\n' * 1200 + last, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{said}[\s\S]*line 1201"):
        open_vectors(file)


def test_a_kept_table_is_found_by_content(tmp_path: Path, table: Table) -> None:
    file, kept = tmp_path / "a.jsonl", tmp_path / "kept"
    write_jsonl(file, table[:5].astype(float).tolist())
    open_vectors(file, cache_dir=kept)
    (first,) = kept.iterdir()
    before = first.stat().st_mtime_ns
    open_vectors(file.rename(tmp_path / "b.jsonl"), cache_dir=kept)
    assert [one.stat().st_mtime_ns for one in kept.iterdir()] == [before]
    write_jsonl(file, table[5:9].astype(float).tolist())
    assert np.array_equal(open_vectors(file, cache_dir=kept).values, table[5:9])


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [[1, 2], [3]])
    with pytest.raises(DataError):
        open_vectors(tmp_path / "a.jsonl", cache_dir=tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2), (0, 3), (3, 0)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    with pytest.raises(DataError, match="no vectors"):
        open_vectors(tmp_path / "a.npy")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1], [None]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="never unpickled"):
        open_vectors(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", ["bool", "complex64", "U3"])
def test_other_types_are_refused(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2)).astype(dtype))
    with pytest.raises(DataError, match="type that is not taken"):
        open_vectors(tmp_path / "a.npy")


def test_files_that_are_no_tables(tmp_path: Path, table: Table) -> None:
    with pytest.raises(DataError, match=r"no such file[\s\S]*nothing"):
        open_vectors(tmp_path / "a.npy")
    for ending in ("npy", "npz", "parquet", "jsonl", "fvecs"):
        file = tmp_path / f"a.{ending}"
        file.touch()
        with pytest.raises(DataError, match="empty"):
            open_vectors(file)
        file.write_bytes(b"\x93NUMPY nonsense")
        with pytest.raises(DataError):
            open_vectors(file)
    (tmp_path / "a.csv").write_text("1", encoding="utf-8")
    with pytest.raises(DataError, match=r"\.npy, \.npz, \.parquet, \.jsonl, \.fvecs"):
        open_vectors(tmp_path / "a.csv")
    np.save(tmp_path / "a.npy", table)
    with pytest.raises(DataError, match="no columns"):
        open_vectors(tmp_path / "a.npy", column="x")
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-8])
    with pytest.raises(DataError, match="is cut"):
        open_vectors(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(DataError):
        open_vectors(tmp_path / "a.npz")


def test_rows_are_looked_at_in_every_block() -> None:
    values = np.random.default_rng(1).standard_normal((3000, 4096)).astype(np.float32)
    values[5], values[2999] = np.nan, 0
    values[2000, 7] = -np.inf
    values[1500] = values[3]
    assert bad_rows(values).tolist() == [5, 2000]
    assert zero_rows(values).tolist() == [2999]
    groups = duplicate_groups(values)
    assert groups[1500] == groups[3] == 3
    assert len(np.unique(groups)) == 2999
    assert np.array_equal(np.sort(np.unique(groups)), np.arange(2999))


def test_groups_are_those_of_a_plain_loop() -> None:
    values = np.random.default_rng(2).integers(0, 2, (200, 5)).astype(np.float16)
    seen: dict[bytes, int] = {}
    expected = [seen.setdefault(row.tobytes(), len(seen)) for row in values]
    assert duplicate_groups(values).tolist() == expected
    assert duplicate_groups(values.T.copy().T).tolist() == expected


def test_the_error_lists_five_rows(tmp_path: Path) -> None:
    values = np.full((8, 2), np.nan, np.float32)
    with pytest.raises(DataError, match=r"8 of 8[\s\S]*rows 0, 1, 2, 3, 4 and 3 more[\s\S]*skip"):
        require_finite(values, tmp_path / "a.npy")
    require_finite(np.zeros((2, 2), np.float32), tmp_path / "a.npy")
