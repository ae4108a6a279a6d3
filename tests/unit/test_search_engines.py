from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sightline.errors import DataError, MissingExtraError, RunError
from sightline.search.cells import default_probes, plan_cells
from sightline.search.exact import nearest
from sightline.search.gallery import Gallery
from sightline.search.index import build_index, recall_against_exact
from sightline.search.neighbours import METRICS, Metric
from sightline.search.rescoring import best_of
from sightline.search.saved import open_gallery, verify_gallery, write_gallery
from sightline.search.settings import Engine, IndexSettings

Vectors = npt.NDArray[np.float32]


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [one for one in packages if importlib.util.find_spec(one) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}, not installed")


faiss_only, milvus_only = needs("faiss"), needs("pymilvus", "milvus_lite")
FLAT = [
    pytest.param("faiss-flat", marks=faiss_only),
    pytest.param("milvus", marks=milvus_only),
]
CELLS = IndexSettings(engine="faiss-ivfpq", lists=32, probes=8, code_bytes=4)
APPROXIMATE = [
    pytest.param(IndexSettings(engine="faiss-hnsw", hnsw_links=16, ef_construction=40), id="hnsw"),
    pytest.param(CELLS, id="ivfpq"),
]


def clustered(count: int, size: int, seed: int = 0) -> Vectors:
    """Vectors of length 1 around centres, twenty to each."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((max(1, count // 20), size))
    found = centres[random.integers(0, len(centres), count)]
    found = found + random.standard_normal((count, size)) * 0.6
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def many() -> Vectors:
    """As few vectors as codes can be learned from."""
    return clustered(9984, 16)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("engine", FLAT)
def test_engines_that_compare_with_everything_answer_as_the_exact_one(
    engine: Engine, metric: Metric
) -> None:
    """Lengths differ, so each metric has an order of its own."""
    lengths = np.random.default_rng(5).uniform(0.5, 2, (500, 1))
    rows = (clustered(500, 12) * lengths).astype(np.float32)
    queries = clustered(40, 12, seed=1) * np.float32(3)
    index = build_index(rows, metric=metric, settings=IndexSettings(engine=engine))
    expected = nearest(queries, rows, 15, metric=metric)
    found = index.search(queries, 15)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.distances, expected.distances)
    assert (found.rows.dtype, found.distances.dtype) == (np.int64, np.float32)
    assert (index.engine, index.size, index.dimension) == (engine, 500, 12)


@pytest.mark.parametrize("engine", FLAT)
def test_zero_vectors_have_no_direction(engine: Engine) -> None:
    rows = np.float32([[0, 0], [1, 0], [0, -2]])
    index = build_index(rows, settings=IndexSettings(engine=engine))
    found = index.search(np.float32([[0, 3], [0, 0]]), 3)
    assert found.distances[0].tolist() == [1, 1, 2]
    assert found.rows[0].tolist() == [0, 1, 2]
    assert found.distances[1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("engine", ["exact", *FLAT, pytest.param("faiss-hnsw", marks=faiss_only)])
def test_every_engine_refuses_what_cannot_be_answered(engine: Engine) -> None:
    index = build_index(clustered(20, 4), settings=IndexSettings(engine=engine))
    with pytest.raises(DataError, match="20"):
        index.search(clustered(2, 4), 21)
    with pytest.raises(DataError):
        index.search(clustered(2, 4), 0)
    with pytest.raises(DataError, match="fit"):
        index.search(clustered(2, 5), 3)
    with pytest.raises(DataError, match="finite"):
        index.search(np.full((2, 4), np.nan, np.float32), 3)
    assert sorted(index.search(clustered(1, 4), 20).rows[0].tolist()) == list(range(20))
    assert index.search(np.empty((0, 4), np.float32), 3).rows.shape == (0, 3)


@faiss_only
@pytest.mark.parametrize("settings", APPROXIMATE)
def test_approximate_engines_find_nearly_everything_and_its_true_distance(
    settings: IndexSettings, many: Vectors
) -> None:
    queries = clustered(100, 16, seed=1)
    index = build_index(many, settings=settings)
    assert recall_against_exact(index, many, queries, 10) > 0.9
    found = index.search(queries, 10)
    true = 1 - np.einsum("qd,qkd->qk", queries.astype(np.float64), many[found.rows])
    assert np.allclose(found.distances, true, atol=1e-5)
    assert (np.diff(found.distances, axis=1) >= 0).all()


@faiss_only
@pytest.mark.parametrize("metric", METRICS)
def test_cells_find_neighbours_by_every_metric(metric: Metric, many: Vectors) -> None:
    index = build_index(many, metric=metric, settings=CELLS)
    queries = clustered(50, 16, seed=1)
    assert recall_against_exact(index, many, queries, 5) > 0.8


@faiss_only
@pytest.mark.parametrize("settings", APPROXIMATE)
def test_two_builds_are_equal_and_so_is_what_was_saved(
    settings: IndexSettings, many: Vectors, tmp_path: Path
) -> None:
    one_thread = settings.model_copy(update={"threads": 1})
    rows = many if settings.engine == "faiss-ivfpq" else many[:2000]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build_index(rows, settings=one_thread).save(tmp_path / name)
    one, two = ((tmp_path / name / "index.faiss").read_bytes() for name in ("one", "two"))
    assert one == two


@faiss_only
def test_a_query_whose_cells_hold_too_few_is_compared_with_everything(many: Vectors) -> None:
    """One cell in 32 holds about 300 vectors; 2000 neighbours are not in it."""
    index = build_index(many, settings=CELLS.model_copy(update={"probes": 1}))
    queries = clustered(3, 16, seed=1)
    found = index.search(queries, 2000)
    assert np.array_equal(found.rows, nearest(queries, many, 2000).rows)


@faiss_only
def test_answers_do_not_depend_on_the_memory_of_a_block(many: Vectors) -> None:
    queries = clustered(700, 16, seed=1)
    for engine in ("faiss-flat", "faiss-hnsw"):
        found = [
            build_index(
                many[:3000], settings=IndexSettings(engine=engine, memory_mib=memory, threads=1)
            ).search(queries, 40)
            for memory in (16, 512)
        ]
        assert np.array_equal(found[0].rows, found[1].rows)


@faiss_only
def test_the_thread_count_is_set_only_while_faiss_works(many: Vectors) -> None:
    import faiss

    faiss.omp_set_num_threads(3)
    build_index(many[:50], settings=IndexSettings(engine="faiss-flat", threads=1)).search(
        many[:2], 1
    )
    assert faiss.omp_get_max_threads() == 3
    faiss.omp_set_num_threads(1)


@faiss_only
@pytest.mark.parametrize("order", ["import faiss, torch", "import torch, faiss"])
def test_the_order_of_imports_does_not_matter(order: str) -> None:
    code = (
        f"{order}\n"
        "import numpy as np\n"
        "faiss.omp_set_num_threads(2)\n"
        "x = np.random.default_rng(0).standard_normal((300, 8)).astype('float32')\n"
        "flat = faiss.IndexFlatL2(8)\n"
        "flat.add(x)\n"
        "from sightline.search.exact import nearest\n"
        "expected = nearest(x, x, 3, metric='euclidean').rows\n"
        "assert (flat.search(x, 3)[1] == expected).all()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def saved(folder: Path, settings: IndexSettings, rows: Vectors) -> None:
    names = [f"id{row}" for row in range(len(rows))]
    gallery = Gallery.build(rows, ids=names, labels=names, model={"sha256": "a"})
    write_gallery(folder, gallery, settings=settings)


SAVED = [
    pytest.param(IndexSettings(engine="faiss-flat"), marks=faiss_only, id="flat"),
    pytest.param(IndexSettings(engine="faiss-hnsw"), marks=faiss_only, id="hnsw"),
    pytest.param(CELLS, marks=faiss_only, id="ivfpq"),
    pytest.param(IndexSettings(engine="milvus"), marks=milvus_only, id="milvus"),
]


@pytest.mark.parametrize("settings", SAVED)
def test_a_saved_index_answers_as_it_did(
    settings: IndexSettings, many: Vectors, tmp_path: Path
) -> None:
    rows = many if settings.engine == "faiss-ivfpq" else many[:600]
    saved(tmp_path / "index", settings, rows)
    assert any("rows asked for find" in one for one in verify_gallery(tmp_path / "index"))
    _, index = open_gallery(tmp_path / "index")
    queries = clustered(20, 16, seed=1)
    before = build_index(rows, settings=settings).search(queries, 5)
    assert np.array_equal(index.search(queries, 5).rows, before.rows)
    index.close()  # a database that is open cannot be moved
    moved = (tmp_path / "index").rename(tmp_path / "moved")
    assert np.array_equal(open_gallery(moved)[1].search(queries, 5).rows, before.rows)


@faiss_only
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[::-1].copy(), "does not find vectors of its own gallery"),
        (lambda rows: rows[:-1], "holds another gallery"),
        (lambda rows: rows[:, :8], "holds another gallery"),
    ],
)
def test_an_engine_over_other_embeddings_is_found(
    change: Callable[[Vectors], Vectors], words: str, many: Vectors, tmp_path: Path
) -> None:
    """The file of another gallery, with its size and hash written into the description."""
    from sightline.search.writer import file_facts

    settings = IndexSettings(engine="faiss-hnsw")
    saved(tmp_path / "index", settings, many[:600])
    build_index(change(many[:600]), settings=settings).save(tmp_path / "index")
    file = tmp_path / "index" / "index.json"
    description = json.loads(file.read_text())
    description["files"]["index.faiss"] = file_facts(tmp_path / "index" / "index.faiss")
    file.write_text(json.dumps(description))
    with pytest.raises(DataError, match=words):
        open_gallery(tmp_path / "index")


@faiss_only
def test_a_file_that_faiss_cannot_read_is_named(many: Vectors, tmp_path: Path) -> None:
    settings = IndexSettings(engine="faiss-hnsw")
    saved(tmp_path / "index", settings, many[:100])
    file = tmp_path / "index" / "index.faiss"
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(RunError, match=r"Faiss cannot read"):
        open_gallery(tmp_path / "index", verify=False)


@milvus_only
@pytest.mark.parametrize("damage", ["gone", "emptied"])
def test_a_database_without_the_gallery_is_named(
    damage: str, many: Vectors, tmp_path: Path
) -> None:
    import shutil

    from milvus_lite.server_manager import server_manager_instance
    from pymilvus import MilvusClient

    saved(tmp_path / "index", IndexSettings(engine="milvus"), many[:50])
    database = tmp_path / "index" / "milvus.db"
    if damage == "gone":
        shutil.rmtree(database)
    else:
        client = MilvusClient(str(database))
        for name in client.list_collections():
            client.drop_collection(name)
        client.close()
        server_manager_instance.release_server(str(database))
    with pytest.raises(RunError, match="database"):
        open_gallery(tmp_path / "index")


@milvus_only
def test_a_database_outside_the_gallery_is_filled_where_it_is(
    many: Vectors, tmp_path: Path
) -> None:
    address = str(tmp_path / "shared.db")
    settings = IndexSettings(engine="milvus", address=address)
    saved(tmp_path / "one", settings, many[:60])
    saved(tmp_path / "two", settings, many[60:160])
    assert not (tmp_path / "one" / "milvus.db").exists()
    for name, rows in (("one", many[:60]), ("two", many[60:160])):
        gallery, index = open_gallery(tmp_path / name)
        assert len(gallery) == index.size == len(rows)
        assert index.search(rows[3:5], 1).rows.tolist() == [[3], [4]]


@milvus_only
def test_two_that_read_one_database_do_not_end_each_other(many: Vectors, tmp_path: Path) -> None:
    saved(tmp_path / "index", IndexSettings(engine="milvus"), many[:50])
    _, index = open_gallery(tmp_path / "index")
    verify_gallery(tmp_path / "index")  # opens it, and closes it at its end
    assert index.search(many[7:8], 1).rows.tolist() == [[7]]


@milvus_only
def test_a_database_of_another_process_is_named(many: Vectors, tmp_path: Path) -> None:
    import fcntl

    saved(tmp_path / "index", IndexSettings(engine="milvus"), many[:50])
    with (tmp_path / "index" / "milvus.db" / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="no other process"):
            open_gallery(tmp_path / "index")


@milvus_only
def test_a_server_that_does_not_answer_is_an_error_with_its_address(many: Vectors) -> None:
    settings = IndexSettings(engine="milvus", address="http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"127\.0\.0\.1:9"):
        build_index(many[:10], settings=settings)


@pytest.mark.parametrize(
    ("package", "engine", "extra"),
    [("faiss", "faiss-flat", "faiss"), ("pymilvus", "milvus", "milvus")],
)
def test_a_missing_package_names_its_extra(
    package: str, engine: Engine, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [name for name in sys.modules if name.split(".")[0] == package]
    for name in [*loaded, package]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"sightline\[{extra}\]"):
        build_index(clustered(20, 4), settings=IndexSettings(engine=engine))


def test_cells_follow_the_size_of_the_gallery() -> None:
    settings = IndexSettings(engine="faiss-ivfpq")
    assert plan_cells(1_000_000, 512, settings) == (4000, 250, 64, 256_000)
    assert plan_cells(100_000, 256, settings) == (1265, 79, 32, 80_960)
    assert plan_cells(10_000, 100, settings) == (256, 16, 10, 10_000)
    assert plan_cells(10_000, 7, settings).code_bytes == 7
    assert default_probes(5) == 5
    own = IndexSettings(engine="faiss-ivfpq", lists=10, probes=99, code_bytes=25)
    assert plan_cells(10_000, 100, own)[:3] == (10, 10, 25)


@pytest.mark.parametrize(
    ("count", "change", "words"),
    [
        (9983, {}, "9984"),
        (10_000, {"lists": 257}, "256"),
        (10_000, {"code_bytes": 3}, "divides the dimension 64"),
    ],
)
def test_cells_that_cannot_be_learned_are_refused(
    count: int, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        plan_cells(count, 64, IndexSettings(engine="faiss-ivfpq", **change))


@pytest.mark.parametrize("metric", METRICS)
def test_the_best_of_the_candidates_by_hand(metric: Metric) -> None:
    rows = np.float32([[1, 0], [3, 0], [0, 1], [1, 0], [-1, 0], [2, 2]])
    candidates = np.array([[5, 3, 0, 4, -1, 1, 2], [4, -1, -1, -1, -1, -1, -1]])
    queries = np.float32([[2, 0], [2, 0]])
    found = best_of(queries, rows, candidates, 3, metric=metric)
    expected = {"cosine": [0, 1, 3], "euclidean": [0, 1, 3], "dot": [1, 5, 0]}[metric]
    assert found.rows.tolist() == [expected, [4, -1, -1]]
    assert np.isinf(found.distances[1, 1:]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_the_best_of_all_rows_are_those_of_the_exact_engine(metric: Metric) -> None:
    """Lengths differ, so that candidates must not be put in the order of another metric."""
    random = np.random.default_rng(2)
    rows = (clustered(200, 6) * random.uniform(0.1, 3, (200, 1))).astype(np.float32)
    queries = clustered(30, 6, seed=3) * np.float32(2)
    candidates = np.tile(random.permutation(200), (30, 1))
    found = best_of(queries, rows, candidates, 3, metric=metric)
    expected = nearest(queries, rows, 3, metric=metric)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.distances, expected.distances)
