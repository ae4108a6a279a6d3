"""Re-identification: what is learnt, who is judged by whom, and every score by plain loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.config import load_config
from sightline.data.dataset import Dataset
from sightline.data.loading import Batch
from sightline.data.manifest import Manifest
from sightline.errors import ConfigError, DataError, NonFiniteError, RunError
from sightline.losses.center import CenterLoss
from sightline.tasks import TASKS
from sightline.tasks.reid import ReidTask
from sightline.tasks.reid_config import ReidConfig
from sightline.tasks.reid_evidence import find_evidence
from sightline.tasks.reid_judging import in_order_of_distance, judge
from sightline.tasks.reid_scoring import short_scores
from sightline.tasks.task import Truth

CONFIGS = {name: task.config for name, task in TASKS.items()}
SMALL = (
    *("model.name=test_resnet", "model.last_stride=null", "train.img_size=32"),
    *("train.batch_size=8", "sampler.images_per_identity=2", "train.warmup_epochs=0"),
    *("train.device=cpu", "train.lr=0.01", "data.digits=digits", "eval.bootstrap=100"),
)


def config_of(*settings: str) -> ReidConfig:
    loaded = load_config("reid/digits", [*SMALL, *settings], tasks=CONFIGS)
    assert isinstance(loaded, ReidConfig)
    return loaded


def manifest_of(rows: list[tuple[str, str, str]]) -> Manifest:
    """Samples of (identity, camera, split)."""
    names = [f"{n:03d}_{who}_c{camera}.png" for n, (who, camera, _) in enumerate(rows)]
    return Manifest.build(
        Path(),
        id=names,
        path=names,
        label=[who for who, _, _ in rows],
        camera=[camera for _, camera, _ in rows],
        split=[split for _, _, split in rows],
    )


def crowd(
    seed: int, *, queries: int = 30, gallery: int = 60, identities: int = 9, cameras: int = 3
) -> Manifest:
    random = np.random.default_rng(seed)
    rows = [
        (f"p{random.integers(identities)}", f"{random.integers(cameras)}", split)
        for split, count in (("query", queries), ("gallery", gallery))
        for _ in range(count)
    ]
    return manifest_of(rows)


def features_of(samples: Manifest, seed: int, width: int = 6) -> np.ndarray:
    """Vectors that are near for one identity, of different lengths."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(samples.label.names), width))
    noise = random.normal(size=(len(samples), width))
    scale = random.uniform(0.5, 3.0, size=(len(samples), 1))
    return ((centres[samples.label.codes] + 0.8 * noise) * scale).astype(np.float32)


def by_loops(
    samples: Manifest,
    vectors: np.ndarray,
    asks: list[int],
    held: list[int],
    *,
    filters: bool = True,
) -> dict[str, list[float]]:
    """AP, inverse penalty and first rank of every query, one picture after the other."""
    found: dict[str, list[float]] = {"ap": [], "inp": [], "first": []}
    for query in asks:
        who, camera = samples.label.text(query), samples.camera.text(query)
        ranking = sorted(
            (float(np.sum((vectors[query].astype(float) - vectors[row]) ** 2)), row)
            for row in held
            if row != query
            and not (
                filters and samples.label.text(row) == who and samples.camera.text(row) == camera
            )
        )
        hits = [n for n, (_, row) in enumerate(ranking, 1) if samples.label.text(row) == who]
        if not hits:
            continue
        found["ap"].append(sum(k / rank for k, rank in enumerate(hits, 1)) / len(hits))
        found["inp"].append(len(hits) / hits[-1])
        found["first"].append(hits[0])
    return found


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)


def truth_of(samples: Manifest) -> Truth:
    return Truth(samples, tuple(str(name) for name in samples.label.names))


def outputs_of(samples: Manifest, **features: np.ndarray) -> list[dict[str, Any]]:
    cuts = np.array_split(np.random.default_rng(0).permutation(len(samples)), 3)
    return [
        {
            "ids": [str(samples.id[row]) for row in rows],
            **{name: torch.from_numpy(values[rows]) for name, values in features.items()},
        }
        for rows in cuts
    ]


@pytest.mark.parametrize("normalize", [True, False])
def test_every_score_is_that_of_plain_loops(normalize: bool) -> None:
    samples = crowd(1)
    after, before = features_of(samples, 2), features_of(samples, 3)
    config = config_of(f"eval.normalize={normalize}", "eval.rerank.use=evaluate")
    outputs = outputs_of(samples, after=after, before=before, embeddings=after)
    result = ReidTask().evaluate(outputs, truth_of(samples), config)
    asks, held = samples.rows("query").tolist(), samples.rows("gallery").tolist()
    for feature, vectors in (("after", after), ("before", before)):
        wanted = by_loops(samples, unit(vectors) if normalize else vectors, asks, held)
        row = next(one for one in result.table if (one.feature, one.way) == (feature, "plain"))
        assert row.scores["map"].value == pytest.approx(np.mean(wanted["ap"]), abs=1e-6)
        assert row.scores["minp"].value == pytest.approx(np.mean(wanted["inp"]), abs=1e-6)
        for rank in (1, 5, 10):
            share = np.mean([first <= rank for first in wanted["first"]])
            assert row.scores[f"rank_{rank}"].value == pytest.approx(share)
    assert result.headline == result.table[0].scores
    said = result.as_dict()
    assert said["n"] == len(wanted["ap"])
    assert said["headline"]["map"]["unit"] == "identity"
    assert said["headline"]["map"]["n"] <= 9
    assert [(one.feature, one.way) for one in result.table] == [
        ("after", "plain"), ("after", "reranked"), ("before", "plain"), ("before", "reranked"),
    ]  # fmt: skip


@pytest.mark.parametrize("rule", ["filter", "keep"])
def test_a_split_without_gallery_is_its_own_and_nobody_finds_himself(rule: str) -> None:
    random = np.random.default_rng(5)
    samples = manifest_of(
        [(f"p{random.integers(8)}", f"{random.integers(3)}", "val") for _ in range(50)]
    )
    vectors = features_of(samples, 6)
    config = config_of(f"eval.same_camera={rule}", "eval.rerank.use=always")
    scores = short_scores(judge(samples, config), vectors, config)
    rows = list(range(50))
    wanted = by_loops(samples, unit(vectors), rows, rows, filters=rule == "filter")
    assert scores["map"] == pytest.approx(np.mean(wanted["ap"]), abs=1e-6)
    assert scores["rank_1"] == pytest.approx(np.mean([one == 1 for one in wanted["first"]]))
    assert np.isfinite(scores["loss"])
    assert 0 < scores["map_reranked"] <= 1


def test_reranking_a_split_that_is_its_own_gallery_compares_each_picture_once() -> None:
    samples = manifest_of([(f"p{n % 6}", f"{n % 4}", "val") for n in range(48)])
    vectors = features_of(samples, 1)
    config = config_of("eval.rerank.use=always", "eval.rerank.k1=8", "eval.rerank.k2=3")
    before = short_scores(judge(samples, config), vectors, config)["map_reranked"]
    # The same pictures with twins would fill half of every list with copies.
    order = np.random.default_rng(0).permutation(48)
    after = short_scores(
        judge(samples.select(order), config), vectors[order], config
    )["map_reranked"]  # fmt: skip
    assert before == pytest.approx(after, abs=1e-6)


def test_queries_without_a_match_are_counted_and_not_scored() -> None:
    samples = manifest_of(
        [
            *[("a", "1", "query"), ("b", "1", "query"), ("c", "1", "query")],
            *[("a", "2", "gallery"), ("b", "1", "gallery"), ("d", "2", "gallery")],
        ]
    )
    vectors = np.eye(6, 4, dtype=np.float32) + 0.01
    config = config_of()
    result = ReidTask().evaluate(
        outputs_of(samples, after=vectors, embeddings=vectors), truth_of(samples), config
    )
    assert result.as_dict()["n"] == 1
    assert result.as_dict()["protocol"]["unmatched"] == 2
    columns, rows = result.rows()
    first = columns.index("first_rank")
    assert [row[first] > 0 for row in rows] == [True, False, False]
    assert any("2 queries have no match" in line for line in result.summary())


def test_ranks_beyond_the_gallery_are_undefined_and_the_others_are_not() -> None:
    samples = manifest_of(
        [("a", "1", "query"), ("a", "2", "gallery"), ("b", "2", "gallery"), ("c", "2", "gallery")]
    )
    vectors = np.eye(4, dtype=np.float32) + 0.1
    result = ReidTask().evaluate(
        outputs_of(samples, after=vectors, embeddings=vectors), truth_of(samples), config_of()
    )
    assert {"rank_1", "map", "minp"} <= set(result.headline)
    assert not {"rank_5", "rank_10"} & set(result.headline)
    assert set(result.as_dict()["undefined"]) == {"5", "10"}


def test_the_nearest_are_marked_right_wrong_or_junk() -> None:
    samples = manifest_of(
        [
            ("a", "1", "query"),
            *[("a", "1", "gallery"), ("b", "1", "gallery"), ("a", "2", "gallery")],
        ]
    )
    vectors = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3]], np.float32)
    judged = judge(samples, config_of())
    found = find_evidence(judged, *judged.parted(vectors), count=3).nearest[0]
    assert [one.mark for one in found] == ["junk", "wrong", "right"]
    assert [one.camera for one in found] == ["1", "1", "2"]
    assert [one.distance for one in found] == sorted(one.distance for one in found)


def test_a_query_is_not_shown_to_itself() -> None:
    samples = manifest_of([("a", "1", "val"), ("a", "2", "val"), ("b", "1", "val")])
    vectors = np.eye(3, dtype=np.float32)
    judged = judge(samples, config_of())
    for place, found in enumerate(find_evidence(judged, *judged.parted(vectors), count=5).nearest):
        assert str(samples.id[place]) not in [one.id for one in found]
        assert len(found) == 2


def test_products_order_vectors_of_any_length_as_distances_do() -> None:
    random = np.random.default_rng(3)
    asks, held = (
        (random.normal(size=(n, 5)) * random.uniform(0.2, 4, (n, 1))).astype(np.float32)
        for n in (7, 40)
    )
    one, other = in_order_of_distance(asks, held)
    distances = np.linalg.norm(asks[:, None].astype(float) - held[None], axis=2)
    assert (np.argsort(-(one @ other.T), axis=1) == np.argsort(distances, axis=1)).all()


def trained_on(samples: Manifest, *settings: str) -> tuple[Any, Any, ReidConfig]:
    config = config_of("model.pretrained=false", *settings)
    dataset = Dataset(samples)
    task = ReidTask()
    torch.manual_seed(0)
    model = task.create_model(config, dataset.class_names, trained=False)
    trainer = task.create_trainer(
        config, model, dataset=dataset, steps_per_epoch=2, checkpoint_dir=Path("ckpt"), callbacks=()
    )
    return trainer, model, config


FIT = [(f"p{n // 3}", f"{n % 3}", "fit") for n in range(12)]


def batch_of(samples: Manifest, rows: list[int], seed: int = 0) -> Batch:
    drawn = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (len(rows), 3, 32, 32), dtype=torch.uint8, generator=drawn)
    labels = torch.from_numpy(samples.label.codes[rows].astype(np.int64))
    return Batch(images, labels, [str(samples.id[row]) for row in rows])


def test_the_loss_is_the_weighed_sum_of_its_parts_and_each_is_told() -> None:
    samples = manifest_of(FIT)
    trainer, _, _ = trained_on(
        samples,
        *("loss.id.weight=0.7", "loss.triplet.weight=0.5", "loss.center.weight=0.01"),
        *("loss.circle.weight=0.3", "loss.triplet.margin=soft"),
    )
    outputs = trainer.training_step(batch_of(samples, list(range(8))), 0)
    parts = outputs["parts"]
    assert list(parts) == ["id", "triplet", "circle", "center", "accuracy"]
    total = 0.7 * parts["id"] + 0.5 * parts["triplet"] + 0.3 * parts["circle"]
    total = total + 0.01 * parts["center"]
    assert outputs["loss"].item() == pytest.approx(total.item(), rel=1e-6)
    assert not any(value.requires_grad for value in parts.values())


@pytest.mark.parametrize(
    ("setting", "missing"),
    [("loss.center.weight=0", "center"), ("loss.triplet.weight=0", "triplet")],
)
def test_a_loss_without_weight_is_not_computed(setting: str, missing: str) -> None:
    samples = manifest_of(FIT)
    trainer, _, _ = trained_on(samples, "loss.center.weight=0.1", setting)
    parts = trainer.training_step(batch_of(samples, list(range(8))), 0)["parts"]
    assert missing not in parts


def test_identities_that_training_never_sees_have_no_say_in_the_softmax() -> None:
    rows = [*FIT, *[(f"x{n}", "1", "gallery") for n in range(50)], ("x0", "2", "query")]
    samples = manifest_of(rows)
    trainer, model, _ = trained_on(samples)
    batch = batch_of(samples, list(range(8)))
    loss = trainer.training_step(batch, 0)["parts"]["id"].item()
    with torch.no_grad():
        model.classifier.weight[4:] += 100.0
    assert trainer.training_step(batch, 0)["parts"]["id"].item() == pytest.approx(loss, rel=1e-5)
    assert loss < 2 * math.log(4)


def test_centres_move_as_if_their_loss_had_weight_one() -> None:
    samples = manifest_of(FIT)
    moves = []
    for weight in ("0.5", "0.0005"):
        trainer, _, _ = trained_on(
            samples, f"loss.center.weight={weight}", "loss.center.lr=0.5", "model.neck=none"
        )
        assert isinstance(trainer.loss_fn, CenterLoss)
        with torch.no_grad():
            before = trainer.loss_fn.centers.clone()
        torch.manual_seed(3)
        trainer.train_epoch([batch_of(samples, list(range(8)))])
        moves.append(trainer.loss_fn.centers.detach() - before)
    assert moves[0].abs().max() > 1e-3
    assert torch.allclose(moves[0], moves[1], rtol=1e-3, atol=1e-5)


def test_a_batch_has_so_many_pictures_of_each_identity() -> None:
    samples = manifest_of(FIT)
    plan = ReidTask().batch_plan(samples, config_of())
    assert plan is not None
    for rows in plan.batches(1):
        assert len(rows) == 8
        assert np.unique(samples.label.codes[rows], return_counts=True)[1].tolist() == [2] * 4
    assert ReidTask().batch_plan(
        samples,
        config_of("sampler.kind=shuffled", "loss.triplet.weight=0", *reset_sampler()),
    ) is None  # fmt: skip


def reset_sampler() -> tuple[str, ...]:
    return ("sampler.images_per_identity=4",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("sampler.kind=shuffled", *reset_sampler()), "compare pictures of an identity"),
        (("train.batch_size=9",), "train.batch_size=8"),
        (("train.batch_size=2",), "at least 2"),
        (("train.monitor=map_reranked",), "eval.rerank.use=always"),
        (("train.monitor=rank_3",), "map, minp, rank_1, rank_5, rank_10"),
        (("eval.rerank.k1=3",), "k2 6 must be at most k1 3"),
        (("loss.id.weight=0", "loss.triplet.weight=0"), "nothing is learnt"),
        (("train.mode=min",), "worst map"),
        (("loss.circle.scale=32",), "circle.scale is used only with circle.weight above 0"),
        (("loss.center.weight=0", "loss.center.lr=0.1"), "only with center.weight above 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(*settings)


def test_data_in_which_nothing_can_be_learnt_is_refused() -> None:
    alone = manifest_of([(f"p{n}", "1", "fit") for n in range(8)])
    with pytest.raises(DataError, match="has one picture") as found:
        ReidTask().check_data(Dataset(alone), config_of())
    assert "reid/softmax" in str(found.value.remedy)
    one = manifest_of([("p0", "1", "fit"), ("p0", "2", "fit")])
    with pytest.raises(DataError, match="at least two identities"):
        ReidTask().check_data(Dataset(one), config_of())


def test_a_test_that_could_never_be_answered_is_refused_before_training() -> None:
    samples = manifest_of([*FIT, ("a", "1", "query"), ("a", "1", "gallery"), ("b", "1", "gallery")])
    with pytest.raises(DataError, match="Nothing can be found") as found:
        ReidTask().check_data(Dataset(samples), config_of())
    assert "eval.same_camera=keep" in str(found.value.remedy)
    assert ReidTask().check_data(Dataset(samples), config_of("eval.same_camera=keep"))


def test_predict_without_a_gallery_says_how_to_make_one() -> None:
    with pytest.raises(RunError, match="no gallery") as found:
        ReidTask().predict([{"ids": ["a"], "embeddings": torch.zeros(1, 4)}], ("p",))
    assert "sightline index" in str(found.value.remedy)


def test_expanded_queries_are_compared_with_directions_whatever_lengths_are() -> None:
    samples = crowd(4, queries=20, gallery=80, identities=5)
    random = np.random.default_rng(0)
    centres = np.eye(5, 12)
    vectors = centres[samples.label.codes] + 0.05 * random.normal(size=(len(samples), 12))
    vectors = (vectors * random.uniform(5, 15, size=(len(samples), 1))).astype(np.float32)
    config = config_of("eval.normalize=false", "eval.query_expansion.k=3")
    outputs = outputs_of(samples, after=vectors, embeddings=vectors)
    result = ReidTask().evaluate(outputs, truth_of(samples), config)
    assert result.more["map_expanded"].value == pytest.approx(1.0)


def test_no_more_neighbours_are_added_to_a_query_than_it_sees() -> None:
    samples = manifest_of([("a", "1", "val"), ("a", "2", "val"), ("b", "1", "val")])
    vectors = np.eye(3, 4, dtype=np.float32) + 0.1
    config = config_of("eval.query_expansion.k=50")
    outputs = outputs_of(samples, after=vectors, embeddings=vectors)
    assert "map_expanded" in ReidTask().evaluate(outputs, truth_of(samples), config).more


def test_without_a_neck_the_one_feature_answers_by_either_name() -> None:
    samples = crowd(1)
    vectors = features_of(samples, 2)
    config = config_of("model.neck=none", "eval.feature=before")
    outputs = outputs_of(samples, after=vectors, embeddings=vectors)
    result = ReidTask().evaluate(outputs, truth_of(samples), config)
    assert result.as_dict()["feature"] == "after"
    assert result.headline


def test_cameras_that_are_not_known_are_not_counted() -> None:
    samples = manifest_of(
        [("a", "1", "query"), ("a", "", "gallery"), ("a", "2", "gallery"), ("b", "9", "fit")]
    )
    judged = judge(samples, config_of())
    assert judged.cameras == 2


def test_a_batch_that_cannot_be_filled_is_said() -> None:
    notes = ReidTask().check_data(
        Dataset(manifest_of(FIT)), config_of("train.batch_size=16", "sampler.images_per_identity=2")
    )
    assert any("4 identities, so a batch has 8 pictures and not 16" in note for note in notes)


def test_training_runs_in_the_graph_that_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def count(graph: torch.fx.GraphModule, _: list[Any]) -> Any:
        def run(*values: Any) -> Any:
            ran.append(len(graph.graph.nodes))
            return graph(*values)

        return run

    compile_whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda m: compile_whole(m, backend=count))
    samples = manifest_of(FIT)
    losses = []
    for setting in ("train.compile=false", "train.compile=true"):
        trainer, _, _ = trained_on(samples, setting)
        assert not ran
        losses.append(trainer.train_epoch([batch_of(samples, list(range(8)))] * 2))
    assert len(ran) >= 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("most", ["null", "0.001"])
def test_clipping_is_about_the_model_and_not_the_centres(most: str) -> None:
    samples = manifest_of(FIT)
    trainer, model, _ = trained_on(
        samples,
        *("loss.center.weight=0.1", "train.optimizer=sgd", "train.weight_decay=0"),
        f"train.grad_clip_norm={most}",
    )
    batch = batch_of(samples, list(range(8)))
    centres = trainer.loss_fn.centers
    before, weights = centres.detach().clone(), [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        model.train()
        features = model.features(batch.images).before
        model.eval()
    trainer.train_epoch([batch])
    expected = torch.zeros_like(before)
    for vector, place in zip(features, batch.labels.tolist(), strict=True):
        expected[place] -= 0.5 * 2 / 8 * (before[place] - vector)
    torch.testing.assert_close(centres.detach() - before, expected, rtol=1e-3, atol=1e-5)
    moved = [(p - old).detach() for p, old in zip(model.parameters(), weights, strict=True)]
    length = torch.nn.utils.get_total_norm(moved).item()
    assert (length < 2e-5) == (most != "null")


@pytest.mark.parametrize("most", ["null", "1.0"])
def test_a_gradient_of_the_centres_that_is_not_finite_stops_the_step(most: str) -> None:
    samples = manifest_of(FIT)
    trainer, _, _ = trained_on(samples, "loss.center.weight=0.1", f"train.grad_clip_norm={most}")
    centres = trainer.loss_fn.centers
    before = centres.detach().clone()
    centres.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NonFiniteError, match="centers"):
        trainer.train_epoch([batch_of(samples, list(range(8)))])
    assert torch.equal(centres, before)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("camera", ["filter", "keep"])
def test_a_rank_is_refused_where_no_epoch_would_have_it(seed: int, camera: str) -> None:
    random = np.random.default_rng(seed)
    rows = [(f"p{random.integers(3)}", f"{random.integers(3)}", "val") for _ in range(8)]
    samples = manifest_of([*rows, *FIT, ("p0", "8", "val"), ("p0", "9", "val")])
    judged_samples = Dataset(samples).part("val")
    ranks = range(1, 13)
    settings = (f"eval.same_camera={camera}", f"eval.ranks=[{','.join(map(str, ranks))}]")
    vectors = random.normal(size=(len(judged_samples), 4))
    plain = config_of(*settings)
    had = short_scores(judge(judged_samples, plain), vectors, plain)
    refused = []
    for rank in ranks:
        config = config_of(*settings, f"train.monitor=rank_{rank}")
        try:
            ReidTask().check_data(Dataset(samples), config)
        except ConfigError:
            refused.append(rank)
    assert refused == [rank for rank in ranks if f"rank_{rank}" not in had]
    assert 12 in refused


def test_a_rank_is_refused_re_ranked_too_and_map_never_is() -> None:
    samples = manifest_of([*FIT, *[("v", f"{n}", "val") for n in range(4)]])
    for wrong in (
        ("train.monitor=rank_5",),
        ("train.monitor=rank_5_reranked", "eval.rerank.use=always"),
    ):
        with pytest.raises(ConfigError, match="a rank up to 3") as found:
            ReidTask().check_data(Dataset(samples), config_of(*wrong))
        assert "train.monitor=map" in str(found.value.remedy)
    for right in ("map", "minp", "null", "rank_1"):
        ReidTask().check_data(Dataset(samples), config_of(f"train.monitor={right}"))
