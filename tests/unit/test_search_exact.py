from __future__ import annotations

import math
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sightline.search
from sightline.errors import DataError
from sightline.search import exact, plan, pruned, scores
from sightline.search.bounds import HALF_UNIT, Lengths, rounding_errors, score_errors
from sightline.search.exact import nearest
from sightline.search.neighbours import METRICS, Metric, distances_of, pack, unpack
from sightline.search.plan import CHUNK, plan_search
from sightline.search.scores import Scorer, best_of_chunks
from sightline.search.vectors import Vectors

Array = npt.NDArray[Any]
PRECISIONS = ("fp32", "bf16")


def slow_distance(query: Array, vector: Array, metric: Metric) -> float:
    """By the definition, in Python's own numbers."""
    q, g = [float(x) for x in query], [float(x) for x in vector]
    if metric == "euclidean":
        return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(q, g, strict=True)))
    product = math.fsum(a * b for a, b in zip(q, g, strict=True))
    if metric == "dot":
        return -product
    lengths = math.sqrt(math.fsum(a * a for a in q)) * math.sqrt(math.fsum(b * b for b in g))
    return 1 - product / lengths if lengths else 1.0


def slow_nearest(
    queries: Array, gallery: Array, k: int, metric: Metric
) -> tuple[Array, list[list[int]]]:
    distances = np.array(
        [[slow_distance(query, vector, metric) for vector in gallery] for query in queries]
    )
    # Distances that differ by rounding alone are equal: whole numbers are at least this far apart.
    order = [
        sorted(range(len(gallery)), key=lambda row, of=of: (round(of[row], 9), row))[:k]
        for of in distances
    ]
    return np.take_along_axis(distances, np.array(order), axis=1), order


def cloud(seed: int, count: int, size: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, size), dtype=np.float32)


def truth(queries: Array, gallery: Array, metric: Metric) -> npt.NDArray[np.float64]:
    """All distances in float64."""
    q, g = queries.astype(np.float64), gallery.astype(np.float64)
    if metric == "dot":
        return np.asarray(-(q @ g.T))
    if metric == "cosine":
        q, g = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-300) for v in (q, g))
    squared = np.stack([((one - g) ** 2).sum(axis=1) for one in q])
    return np.sqrt(squared) if metric == "euclidean" else squared / 2


def assert_true(queries: Array, gallery: Array, k: int, metric: Metric, **how: Any) -> None:
    """Rows are those of float64 but for distances that float32 cannot tell apart."""
    found = nearest(queries, gallery, k, metric=metric, **how)
    distances = truth(queries, gallery, metric)
    expected = np.sort(distances, axis=1)[:, :k].astype(np.float32)
    at_rows = np.take_along_axis(distances, found.rows, axis=1).astype(np.float32)
    np.testing.assert_array_max_ulp(at_rows, expected, maxulp=1)
    np.testing.assert_allclose(found.distances, expected, rtol=3e-7, atol=1e-12)
    assert all(len(set(rows)) == k for rows in found.rows.tolist())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("precision", PRECISIONS)
@given(
    seed=st.integers(0, 2**30), queries=st.integers(1, 6), count=st.integers(1, 90),
    size=st.integers(1, 5), span=st.integers(1, 4), share=st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_agrees_with_the_definition_with_ties_and_zeros(
    metric: Metric, precision: Any, seed: int, queries: int, count: int, size: int, span: int,
    share: float,
) -> None:  # fmt: skip
    """Whole numbers: many equal vectors, many equal distances, vectors of zeros."""
    random = np.random.default_rng(seed)
    q = random.integers(-span, span + 1, (queries, size)).astype(np.float32)
    g = random.integers(-span, span + 1, (count, size)).astype(np.float32)
    k = max(1, round(share * count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_WORTHWHILE", 0)  # both ways of searching are for any size
        found = nearest(q, g, k, metric=metric, precision=precision)
    scanned = nearest(q, g, k, metric=metric)
    distances, rows = slow_nearest(q, g, k, metric)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6, atol=1e-7)
    for one in (found, scanned):
        if metric == "cosine":
            assert np.all(np.abs(np.diff(one.distances)) >= 0)
        else:
            assert one.rows.tolist() == rows
    assert found.rows.tolist() == scanned.rows.tolist()
    np.testing.assert_array_equal(found.distances, scanned.distances)


def clustered(seed: int, count: int, size: int, *, spread: float = 0.3) -> Array:
    """Unit vectors around centres, those of one centre one after the other, as classes lie."""
    centres = cloud(seed, max(1, count // 200), size)
    near = np.repeat(centres, -(-count // len(centres)), axis=0)[:count]
    vectors = near + spread * cloud(seed + 1, count, size)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_agrees_with_float64_where_chunks_are_left_out(metric: Metric, precision: Any) -> None:
    gallery = clustered(0, 9001, 24) * np.linspace(0.5, 2, 9001, dtype=np.float32)[:, None]
    queries = clustered(0, 2500, 24)[::40]
    for k in (1, 7, 30):
        assert_true(queries, gallery, k, metric, precision=precision)


def hostile(name: str, gallery: Array) -> Array:
    if name == "common mean":
        return (gallery + 100).astype(np.float32)
    if name == "near copies":
        return (gallery[:1] + 1e-6 * gallery).astype(np.float32)
    if name == "huge lengths":
        return (gallery * np.float32(10.0) ** np.linspace(-6, 12, len(gallery))[:, None]).astype(
            np.float32
        )
    return np.repeat(gallery[: len(gallery) // 50 + 1], 50, axis=0)[: len(gallery)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["common mean", "near copies", "huge lengths", "copies"])
def test_agrees_with_float64_on_vectors_that_round_badly(
    metric: Metric, precision: Any, name: str
) -> None:
    gallery = hostile(name, cloud(3, 3001, 20))
    queries = hostile(name, np.concatenate([cloud(3, 10, 20), cloud(4, 20, 20)]))
    queries[:10] = gallery[:3000:300]
    assert_true(queries, gallery, 5, metric, precision=precision)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bound_that_leaves_nothing_out_gives_queries_up(metric: Metric, precision: Any) -> None:
    """All vectors are nearly equal: no score of float32 can tell which are near."""
    gallery = (cloud(1, 1, 16) + 1e-7 * cloud(2, 5000, 16)).astype(np.float32)
    queries = gallery[:20].copy()
    scorer = Scorer(metric, precision == "bf16")
    sizes = plan_search(20, 5000, 16, k=3, memory=2**24)
    search = pruned.PrunedSearch(
        torch.from_numpy(queries),
        Vectors(torch.from_numpy(gallery), torch.device("cpu")), 3, scorer,
    )  # fmt: skip
    assert search.run(sizes)[1].all()
    assert_true(queries, gallery, 3, metric, precision=precision)


@pytest.mark.parametrize("metric", METRICS)
def test_of_equal_vectors_the_smaller_row_comes_first(metric: Metric) -> None:
    distinct = cloud(0, 60, 40)
    places = np.random.default_rng(1).integers(0, 60, 7000)
    gallery, queries = distinct[places], distinct[:25]
    for k in (1, 4, 27):
        found = nearest(queries, gallery, k, metric=metric)
        best = truth(queries, distinct, metric).argmin(axis=1)
        for row, near in zip(found.rows, best, strict=True):
            assert row.tolist() == np.flatnonzero(places == near)[:k].tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [700, 9000])
def test_the_answer_depends_on_the_vectors_alone(metric: Metric, count: int) -> None:
    gallery, queries = clustered(5, count, 65), clustered(5, count, 65, spread=0.2)[::37]
    gallery[count // 3 : count // 3 + 200] = gallery[:200]
    whole = nearest(queries, gallery, 9, metric=metric)
    ways = [
        nearest(queries, gallery, 9, metric=metric, memory_mib=1),
        nearest(queries, gallery, 9, metric=metric, memory_mib=3, precision="bf16"),
        nearest(torch.from_numpy(queries), torch.from_numpy(gallery), 9, metric=metric),
    ]
    for way in ways:
        np.testing.assert_array_equal(way.rows, whole.rows)
        np.testing.assert_array_equal(way.distances, whole.distances)
    order = np.random.default_rng(0).permutation(len(queries))
    shuffled = nearest(queries[order], gallery, 9, metric=metric)
    np.testing.assert_array_equal(shuffled.rows, whole.rows[order])
    for one in (0, len(queries) - 1):
        alone = nearest(queries[one : one + 1], gallery, 9, metric=metric)
        np.testing.assert_array_equal(alone.rows[0], whole.rows[one])
        np.testing.assert_array_equal(alone.distances[0], whole.distances[one])
    fewer = nearest(queries, gallery, 4, metric=metric)
    np.testing.assert_array_equal(fewer.rows, whole.rows[:, :4])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("segment", [128, 512, 4096])
def test_many_segments_find_what_one_finds(
    metric: Metric, segment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments of fewer chunks than neighbours are asked for bound nothing at first."""
    gallery, queries = clustered(2, 6007, 12), clustered(9, 120, 12)
    whole = nearest(queries, gallery, 6, metric=metric)
    small = plan.Plan(
        queries=70, segment=segment, piece=128, block=33, numbers=500, pairs=300, exact=17
    )
    monkeypatch.setattr(exact, "plan_search", lambda *_, **__: small)
    cut = nearest(queries, gallery, 6, metric=metric)
    np.testing.assert_array_equal(cut.rows, whole.rows)
    np.testing.assert_array_equal(cut.distances, whole.distances)
    last = nearest(queries[:70], gallery[:1601], 6, metric=metric)
    expected = nearest(queries[:70], gallery[:1500], 6, metric=metric)
    assert last.rows.max() <= 1600
    assert (last.distances <= expected.distances).all()


def test_a_copy_is_at_distance_zero() -> None:
    gallery = cloud(0, 3000, 33) * 7
    for metric, count in product(("cosine", "euclidean"), (100, 3000)):
        found = nearest(gallery[:40], gallery[:count], 2, metric=metric)
        assert found.rows[:, 0].tolist() == list(range(40))
        assert not found.distances[:, 0].any()
        assert found.distances[:, 1].all()


def test_distances_by_hand() -> None:
    gallery = np.array([[3, 4], [0, 2], [0, 0], [-3, -4]], np.float32)
    query = np.array([[0.0, 1.0]], np.float32)
    cosine = nearest(query, gallery, 4)
    assert cosine.rows.tolist() == [[1, 0, 2, 3]]
    np.testing.assert_allclose(cosine.distances, [[0, 0.2, 1, 1.8]], rtol=1e-6)
    euclidean = nearest(query, gallery, 4, metric="euclidean")
    assert euclidean.rows.tolist() == [[1, 2, 0, 3]]
    np.testing.assert_allclose(euclidean.distances, [[1, 1, math.sqrt(18), math.sqrt(34)]])
    dot = nearest(query, gallery, 4, metric="dot")
    assert dot.rows.tolist() == [[0, 1, 2, 3]]
    assert dot.distances.tolist() == [[-4, -2, 0, 4]]
    assert not np.signbit(dot.distances[0, 2])


def test_a_vector_of_zeros_is_at_cosine_distance_one_from_everything() -> None:
    gallery = cloud(0, 4000, 8)
    gallery[100] = 0
    queries = np.concatenate([np.zeros((1, 8), np.float32), cloud(1, 3, 8)])
    found = nearest(queries, gallery, 3)
    assert found.rows[0].tolist() == [0, 1, 2]
    assert found.distances[0].tolist() == [1, 1, 1]
    small = nearest(queries, gallery[90:110], 20)
    assert small.distances[0].tolist() == [1.0] * 20
    assert small.distances[small.rows == 10].tolist() == [1.0] * 4


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("factor", [2.0**-70, 2.0**55])
def test_lengths_beyond_products_in_float32(metric: Metric, factor: float) -> None:
    gallery, queries = cloud(0, 3000, 8), cloud(1, 5, 8)
    plain = nearest(queries, gallery, 4, metric=metric)
    scaled = nearest(queries * np.float32(factor), gallery * np.float32(factor), 4, metric=metric)
    np.testing.assert_array_equal(scaled.rows, plain.rows)


def test_every_kind_of_input_is_taken(tmp_path: Path) -> None:
    gallery, queries = clustered(0, 3000, 16), clustered(7, 20, 16)
    short = gallery.astype(np.float16)
    np.save(tmp_path / "gallery.npy", short)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    expected = nearest(queries, short.astype(np.float32), 5)
    for given_gallery in (
        mapped,
        short,
        torch.from_numpy(short),
        short.astype(np.float64),
        np.asfortranarray(short.astype(np.float32)),
        short.astype(">f4"),
        np.repeat(short, 2, axis=0)[::2],
        short[::-1][::-1],
        torch.from_numpy(short).float().requires_grad_(),
    ):
        found = nearest(queries, given_gallery, 5)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.distances, expected.distances)
    assert (
        nearest(queries[:, ::-1], gallery[:, ::-1], 5).rows.tolist()
        == nearest(queries, gallery, 5).rows.tolist()
    )
    assert found.rows.dtype == np.int64
    assert found.distances.dtype == np.float32


@pytest.mark.parametrize("count", [10, 3000])
def test_no_queries_have_no_neighbours(count: int) -> None:
    found = nearest(np.empty((0, 4), np.float32), cloud(0, count, 4), 2)
    assert found.distances.shape == found.rows.shape == (0, 2)


@pytest.mark.parametrize("queries", [(3,), (3, 5), (3, 4, 1)])
def test_shapes_that_do_not_fit_are_refused(queries: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="do not fit together"):
        nearest(np.zeros(queries, np.float32), cloud(0, 6, 4), 1)


@pytest.mark.parametrize("k", [0, -1, 7])
def test_more_neighbours_than_vectors_are_refused(k: int) -> None:
    with pytest.raises(DataError, match=f"does not have {k} nearest") as problem:
        nearest(cloud(0, 2, 4), cloud(0, 6, 4), k)
    assert problem.value.expected == "k from 1 to 6"
    assert (problem.value.remedy is not None) == (k == 7)


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(DataError, match="does not have 1 nearest"):
        nearest(cloud(0, 2, 4), np.empty((0, 4), np.float32), 1)


@pytest.mark.parametrize("count", [40, 3000])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_with_their_row(count: int, value: float) -> None:
    gallery, queries = cloud(0, count, 4), cloud(1, 9, 4)
    gallery[33, 2] = value
    with pytest.raises(DataError, match="vectors of the gallery are not finite") as problem:
        nearest(queries, gallery, 1)
    assert problem.value.where == "row 33"
    queries[7, 0] = value
    with pytest.raises(DataError, match="queries are not finite") as problem:
        nearest(queries, cloud(0, count, 4), 1)
    assert problem.value.where == "row 7"


def test_other_wrong_input_is_refused() -> None:
    gallery: Any = cloud(0, 6, 4)
    with pytest.raises(DataError, match="no such metric"):
        nearest(gallery, gallery, 1, metric="manhattan")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such precision"):
        nearest(gallery, gallery, 1, precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="needs memory"):
        nearest(gallery, gallery, 1, memory_mib=0)
    with pytest.raises(DataError, match="no floating-point numbers"):
        nearest(gallery, gallery.astype(np.int64), 1)


def test_nothing_is_changed() -> None:
    gallery, queries = cloud(0, 3000, 8), cloud(1, 5, 8)
    copies = gallery.copy(), queries.copy()
    for metric in METRICS:
        nearest(queries, gallery, 3, metric=metric, precision="bf16")
        nearest(queries, gallery[:50], 3, metric=metric)
    np.testing.assert_array_equal(gallery, copies[0])
    np.testing.assert_array_equal(queries, copies[1])


def lengths_of(vectors: torch.Tensor) -> Lengths:
    lost = (vectors - vectors.bfloat16().float()).double().norm(dim=1).float()
    return Lengths(vectors.double().norm(dim=1).float(), lost)


@given(
    seed=st.integers(0, 2**30), size=st.integers(1, 300), shift=st.sampled_from([0.0, 1.0, 50.0]),
    metric=st.sampled_from(METRICS),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_scores_are_within_their_bounds(seed: int, size: int, shift: float, metric: Metric) -> None:
    """Of products in float32, and in bfloat16 with a result in it."""
    q, g = (torch.from_numpy(cloud(seed + part, 12, size) + shift).float() for part in (0, 1))
    if metric == "cosine":
        q, g = (v / v.norm(dim=1, keepdim=True) for v in (q, g))
    true = q.double() @ g.double().T
    scorer, half = Scorer(metric), Scorer(metric, half=True)
    if metric == "euclidean":
        true = true - g.double().square().sum(dim=1) / 2
    ready, ready_half = [s.ready(v, "v") for s, v in ((scorer, g), (half, g))]
    asked, asked_half = [s.ready(v, "v") for s, v in ((scorer, q), (half, q))]
    room = torch.empty(12, 12)
    error = score_errors(asked.lengths.columns(), ready.lengths, metric=metric, size=size).double()
    found = scorer._approximate(asked, ready, room).double()
    assert ((found - true).abs() <= error).all()
    rounded = half._approximate(asked_half, ready_half, room).double()
    error = error + rounding_errors(asked_half.lengths.columns(), ready_half.lengths, metric=metric)
    if metric != "euclidean":
        error = error + HALF_UNIT * rounded.abs()
    assert ((rounded - true).abs() <= error).all()


def test_bounds_are_of_use() -> None:
    """They are no wider than the worst case of a rounded factor, and narrower than a score."""
    unit = torch.from_numpy(clustered(0, 300, 512))
    one = lengths_of(unit[:1])
    fine = score_errors(one, one, metric="cosine", size=512)
    assert 2**-24 < float(fine) < 1e-4
    rough = rounding_errors(one, one, metric="cosine")
    assert 2**-10 < float(rough) < 2**-7


def test_bounds_follow_what_torch_may_round_factors_to() -> None:
    one = Lengths(torch.ones(1), torch.zeros(1))
    products, errors = torch.backends.mkldnn.matmul, {}
    before = products.fp32_precision
    try:
        for name in ("ieee", "tf32", "bf16"):
            products.fp32_precision = name
            errors[name] = float(score_errors(one, one, metric="dot", size=64))
    finally:
        products.fp32_precision = before
    assert errors["tf32"] > errors["ieee"] + 2 * 2**-11
    assert errors["bf16"] > errors["ieee"] + 2 * 2**-8


@pytest.mark.parametrize("columns", [1, 63, 64, 65, 128, 200])
def test_best_of_chunks(columns: int) -> None:
    table = torch.from_numpy(cloud(columns, 5, columns))
    expected = torch.stack([part.amax(dim=1) for part in table.split(CHUNK, dim=1)], dim=1)
    assert torch.equal(best_of_chunks(table), expected)


def test_chunks_scored_at_once_and_in_turn_are_the_same() -> None:
    gallery = Vectors(torch.from_numpy(cloud(0, 200, 9)), torch.device("cpu"))
    scorer = Scorer("dot")
    sizes = plan_search(6, 200, 9, k=2, memory=2**22)
    queries = torch.from_numpy(cloud(1, 6, 9))
    table = scorer.table(scorer.ready(queries, "queries"), gallery, (64, 192), sizes)
    chunks = torch.tensor([0, 0, 0, 1, 1, 1])
    rows = 64 + chunks[:, None] * CHUNK + torch.arange(CHUNK)
    at_once = scores._products_at_once(queries, rows, gallery)
    in_turn = scores._products_in_turn(queries, chunks, gallery, table)
    torch.testing.assert_close(at_once, in_turn)
    expected = (queries.double() @ gallery.table.double().T).gather(1, rows).float()
    torch.testing.assert_close(in_turn, expected)


@given(
    distances=st.lists(
        st.floats(width=32, allow_nan=False).map(lambda x: x + 0.0), min_size=1, max_size=30
    )
)
def test_packed_pairs_sort_by_distance_then_row(distances: list[float]) -> None:
    values = np.array(distances, np.float32)
    rows = np.arange(2**32 - 1, 2**32 - 1 - len(values), -1)
    packed = pack(torch.from_numpy(values), torch.from_numpy(rows))
    found = unpack(packed.sort().values)
    expected = sorted(zip(values.tolist(), rows.tolist(), strict=True))
    assert list(zip(found.distances.tolist(), found.rows.tolist(), strict=True)) == expected


@pytest.mark.parametrize("metric", METRICS)
def test_a_distance_does_not_depend_on_the_pairs_beside_it(metric: Metric) -> None:
    for size in (1, 7, 64, 513):
        one, other = (torch.from_numpy(cloud(seed, 300, size)) for seed in (0, 1))
        together = distances_of(one, other, metric)
        for row in (0, 7, 299):
            alone = distances_of(one[row : row + 1], other[row : row + 1], metric)
            assert torch.equal(alone, together[row : row + 1])


@given(
    queries=st.integers(1, 10**6), rows=st.integers(1, 10**8), size=st.integers(1, 4096),
    k=st.integers(1, 1000), mib=st.integers(16, 4096),
)  # fmt: skip
def test_plans_keep_to_the_memory(queries: int, rows: int, size: int, k: int, mib: int) -> None:
    memory = mib * 2**20
    sizes = plan_search(queries, rows, size, k=k, memory=memory)
    assert sizes.segment % sizes.piece == 0
    assert sizes.piece % CHUNK == 0
    table = 4 * sizes.queries * sizes.segment // CHUNK
    product = 4 * (sizes.block * sizes.piece + 2 * sizes.piece * size)
    assert table <= memory / 2 + 4 * sizes.queries * sizes.piece / CHUNK
    assert product <= memory / 8 + 4 * 2 * CHUNK * size
    assert 4 * sizes.queries * size <= memory / 8 + 4 * size


MEASURED = """
import sys, threading, time
import numpy as np
import torch
from sightline.search import nearest

def resident():
    for line in open("/proc/self/status", encoding="utf-8"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024

torch.set_num_threads(1)
gallery = np.load(sys.argv[1], mmap_mode="r")
queries = np.array(gallery[:1000])
nearest(queries[:50], gallery[:20000], 10)  # what libraries set up once is not a search's
before, peak, done = resident(), 0.0, threading.Event()

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, resident())

watcher = threading.Thread(target=watch)
watcher.start()
nearest(queries, gallery, 10, memory_mib=int(sys.argv[2]), precision=sys.argv[3])
done.set()
watcher.join()
print(peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("precision", ["fp32"])
def test_memory_beside_the_gallery_is_bounded(tmp_path: Path, precision: str) -> None:
    np.save(tmp_path / "gallery.npy", clustered(0, 40_000, 128))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "gallery.npy"), "16", precision],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 16


def test_public_names() -> None:
    assert all(hasattr(sightline.search, name) for name in sightline.search.__all__)
    assert sightline.search.nearest is nearest
    with pytest.raises(AttributeError, match="no attribute 'farthest'"):
        _ = sightline.search.farthest
