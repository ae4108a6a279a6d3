"""The compression task: its settings, its pools, and scores that plain loops find too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError

from sightline.data.dataset import Dataset
from sightline.data.manifest import Manifest
from sightline.errors import ConfigError, DataError
from sightline.losses.rank_distance import LOSSES
from sightline.models.pca import principal_components
from sightline.tasks import TASKS
from sightline.tasks.compress_config import CompressConfig
from sightline.tasks.compress_judging import compress_result, recalls_of
from sightline.tasks.compress_pool import companions, pool_of
from sightline.tasks.compression import CompressionTask, create_loss
from sightline.tasks.task import Truth

Table = npt.NDArray[Any]


def config(**sections: Any) -> CompressConfig:
    sections.setdefault("eval", {"bootstrap": 100})
    return CompressConfig(**sections)


def judged(pool: Any = 3000, ks: tuple[int, ...] = (5, 10), **loss: Any) -> CompressConfig:
    return config(
        eval={"bootstrap": 100, "pool": pool, "recall_k": ks},
        train={"monitor": f"recall_at_{ks[0]}"},
        model={"latent_dim": 3},
        loss=loss,
    )


def samples(fit: int = 60, val: int = 20, test: int = 30) -> Manifest:
    splits = ["fit"] * fit + ["val"] * val + ["test"] * test
    order = np.random.default_rng(0).permutation(len(splits))
    return Manifest.build(
        Path(),
        id=[str(one) for one in range(len(splits))],
        path=["vectors.npy"] * len(splits),
        split=[splits[place] for place in order],
    )


def cloud(rows: int, width: int = 8, seed: int = 0) -> Table:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def plain_recall(before: Table, after: Table, queries: list[int], pool: list[int], k: int) -> Table:
    """Recall@k of rows of a table among others of it, by loops, with Euclidean distances."""
    found = []
    for query in queries:
        nearest = []
        for table in (before.astype(np.float64), after.astype(np.float64)):
            far = {row: float(((table[query] - table[row]) ** 2).sum()) for row in pool}
            far.pop(query, None)
            nearest.append(set(sorted(far, key=lambda row, far=far: far[row])[:k]))
        found.append(len(nearest[0] & nearest[1]) / k)
    return np.array(found)


# Settings.


def test_every_loss_can_be_made_from_its_settings() -> None:
    for name, loss in LOSSES.items():
        pairs = {"lambda_pairdist": 0.3} if "V1" in name else {}
        made = create_loss(config(loss={"function": name, **pairs}))
        assert type(made) is loss
        assert made.lambda_pairdist == pairs.get("lambda_pairdist", 0.0)
        total, _, _ = made(torch.from_numpy(cloud(20)), torch.from_numpy(cloud(20, 3)))
        assert torch.isfinite(total)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"loss": {"function": "DPLossV1"}}, "has no gradient"),
        ({"loss": {"function": "DPLossV1Norm", "lambda_rank": 0.0}}, "has no gradient"),
        (
            {"loss": {"function": "DPLossV1", "lambda_pairdist": 0.3, "tau": 0.5}},
            "tau is used only",
        ),
        ({"loss": {"function": "DPLossV2", "k": 5}}, "k is used only"),
        ({"loss": {"tau_scale": "absolute"}}, "tau_scale is used only"),
        ({"loss": {"lambda_rank": 0.0}}, "there is no loss"),
        ({"loss": {"balance": "auto"}}, "needs both terms"),
        (
            {"loss": {"function": "DPLossV1", "lambda_pairdist": 1.0, "balance": "auto"}},
            "nothing to balance",
        ),
        ({"loss": {"k": 511}}, "lower loss.k to 510"),
        ({"train": {"batch_size": 8}}, "lower loss.k to 6"),
        ({"train": {"batch_size": 8}, "loss": {"function": "DPLossTopK"}}, "lower loss.k to 6"),
        ({"train": {"monitor": "recall_at_7"}}, "measures recall_at_5, recall_at_10"),
        ({"train": {"mode": "min"}}, "worst recall_at_10"),
        ({"eval": {"pool": 9}}, "eval.pool"),
        ({"eval": {"recall_k": ()}}, "recall_k"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    sections: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        CompressConfig(**sections)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "loss",
    [{"function": "DPLossV2"}, {"function": "DPLossV1", "lambda_pairdist": 1.0}, {"k": 6}],
)
def test_small_batches_are_taken_where_neighbours_do_not_need_more(loss: dict[str, Any]) -> None:
    assert config(train={"batch_size": 8}, loss=loss).train.batch_size == 8


# Pools.


@pytest.mark.parametrize("size", [10, 45, 70, 10_000, "full", "held-out"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_what_fills_a_pool_is_never_sealed_and_never_too_much(size: Any, split: str) -> None:
    manifest = samples()
    asked = set(manifest.id[manifest.rows(split)].tolist())
    found = companions(manifest, (split,), pool=size, seed=3)
    ids = found.id.tolist()
    assert len(ids) == len(set(ids))
    assert not asked & set(ids)
    splits = {found.split_text(row) for row in range(len(found))}
    allowed = {"fit"} if split == "val" else {"fit", "val"}
    assert splits <= allowed, "validation never sees the test"
    others = 60 if split == "val" else 80
    wanted = {"full": others, "held-out": 0}.get(str(size))
    if wanted is None:
        wanted = min(max(size - len(asked), 0), others)
    assert len(ids) == wanted
    again = companions(manifest, (split,), pool=size, seed=3)
    assert again.id.tolist() == ids
    if 0 < wanted < others:
        assert companions(manifest, (split,), pool=size, seed=4).id.tolist() != ids


def test_a_pool_holds_its_queries_at_their_own_places() -> None:
    pool = pool_of(20, 30, pool=3000, seed=1)
    assert pool.places.tolist() == list(range(50))
    assert pool.own.tolist() == list(range(20))
    assert pool.as_dict() == {"rows": 50, "held_out": 20, "others": 30}
    assert pool.in_words() == "pool: 50 rows, 30 of them not held out"


def test_a_pool_smaller_than_the_queries_holds_some_of_them() -> None:
    pool = pool_of(200, 0, pool=50, seed=1)
    assert len(set(pool.places.tolist())) == 50
    assert pool.held_out == 50
    for query, place in enumerate(pool.own.tolist()):
        if query in pool.places:
            assert pool.places[place] == query
        else:
            assert place == -1
    assert pool.in_words() == "pool: 50 rows, all of them held out"
    assert pool_of(200, 0, pool=50, seed=2).places.tolist() != pool.places.tolist()
    assert len(pool_of(200, 40, pool="full", seed=1).places) == 240


# Scores.


@pytest.mark.parametrize(
    ("queries", "others", "size"), [(25, 40, 3000), (60, 0, 30), (30, 0, "full")]
)
def test_recall_is_what_plain_loops_find(queries: int, others: int, size: Any) -> None:
    before = cloud(queries + others)
    after = before[:, :6] + 0.1 * cloud(queries + others, 6, seed=1)
    found, pool = recalls_of(
        (before[:queries], after[:queries]),
        (before[queries:], after[queries:]),
        judged(size, (1, 4, 10)),
    )
    assert sorted(found) == [1, 4, 10]
    for k, values in found.items():
        wanted = plain_recall(before, after, list(range(queries)), pool.places.tolist(), k)
        np.testing.assert_allclose(values, wanted, atol=1e-9)
        assert 0 < values.mean() < 1


def test_recall_by_cosine_is_that_of_directions() -> None:
    before = cloud(60)
    after = before[:, :4]
    found, _ = recalls_of(
        (before, after), (before[:0], after[:0]), judged("full", (5,), geometry="cosine")
    )
    turned = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (before, after)]
    rows = list(range(60))
    np.testing.assert_allclose(found[5], plain_recall(*turned, rows, rows, 5), atol=1e-9)


def result_of(before: Table, after: Table, others: int = 0, **more: Any) -> Any:
    queries = len(before) - others
    return compress_result(
        [str(one) for one in range(queries)],
        (before[:queries], after[:queries]),
        (before[queries:], after[queries:]),
        judged(),
        **{"components": None, **more},
    )


def test_an_encoder_that_turns_and_scales_keeps_everything() -> None:
    before = cloud(80)
    turn = np.linalg.qr(cloud(8, 8, seed=5))[0]
    found = result_of(before, 3 * before @ turn, others=20)
    assert {name: one.value for name, one in found.headline.items()} == {
        "recall_at_5": 1.0,
        "recall_at_10": 1.0,
    }
    assert found.more["rank_correlation"]["value"] == pytest.approx(1, abs=1e-6)
    assert found.more["stress"]["value"] == pytest.approx(0, abs=1e-3)
    assert found.lower_bounds["recall_at_10"] < 1, "so few queries promise no more"


def test_shuffled_embeddings_keep_what_chance_keeps() -> None:
    before = cloud(400)
    shuffled = before[np.random.default_rng(2).permutation(400)]
    found = result_of(before, shuffled)
    expected = 10 / 399
    assert found.headline["recall_at_10"].low < expected < found.headline["recall_at_10"].high
    assert abs(found.more["rank_correlation"]["value"]) < 0.05


def test_pca_beside_an_encoder_that_is_pca_gains_nothing() -> None:
    values = cloud(300) * np.linspace(3, 0.5, 8).astype(np.float32)
    components = principal_components([values[100:]])
    found = result_of(values, components.project(values, 3), others=200, components=components)
    (beside,) = found.baselines
    assert (beside.name, beside.width) == ("pca", 3)
    assert found.as_dict()["baselines"][0]["gains"]["recall_at_10"]["value"] == 0
    assert any("no difference that could not be chance" in line for line in found.summary())
    worse = result_of(values, values[:, 5:], others=200, components=components)
    assert any("the encoder keeps LESS" in line for line in worse.summary())
    better = result_of(values, values, others=200, components=components)
    assert any("the encoder keeps more" in line for line in better.summary())
    columns, rows = better.rows()
    assert columns == ["id", "recall_at_5", "recall_at_10", "pca_recall_at_5", "pca_recall_at_10"]
    means = np.mean([row[3:] for row in rows], axis=0)
    wanted = [one.value for one in better.baselines[0].estimates.values()]
    np.testing.assert_allclose(means, wanted, atol=1e-5)


def test_copies_are_drawn_together_and_are_neighbours_of_each_other() -> None:
    once = cloud(40)
    before = np.concatenate([once, once])
    codes = np.tile(np.arange(40), 2)
    found = result_of(before, before, codes=codes)
    assert found.headline["recall_at_5"].value == 1.0
    assert (found.headline["recall_at_5"].n, found.headline["recall_at_5"].unit) == (40, "group")
    plain = result_of(before, before)
    assert (plain.headline["recall_at_5"].n, plain.headline["recall_at_5"].unit) == (80, "query")


def test_sizes_are_those_of_float32_and_of_a_byte() -> None:
    values = cloud(60)
    settings = judged()
    pair, none = (values, values[:, :3]), (values[:0], values[:0, :3])
    ids = [str(one) for one in range(60)]
    plain = compress_result(ids, pair, none, settings, components=None)
    assert plain.sizes == {"numbers": 8, "bytes": 32, "latent_numbers": 3, "latent_bytes": 12}
    bytewise = settings.model_copy(
        update={"model": settings.model.model_copy(update={"int8": True})}
    )
    small = compress_result(ids, pair, none, bytewise, components=None)
    assert small.sizes["latent_bytes"] == 3
    assert "size: 3 bytes a vector for 32 of float32, 10.7 times smaller" in small.summary()


# The task.


def dataset_of(values: Table, **settings: Any) -> tuple[Dataset, CompressConfig]:
    from sightline.experiment.samples import find_samples

    np.save("vectors.npy", values)
    made = config(data={"vectors": Path("vectors.npy").absolute()}, **settings)
    return find_samples(made), made


def test_the_task_is_known_by_its_name() -> None:
    assert isinstance(TASKS["compress"], CompressionTask)


def test_the_size_of_the_vectors_is_found_and_compared() -> None:
    dataset, made = dataset_of(cloud(50), model={"latent_dim": 3})
    task = CompressionTask()
    assert task.resolve(dataset, made).model.input_dim == 8
    for changes, words in (
        ({"latent_dim": 9}, "latent_dim of at most 8"),
        ({"input_dim": 7, "latent_dim": 3}, "7 numbers, as model.input_dim says"),
    ):
        other = made.model_copy(update={"model": made.model.model_copy(update=changes)})
        with pytest.raises(ConfigError) as caught:
            task.resolve(dataset, other)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("pool", "ks"), [(10, (10,)), (11, (10,)), ("held-out", (7,)), ("full", (200,))]
)
def test_more_neighbours_than_the_pool_holds_are_refused_before_training(
    pool: Any, ks: tuple[int, ...]
) -> None:
    settings = {"bootstrap": 100, "pool": pool, "recall_k": ks}
    dataset, made = dataset_of(
        cloud(50), eval=settings, train={"monitor": f"recall_at_{ks[0]}"}, model={"latent_dim": 3}
    )
    with pytest.raises(DataError) as caught:
        CompressionTask().check_data(dataset, made)
    assert f"Recall@{ks[0]}" in str(caught.value)
    assert "eval.recall_k" in str(caught.value)


def test_what_is_remarkable_is_said() -> None:
    loss = {"function": "DPLossV1", "lambda_pairdist": 1.0}
    dataset, made = dataset_of(cloud(50), loss=loss, model={"latent_dim": 3})
    notes = CompressionTask().check_data(dataset, made)
    assert any("has no gradient" in one for one in notes)
    assert any("there are 34 rows to learn from" in one for one in notes), notes


def test_a_split_is_judged_with_its_companions_in_the_order_of_its_rows() -> None:
    dataset, made = dataset_of(cloud(60), model={"latent_dim": 3})
    task, values = CompressionTask(), cloud(60)
    made = task.resolve(dataset, made)
    asked = dataset.part("val")
    filled = task.companions(dataset, ("val",), made)
    ids = [*asked.id.tolist(), *filled.id.tolist()]
    rows = [int(one) for one in ids]
    outputs = [
        {
            "ids": part,
            "vectors": values[list(map(int, part))],
            "embeddings": values[list(map(int, part)), :3],
        }
        for part in (ids[::-1][:20], ids[::-1][20:])
    ]
    found = task.evaluate(outputs, Truth(asked, (), None, None, filled), made)
    assert found.ids == asked.id.tolist()
    for k in (5, 10):
        wanted = plain_recall(values, values[:, :3], rows[: len(asked)], rows, k)
        np.testing.assert_allclose(found.recalls[k], wanted, atol=1e-9)
    columns, table = task.predict(outputs, ())
    assert columns == ["id", "z0", "z1", "z2"]
    by_id = {row[0]: row[1:] for row in table}
    np.testing.assert_allclose([by_id[one] for one in ids], values[rows, :3])


def test_by_cosine_pca_is_that_of_directions_and_its_distances() -> None:
    lengths = np.random.default_rng(3).uniform(0.2, 5, (200, 1)).astype(np.float32)
    values = (cloud(200) + 2) * lengths
    turned = values / np.linalg.norm(values, axis=1, keepdims=True)
    components = principal_components([turned])
    rows = list(range(200))
    (beside,) = compress_result(
        [str(one) for one in rows],
        (values, values[:, :3]),
        (values[:0], values[:0, :3]),
        judged("full", (5,), geometry="cosine"),
        components=components,
    ).baselines
    mean = turned.mean(axis=0)
    axes = np.linalg.svd(turned - mean, full_matrices=False)[2][:3]
    wanted = plain_recall(turned, (turned - mean) @ axes.T, rows, rows, 5)
    assert beside.recalls[5].mean() == pytest.approx(wanted.mean(), abs=0.005)
