from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DataError, RunError, SightlineError
from sightline.search import staging
from sightline.search.gallery import Gallery
from sightline.search.index import build_index, recall_against_exact
from sightline.search.neighbours import Metric
from sightline.search.saved import open_gallery, verify_gallery, write_gallery
from sightline.search.settings import IndexSettings
from sightline.search.writer import GalleryWriter

Vectors = npt.NDArray[np.float32]
MODEL = {"run": "r1", "checkpoint": "ckpt/best_model.pth", "sha256": "a" * 64}
METRICS: tuple[Metric, ...] = ("cosine", "euclidean", "dot")


def vectors(count: int, size: int, seed: int = 0, *, unit: bool = True) -> Vectors:
    found = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True) if unit else found


def gallery(count: int = 50, *, metric: Metric = "cosine", seed: int = 0) -> Gallery:
    return Gallery.build(
        vectors(count, 8, seed, unit=metric == "cosine"),
        ids=[f"id{row}" for row in range(count)],
        labels=[f"class{row % 3}" for row in range(count)],
        groups=[f"object{row // 2}" for row in range(count)],
        splits=["fit" if row % 5 else "val" for row in range(count)],
        paths=[f"class{row % 3}/{row}.jpg" for row in range(count)],
        model=MODEL,
        metric=metric,
    )


def slow_nearest(query: Vectors, rows: Vectors, k: int, metric: Metric) -> list[tuple[int, float]]:
    """Distances one by one in float64, then sorted."""
    found = []
    for number, row in enumerate(rows.astype(np.float64)):
        one = query.astype(np.float64)
        product = float(one @ row)
        lengths = float(np.sqrt(one @ one) * np.sqrt(row @ row))
        away = {
            "cosine": 1 - product / lengths,
            "euclidean": float(np.sqrt(((one - row) ** 2).sum())),
            "dot": -product,
        }[metric]
        found.append((number, away))
    return sorted(found, key=lambda pair: (pair[1], pair[0]))[:k]


@pytest.mark.parametrize("metric", METRICS)
def test_what_was_written_is_what_is_opened(tmp_path: Path, metric: Metric) -> None:
    made = gallery(metric=metric)
    write_gallery(tmp_path / "index", made)
    opened, index = open_gallery(tmp_path / "index", model_sha256=MODEL["sha256"])
    assert isinstance(opened.embeddings, np.memmap)
    assert np.array_equal(opened.embeddings, made.embeddings)
    for name in ("ids", "labels", "groups", "splits", "paths"):
        assert getattr(opened, name).tolist() == getattr(made, name).tolist()
    assert (opened.model, opened.metric, len(opened)) == (MODEL, metric, 50)
    assert (index.engine, index.metric, index.size, index.dimension) == ("exact", metric, 50, 8)
    queries = vectors(4, 8, seed=9)
    found = index.search(queries, 7)
    for query, rows, distances in zip(queries, found.rows, found.distances, strict=True):
        expected = slow_nearest(query, made.embeddings, 7, metric)
        assert rows.tolist() == [row for row, _ in expected]
        assert distances == pytest.approx([away for _, away in expected], abs=1e-5)


@given(texts=st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")),
                      min_size=1, max_size=12, unique=True))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_text_survives_the_table(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("texts") / "index"
    made = Gallery.build(
        vectors(len(texts), 3), ids=texts, labels=texts[::-1], paths=texts, model={}
    )
    write_gallery(folder, made)
    opened, _ = open_gallery(folder)
    assert opened.ids.tolist() == texts
    assert opened.labels.tolist() == texts[::-1]
    assert set(opened.groups.tolist()) == {""}


def test_blocks_of_any_size_make_the_same_files(tmp_path: Path) -> None:
    made = gallery(103)
    write_gallery(tmp_path / "whole", made)
    with GalleryWriter(tmp_path / "blocks", model=MODEL) as writer:
        for start, stop in ((0, 1), (1, 40), (40, 40), (40, 99), (99, 103)):
            block = slice(start, stop)
            writer.append(
                made.embeddings[block], ids=made.ids[block], labels=made.labels[block],
                groups=made.groups[block], splits=made.splits[block], paths=made.paths[block],
            )  # fmt: skip
    for name in ("embeddings.npy", "rows.csv", "index.json"):
        one, other = (tmp_path / folder / name for folder in ("whole", "blocks"))
        assert one.read_bytes() == other.read_bytes()


def test_every_check_is_listed(tmp_path: Path) -> None:
    write_gallery(tmp_path / "index", gallery())
    checked = verify_gallery(tmp_path / "index", model_sha256=MODEL["sha256"])
    assert len(checked) == 9
    assert any("16 of 16 rows" in one for one in checked)
    assert len(verify_gallery(tmp_path / "index")) == 8


def edit_description(folder: Path, **changes: object) -> None:
    file = folder / "index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refresh(folder: Path) -> None:
    """Make sizes and hashes agree with the files, as somebody who edits them by hand would."""
    from sightline.search.writer import file_facts

    names = json.loads((folder / "index.json").read_text())["files"]
    edit_description(folder, files={name: file_facts(folder / name) for name in names})


def rewrite_rows(folder: Path, change: str) -> None:
    with (folder / "rows.csv").open(newline="") as handle:
        rows = list(csv.reader(handle))
    if change == "fewer":
        rows.pop()
    elif change == "repeated":
        rows[2][0] = rows[1][0]
    elif change == "short":
        rows[3].pop()
    elif change == "header":
        rows[0][1] = "class"
    with (folder / "rows.csv").open("w", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows(rows)
    refresh(folder)


def rewrite_embeddings(folder: Path, change: str) -> None:
    found = np.load(folder / "embeddings.npy")
    if change == "nan":
        found[7, 2] = np.nan
    elif change == "length":
        found[7] *= 1.01
    elif change == "double":
        found = found.astype(np.float64)
    elif change == "fewer":
        found = found[:-1]
    np.save(folder / "embeddings.npy", found)
    refresh(folder)


def flip_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))


DAMAGES = {
    "no folder": (lambda f: shutil.rmtree(f), RunError, "There is no index here"),
    "no description": (lambda f: (f / "index.json").unlink(), RunError, "There is no index here"),
    "half a description": (
        lambda f: (f / "index.json").write_text('{"format": 1, '), RunError, "cannot be read"),
    "not an object": (lambda f: (f / "index.json").write_text("[]"), RunError, "format"),
    "a later format": (lambda f: edit_description(f, format=2), RunError, "format 1"),
    "a key is missing": (lambda f: edit_description(f, files=None), RunError, "files is None"),
    "unknown metric": (lambda f: edit_description(f, metric="manhattan"), RunError, "manhattan"),
    "unknown settings": (
        lambda f: edit_description(f, settings={"engin": "exact"}), RunError, "settings"),
    "engines disagree": (lambda f: edit_description(f, engine="milvus"), RunError, "milvus"),
    "no embeddings": (lambda f: (f / "embeddings.npy").unlink(), RunError, "no embeddings.npy"),
    "no table": (lambda f: (f / "rows.csv").unlink(), RunError, "no rows.csv"),
    "cut short": (
        lambda f: (f / "embeddings.npy").write_bytes((f / "embeddings.npy").read_bytes()[:-4]),
        RunError, "another size"),
    "one bit": (lambda f: flip_byte(f / "embeddings.npy"), RunError, "has changed"),
    "one bit of the table": (lambda f: flip_byte(f / "rows.csv"), RunError, "has changed"),
    "other number": (lambda f: edit_description(f, n=49), DataError, r"\(49, 8\)"),
    "other dimension": (lambda f: edit_description(f, dimension=4), DataError, r"\(50, 4\)"),
    "other type": (lambda f: rewrite_embeddings(f, "double"), DataError, "float64"),
    "fewer embeddings": (lambda f: rewrite_embeddings(f, "fewer"), DataError, r"\(49, 8\)"),
    "not finite": (lambda f: rewrite_embeddings(f, "nan"), DataError, "row 7"),
    "not of length 1": (lambda f: rewrite_embeddings(f, "length"), DataError, "row 7"),
    "fewer rows": (lambda f: rewrite_rows(f, "fewer"), DataError, "49 rows"),
    "repeated id": (lambda f: rewrite_rows(f, "repeated"), DataError, "id0"),
    "a short line": (lambda f: rewrite_rows(f, "short"), DataError, "columns id, label"),
    "another column": (lambda f: rewrite_rows(f, "header"), DataError, "class"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found_and_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "index"
    write_gallery(folder, gallery())
    harm, kind, words = DAMAGES[damage]
    harm(folder)
    with pytest.raises(SightlineError, match=words) as caught:
        open_gallery(folder)
    assert type(caught.value) is kind
    assert str(folder) in str(caught.value) or caught.value.remedy


def test_without_verify_sizes_are_still_compared_and_contents_are_not(tmp_path: Path) -> None:
    write_gallery(tmp_path / "index", gallery())
    flip_byte(tmp_path / "index" / "rows.csv")
    open_gallery(tmp_path / "index", verify=False)
    with (tmp_path / "index" / "rows.csv").open("a") as handle:
        handle.write("\n")
    with pytest.raises(RunError, match="another size"):
        open_gallery(tmp_path / "index", verify=False)


def test_an_index_of_another_model_names_both(tmp_path: Path) -> None:
    write_gallery(tmp_path / "index", gallery())
    with pytest.raises(RunError, match="built by another model") as caught:
        open_gallery(tmp_path / "index", model_sha256="b" * 64)
    assert "a" * 64 in str(caught.value)
    assert "b" * 64 in str(caught.value)
    assert "best_model.pth" in str(caught.value)


def left_beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def test_an_error_while_writing_leaves_the_old_index(tmp_path: Path) -> None:
    folder, bad = tmp_path / "index", gallery(20, seed=1)
    write_gallery(folder, gallery())
    bad.embeddings[3, 1] = np.inf
    with pytest.raises(DataError, match="row 3"):
        write_gallery(folder, bad)
    assert len(open_gallery(folder)[0]) == 50
    assert left_beside(folder) == []


def test_a_disk_that_fails_at_the_last_step_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "index"
    write_gallery(folder, gallery())
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if Path(target) == folder and "replaced" not in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(RunError, match="No space left"):
        write_gallery(folder, gallery(20, seed=1))
    monkeypatch.undo()
    assert len(open_gallery(folder)[0]) == 50
    assert left_beside(folder) == []


def test_a_new_index_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    write_gallery(folder, gallery())
    (folder / "index.faiss").write_text("of the old index, by another engine")
    write_gallery(folder, gallery(20, seed=1))
    assert len(open_gallery(folder)[0]) == 20
    assert sorted(path.name for path in folder.iterdir()) == [
        "embeddings.npy", "index.json", "rows.csv",
    ]  # fmt: skip
    assert left_beside(folder) == []


def test_an_opened_gallery_stays_usable_when_it_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    write_gallery(folder, gallery())
    opened, index = open_gallery(folder)
    write_gallery(folder, gallery(20, seed=1))
    assert index.search(opened.embeddings[40:41], 1).rows.tolist() == [[40]]


def test_a_folder_of_other_files_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    write_gallery(folder, gallery())  # an empty one is taken
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "thesis.tex").write_text("three years")
    with pytest.raises(DataError, match="taken by something else"):
        write_gallery(folder, gallery())
    assert (folder / "thesis.tex").read_text() == "three years"
    assert left_beside(folder) == []


def test_an_index_that_lost_a_file_can_be_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    write_gallery(folder, gallery())
    (folder / "embeddings.npy").unlink()
    write_gallery(folder, gallery(20, seed=1))
    assert len(open_gallery(folder)[0]) == 20


@pytest.mark.parametrize("whole", [False, True])
def test_files_beside_those_of_an_index_are_not_removed(tmp_path: Path, whole: bool) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    if whole:
        write_gallery(folder, gallery())
        (folder / "notes.txt").write_text("three years")
    else:
        (folder / "index.json").write_text("{}")  # of something else
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match="taken by something else"):
        write_gallery(folder, gallery(20, seed=1))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_gallery(tmp_path / "file" / "index", gallery())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ids": ["a", "b", "a"]}, "repeat an id"),
        ({"ids": ["a", "b"], "labels": ["x"] * 3}, "do not fit"),
        ({"labels": ["x"] * 4}, "do not fit"),
        ({"embeddings": vectors(3, 8) * 2}, "length 1"),
        ({"embeddings": np.zeros((3, 8), np.float32)}, "length 1"),
        ({"embeddings": np.ones(3, np.float32)}, "do not fit"),
        ({"embeddings": np.empty((0, 8), np.float32), "ids": [], "labels": []}, "no pictures"),
    ],
)
def test_a_gallery_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    parts = {"embeddings": vectors(3, 8), "ids": ["a", "b", "c"], "labels": ["x"] * 3, **change}
    with pytest.raises(DataError, match=words):
        write_gallery(tmp_path / "index", Gallery.build(**parts, model=MODEL))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_blocks_must_fit_each_other(tmp_path: Path) -> None:
    writer = GalleryWriter(tmp_path / "index", model=MODEL)
    writer.append(vectors(2, 8), ids=["a", "b"], labels=["x", "x"])
    with pytest.raises(DataError, match=r"\(B, 8\)"):
        writer.append(vectors(2, 4), ids=["c", "d"], labels=["x", "x"])
    with pytest.raises(DataError, match="does not fit"):
        writer.append(vectors(2, 8), ids=["c"], labels=["x", "x"])
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_gallery_is_written_in_bounded_memory(tmp_path: Path) -> None:
    """Blocks go to the disk as they come: the writer holds ids and nothing of the vectors."""
    import tracemalloc

    block = vectors(2000, 64)
    tracemalloc.start()
    with GalleryWriter(tmp_path / "index", model=MODEL) as writer:
        for number in range(20):
            ids = [f"{number}-{row}" for row in range(2000)]
            writer.append(block, ids=ids, labels=ids)
        before = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert before < 20 * block.nbytes / 2


def test_a_k_beyond_the_gallery_names_the_largest_one() -> None:
    with pytest.raises(DataError, match="5"):
        build_index(vectors(5, 4)).search(vectors(1, 4), 6)


def test_no_vectors_are_no_index() -> None:
    for shape in ((0, 4), (4, 0), (4,)):
        with pytest.raises(DataError, match="nothing to search"):
            build_index(np.empty(shape, np.float32))


def test_recall_counts_what_was_found_by_hand() -> None:
    """An index that only knows the even rows finds what of the true neighbours is even."""
    rows = np.arange(10, dtype=np.float32)[:, None]
    half = build_index(rows[::2], metric="euclidean")

    class Even:
        engine, metric, size, dimension = half.engine, half.metric, 10, 1

        def search(self, queries: Vectors, k: int):  # type: ignore[no-untyped-def]
            found = half.search(queries, k)
            return found._replace(rows=found.rows * 2)

        save = half.save

    queries = np.array([[3.9], [6.1]], dtype=np.float32)
    # True: 4 3 5 and 6 7 5. Found: 4 2 6 and 6 8 4.
    assert recall_against_exact(Even(), rows, queries, 3) == pytest.approx(1 / 3)
    assert recall_against_exact(build_index(rows, metric="euclidean"), rows, queries, 3) == 1.0


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"hnsw_links": 16}, "hnsw_links is read only by faiss-hnsw"),
        ({"engine": "faiss-hnsw", "lists": 5}, "lists is read only by faiss-ivfpq"),
        ({"engine": "faiss-flat", "address": "http://h:1"}, "address is read only by milvus"),
        ({"engine": "milvus", "threads": 2}, "threads is read only by"),
        ({"engine": "milvus", "address": "gallery.db"}, "absolute path"),
        ({"engine": "annoy"}, "exact"),
        ({"links": 3}, "links"),
    ],
)
def test_settings_that_nothing_reads_are_errors(
    given_settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        IndexSettings(**given_settings)  # type: ignore[arg-type]


def test_staged_files_of_others_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".index-other").mkdir()
    staged = staging.begin(tmp_path / "index")
    staging.abandon(staged)
    assert [path.name for path in tmp_path.iterdir()] == [".index-other"]
