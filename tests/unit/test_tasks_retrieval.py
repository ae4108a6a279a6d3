"""Retrieval's task and trainer on small pictures that are made here."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.config import load_config
from sightline.data.dataset import Dataset
from sightline.data.loading import Batch
from sightline.data.manifest import Manifest
from sightline.errors import ConfigError, DataError, RunError
from sightline.metrics.reliability import Reliability
from sightline.search.gallery import Gallery
from sightline.search.index import build_index
from sightline.search.saved import write_gallery
from sightline.tasks import TASKS
from sightline.tasks.retrieval import RetrievalTask
from sightline.tasks.retrieval_answers import (
    NO_ROW,
    answers_in,
    answers_without_own_class,
    voters,
)
from sightline.tasks.retrieval_decision import (
    FittedReliability,
    RetrievalDecision,
    open_other_gallery,
)
from sightline.tasks.retrieval_protocol import Searched, choose_protocol
from sightline.tasks.retrieval_trainer import RetrievalTrainer
from sightline.tasks.retrieve_config import RetrieveConfig
from sightline.tasks.task import Truth

CONFIGS = {name: task.config for name, task in TASKS.items()}
SMALL = (
    *("model.name=test_resnet", "model.embedding_dim=8", "train.img_size=32"),
    *("train.batch_size=8", "sampler.samples_per_class=2", "train.warmup_epochs=0"),
    *("train.device=cpu", "train.lr=0.01", "data.digits=digits", "eval.bootstrap=100"),
)
CLASSES = "abcd"


def config_of(*settings: str) -> RetrieveConfig:
    loaded = load_config("retrieve/digits", [*SMALL, *settings], tasks=CONFIGS)
    assert isinstance(loaded, RetrieveConfig)
    return loaded


def samples_of(splits: dict[str, str], each: int = 6) -> Manifest:
    """Each class with so many pictures in the split, two of each object."""
    rows = [(label, number, split) for label, split in splits.items() for number in range(each)]
    names = [f"{label}/{split}{number}.png" for label, number, split in rows]
    return Manifest.build(
        Path(),
        id=names,
        path=names,
        label=[label for label, _, _ in rows],
        group=[f"{label}/{split}{number // 2}" for label, number, split in rows],
        split=[split for _, _, split in rows],
    )


def both(*parts: Manifest) -> Manifest:
    columns = {
        key: [str(one) for part in parts for one in getattr(part, key)] for key in ("id", "path")
    }
    texts = {
        key: [getattr(part, key).text(row) for part in parts for row in range(len(part))]
        for key in ("label", "group")
    }
    splits = [part.split_text(row) for part in parts for row in range(len(part))]
    return Manifest.build(Path(), **columns, **texts, split=splits)


CLOSED = both(
    samples_of(dict.fromkeys(CLASSES, "fit")), samples_of(dict.fromkeys(CLASSES, "val"), 2)
)
OPEN = both(samples_of({"a": "fit", "b": "fit"}), samples_of({"c": "val", "d": "val"}, 4))


class Pictures:
    """Batches of noise in which a class is a brightness; each can be had again by its number."""

    def __init__(self, samples: Manifest, size: int = 8) -> None:
        self.samples, self.size = samples, size

    def __len__(self) -> int:
        return -(-len(self.samples) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(1)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(epoch)
        order = torch.randperm(len(self.samples), generator=random)
        for part in order.split(self.size)[start:]:
            codes = torch.from_numpy(self.samples.label.codes[part.numpy()].astype(np.int64))
            noise = torch.randint(0, 40, (len(part), 3, 32, 32), generator=random)
            images = (noise + 50 * codes[:, None, None, None]).to(torch.uint8)
            yield Batch(images, codes, [str(self.samples.id[int(row)]) for row in part])


def trainer_of(
    folder: Path, config: RetrieveConfig, samples: Manifest = CLOSED
) -> RetrievalTrainer:
    torch.manual_seed(0)
    task, dataset = RetrievalTask(), Dataset(samples)
    model = task.create_model(config, dataset.class_names, trained=False)
    return task.create_trainer(
        config, model, dataset=dataset, steps_per_epoch=3, checkpoint_dir=folder, callbacks=[]
    )


def fit(trainer: RetrievalTrainer, epochs: int, samples: Manifest = CLOSED) -> list[dict[str, Any]]:
    dataset = Dataset(samples)
    judged = RetrievalTask().validation_splits(dataset, trainer.settings)
    return trainer.fit(Pictures(dataset.part("fit")), Pictures(dataset.part(*judged)), epochs)


def test_the_backbone_rests_in_the_first_epochs_and_learns_after(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, config_of("train.epochs=3", "train.frozen_epochs=2"))
    before = copy.deepcopy(trainer.model.state_dict())
    fit(trainer, 2)
    after = trainer.model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("backbone."))
    assert not torch.equal(before["head.weight"], after["head.weight"])
    assert not torch.equal(before["neck.running_mean"], after["neck.running_mean"])
    fit(trainer, 3)
    last = trainer.model.state_dict()
    assert any(not torch.equal(before[n], last[n]) for n in before if n.startswith("backbone."))


def test_what_is_frozen_for_good_stays_so_after_the_first_epochs(tmp_path: Path) -> None:
    settings = ("train.epochs=2", "train.frozen_epochs=1", "train.freeze=['backbone.layer1*']")
    trainer = trainer_of(tmp_path, config_of(*settings))
    before = copy.deepcopy(trainer.model.state_dict())
    fit(trainer, 2)
    after = trainer.model.state_dict()
    frozen = [n for n in before if n.startswith("backbone.layer1") and n.endswith("weight")]
    assert frozen
    assert all(torch.equal(before[n], after[n]) for n in frozen)
    others = [n for n in before if n.startswith("backbone.layer2") and n.endswith("weight")]
    assert any(not torch.equal(before[n], after[n]) for n in others)


@pytest.mark.parametrize(
    "settings",
    [
        ("loss.ramp_epochs=2",),
        ("loss.kind=cosface", "loss.sub_centers=2"),
        ("loss.kind=triplet", "loss.memory=16", "loss.scale=64", "loss.margin=soft"),
        ("loss.kind=supcon", "loss.memory=16", "loss.scale=64", "loss.margin=null"),
    ],
    ids=["arcface", "cosface", "triplet", "supcon"],
)
def test_a_resumed_training_is_the_same_bit_for_bit(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    config = config_of("train.epochs=4", "train.frozen_epochs=1", *settings)
    whole = trainer_of(tmp_path / "whole", config)
    fit(whole, 4)
    first = trainer_of(tmp_path / "parts", config)
    fit(first, 2)
    second = trainer_of(tmp_path / "parts", config)
    second.load_checkpoint(tmp_path / "parts" / "latest_model.pth")
    fit(second, 4)
    expected, found = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert [row["recall_at_1"] for row in whole.history] == [
        row["recall_at_1"] for row in second.history
    ]
    if whole.loss_fn is not None:
        assert torch.equal(whole.loss_fn.embeddings, second.loss_fn.embeddings)
        assert int(whole.loss_fn.written) > 0


def test_the_margin_after_a_resume_is_that_of_the_epoch(tmp_path: Path) -> None:
    config = config_of("train.epochs=4", "train.frozen_epochs=2", "loss.margin=0.5")
    trainer = trainer_of(tmp_path, config)
    fit(trainer, 3)
    again = trainer_of(tmp_path, config)
    again.load_checkpoint(tmp_path / "latest_model.pth")
    batch = next(Pictures(Dataset(CLOSED).part("fit")).batches(1))
    again.model.eval()
    with torch.no_grad():
        with_margin = float(again.training_step(batch, 0)["loss"])
        again.progress.epoch = 0
        without = float(again.training_step(batch, 0)["loss"])
    assert with_margin > without + 1


def test_classes_that_are_never_fitted_have_no_say_in_the_softmax(tmp_path: Path) -> None:
    config = config_of("train.epochs=1", "train.weight_decay=0", "train.frozen_epochs=0")
    trainer = trainer_of(tmp_path, config, OPEN)
    assert trainer.model.head is not None
    before = trainer.model.head.weight.detach().clone()
    fit(trainer, 1, OPEN)
    after = trainer.model.head.weight.detach()
    assert not torch.equal(before[:2], after[:2])
    assert torch.equal(before[2:], after[2:])


def test_validation_of_known_classes_is_searched_for_in_train() -> None:
    protocol = choose_protocol(Dataset(CLOSED), "val", leave_out="object")
    assert not protocol.own_gallery
    assert protocol.splits == ("fit", "val")
    ids = [str(one) for one in CLOSED.id][::-1]
    rows = {"ids": ids, "embeddings": np.eye(len(ids), dtype=np.float32)}
    searched = protocol.search_space(rows)
    assert len(searched.queries) == 8
    assert len(searched.gallery) == 24
    assert searched.exclude is None
    assert sorted(searched.query_labels.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("leave_out", "distinct"), [("object", 4), ("picture", 8)])
def test_new_classes_are_each_others_gallery(leave_out: str, distinct: int) -> None:
    protocol = choose_protocol(Dataset(OPEN), "val", leave_out=leave_out)
    assert protocol.splits == ("val",)
    part = Dataset(OPEN).part("val")
    rows = {
        "ids": [str(one) for one in part.id],
        "embeddings": np.eye(len(part), dtype=np.float32),
    }
    searched = protocol.search_space(rows)
    assert len(searched.queries) == len(searched.gallery) == 8
    assert searched.exclude is not None
    assert len(np.unique(searched.exclude[0])) == distinct


def test_metrics_of_an_epoch_are_those_of_the_search(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, config_of("train.epochs=1", "train.frozen_epochs=0"))
    ids = [str(one) for one in CLOSED.id]
    codes = CLOSED.label.codes.astype(np.int64)
    perfect = np.eye(4, 8, dtype=np.float32)[codes]
    outputs = [{"ids": ids, "embeddings": perfect, "targets": codes}]
    found = trainer.compute_metrics(outputs)
    assert found["recall_at_1"] == found["map_at_r"] == 1.0
    # One query of each class looks like the next class.
    queries = CLOSED.rows("val")[::2]
    turned = perfect.copy()
    turned[queries] = np.eye(4, 8, dtype=np.float32)[(codes[queries] + 1) % 4]
    worse = trainer.compute_metrics([{**outputs[0], "embeddings": turned}])
    assert worse["recall_at_1"] == 0.5
    assert worse["loss"] > found["loss"]


# Evaluation and answers.


def decision_of(*, thresholds: Reliability | None = None, own: bool = False) -> RetrievalDecision:
    part = Dataset(CLOSED).part("fit")
    labels = [part.label.text(row) for row in range(len(part))]
    gallery = Gallery.build(
        np.eye(4, 8, dtype=np.float32)[part.label.codes],
        ids=[str(one) for one in part.id],
        labels=labels,
        splits=["fit"] * len(part),
        model={"run": "r", "checkpoint": "c", "sha256": "s"},
    )
    fitted = None
    if thresholds is not None:
        fitted = FittedReliability(thresholds, own, "c", "s")
    return RetrievalDecision(gallery, build_index(gallery.embeddings), config_of().answer, fitted)


def outputs_of(part: Manifest, *, wrong: int = 0) -> list[dict[str, Any]]:
    """Perfect embeddings, the first few those of another class."""
    codes = part.label.codes.astype(np.int64)
    vectors = np.eye(4, 8, dtype=np.float32)[codes]
    vectors[:wrong] = np.eye(4, 8, dtype=np.float32)[(codes[:wrong] + 1) % 4]
    return [{"ids": [str(one) for one in part.id], "embeddings": vectors, "targets": codes}]


def strict(**changes: Any) -> Reliability:
    named = {"max_distance": 0.1, "min_margin": 0.5, "min_concentration": 0.5}
    return Reliability(**(named | changes), error_rate=0.05, delta=0.05, n=60)


def test_evaluation_tells_right_from_wrong_and_shows_the_evidence() -> None:
    part = Dataset(CLOSED).part("val")
    truth = Truth(part, tuple(CLASSES), None, decision_of(thresholds=strict()))
    result = RetrievalTask().evaluate(outputs_of(part, wrong=2), truth, config_of())
    scores = result.as_dict()
    assert scores["n"] == 8
    assert scores["headline"]["recall_at_1"]["value"] == 0.75
    assert scores["headline"]["knn_accuracy"]["value"] == 0.75
    assert scores["gallery"] == {
        "kind": "train", "said": "the pictures of train", "pictures": 24, "classes": 4
    }  # fmt: skip
    by_name = {row["name"]: row for row in scores["retrieval_per_class"]}
    assert by_name["a"]["recall_at_1"] == 0.0
    assert by_name["b"]["recall_at_1"] == 1.0
    assert scores["answers"]["coverage"]["value"] == 1.0
    assert scores["answers"]["accepted_accuracy"]["value"] == 0.75
    assert scores["answers"]["false_accepts"]["value"] == 0.25, "the two that look like b"
    columns, rows = result.rows()
    first = dict(zip(columns, rows[0], strict=True))
    assert (first["target"], first["prediction"], first["verdict"]) == ("a", "b", "accept")
    assert first["nearest_1_label"] == "b"
    assert first["nearest_1"].startswith("b/fit")
    assert first["nearest_5_distance"] == pytest.approx(0.0, abs=1e-6)
    assert first["first_rank"] == 19, "all others stand before: a tie counts against the query"
    assert "nearest_6" not in columns


def test_groups_are_what_intervals_draw_and_objects_are_scored() -> None:
    part = Dataset(CLOSED).part("val")
    truth = Truth(part, tuple(CLASSES), part.group.codes, decision_of())
    scores = RetrievalTask().evaluate(outputs_of(part), truth, config_of()).as_dict()
    assert scores["headline"]["recall_at_1"]["n"] == 4
    assert scores["headline"]["recall_at_1"]["unit"] == "group"
    assert scores["more"]["object_recall_at_1"]["value"] == 1.0


def test_queries_of_unknown_classes_are_counted_and_can_be_accepted_wrongly() -> None:
    part = both(Dataset(CLOSED).part("val"), samples_of({"z": "test"}, 2))
    vectors = np.zeros((len(part), 8), np.float32)
    vectors[:8] = np.eye(4, 8, dtype=np.float32)[[0, 0, 1, 1, 2, 2, 3, 3]]
    vectors[8, 0], vectors[9, 7] = 1.0, 1.0
    outputs = [{"ids": [str(one) for one in part.id], "embeddings": vectors}]
    truth = Truth(part, tuple("abcdz"), None, decision_of(thresholds=strict()))
    result = RetrievalTask().evaluate(outputs, truth, config_of())
    scores = result.as_dict()
    assert scores["unmatched"] == 2
    assert scores["headline"]["recall_at_1"]["n"] == 8
    assert scores["answers"]["unknown_accepts"]["value"] == 0.5
    assert any("2 of 10 queries" in line for line in result.summary())


def test_a_recall_of_more_than_the_gallery_is_undefined_and_the_others_are_not() -> None:
    part = Dataset(CLOSED).part("val")
    truth = Truth(part, tuple(CLASSES), None, decision_of())
    scores = (
        RetrievalTask()
        .evaluate(outputs_of(part), truth, config_of("eval.recall_k=[1,1000]"))
        .as_dict()
    )
    assert set(scores["undefined"]) == {"recall_at_1000"}
    assert "recall_at_1000" not in scores["headline"]
    assert scores["headline"]["recall_at_1"]["value"] == 1.0


def test_prediction_names_the_class_and_asks_again() -> None:
    part = Dataset(CLOSED).part("val")
    outputs = outputs_of(part)
    outputs[0]["embeddings"][0] = np.full(8, 8**-0.5, np.float32)
    columns, rows = RetrievalTask().predict(
        outputs, tuple(CLASSES), decision_of(thresholds=strict())
    )
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    assert table[0]["verdict"] == "ask again"
    assert [row["verdict"] for row in table[1:]] == ["accept"] * 7
    assert [row["prediction"] for row in table[2:]] == list("bbccdd")


def test_thresholds_hold_for_the_kind_of_gallery_they_were_fitted_with() -> None:
    part = Dataset(CLOSED).part("val")
    decision = decision_of(thresholds=strict(), own=True)
    assert decision.reliability is None
    columns, rows = RetrievalTask().predict(outputs_of(part), tuple(CLASSES), decision)
    assert {row[columns.index("verdict")] for row in rows} == {""}
    assert any("new classes" in line for line in decision.remarks())


def test_without_a_gallery_nothing_can_be_predicted() -> None:
    part = Dataset(CLOSED).part("val")
    with pytest.raises(RunError, match="no gallery"):
        RetrievalTask().predict(outputs_of(part), tuple(CLASSES))


def test_a_small_gallery_votes_as_a_whole_and_says_so() -> None:
    vectors = np.eye(3, dtype=np.float32)
    labels = np.arange(3)
    answers = answers_in(Searched(vectors, vectors, labels, labels), 20)
    assert answers.rows.shape == (3, 3)
    assert answers.votes.winner.tolist() == [0, 1, 2]
    decision = decision_of()
    assert not any("these vote" in line for line in decision.remarks())
    few = Gallery.build(vectors, ids=list("xyz"), labels=list("abc"), model={})
    asked = config_of("answer.top_k=20").answer
    small = RetrievalDecision(few, build_index(vectors), asked)
    assert any("3 pictures, so these vote and not 20" in line for line in small.remarks())


@pytest.mark.parametrize(
    ("sizes", "top_k", "expected"),
    [
        ([2, 2, 10], None, 2),
        ([1, 1, 1], None, 1),
        ([4, 5, 90, 90], None, 20),
        ([300, 400], None, 20),
        ([2, 2, 10], 7, 7),
    ],
)
def test_no_more_vote_than_half_of_the_classes_have(
    sizes: list[int], top_k: int | None, expected: int
) -> None:
    assert voters(top_k, np.repeat(np.arange(len(sizes)), sizes)) == expected


def test_evidence_is_shown_and_does_not_vote() -> None:
    vectors = np.array([[1, 0], [0.9, 0.4358899], [0.8, 0.6], [0.7, 0.7141428]], np.float32)
    gallery_labels = np.array([0, 1, 1, 1])
    searched = Searched(vectors[:1], vectors, np.array([0]), gallery_labels)
    answers = answers_in(searched, 1, shown=4)
    assert answers.rows.tolist() == [[0, 1, 2, 3]]
    assert answers.votes.winner.tolist() == [0]
    assert answers.votes.confidence.tolist() == [1.0]


def test_a_query_does_not_see_its_own_object() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.8, 0.6], [0, 1]], np.float32)
    labels = np.array([0, 0, 0, 1])
    objects = np.array([5, 5, 6, 7])
    answers = answers_in(Searched(vectors, vectors, labels, labels, (objects, objects)), 2)
    assert answers.rows[0].tolist() == [2, 3]
    assert answers.rows[2].tolist() == [0, 1]
    assert answers.rows[3][0] == 2
    alone = answers_in(
        Searched(vectors[:2], vectors[:2], labels[:2], labels[:2], (objects[:2],) * 2), 2
    )
    assert (alone.rows == NO_ROW).all()
    assert np.isinf(alone.votes.nearest).all()
    assert (alone.votes.winner == -1).all()


def test_an_unknown_is_asked_with_its_class_taken_out() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    labels = np.array([0, 0, 1, 2])
    votes = answers_without_own_class(Searched(vectors[:1], vectors, labels[:1], labels), 2)
    assert votes.winner[0] in (1, 2)
    assert votes.nearest[0] == pytest.approx(1.0)


def test_a_large_class_is_taken_out_whole() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 1500)
    vectors = np.eye(3, 8)[labels] + random.normal(scale=0.1, size=(len(labels), 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    asked = np.arange(0, len(labels), 300)
    votes = answers_without_own_class(Searched(vectors[asked], vectors, labels[asked], labels), 20)
    cosines = vectors[asked] @ vectors.T
    cosines[labels[asked][:, None] == labels[None, :]] = -np.inf
    assert np.allclose(votes.nearest, 1 - cosines.max(axis=1), atol=1e-5)


def test_validation_is_compared_with_train_alone() -> None:
    part = Dataset(CLOSED).part("val")
    everything = both(Dataset(CLOSED).part("fit"), part)
    gallery = Gallery.build(
        np.eye(4, 8, dtype=np.float32)[everything.label.codes],
        ids=[str(one) for one in everything.id],
        labels=[everything.label.text(row) for row in range(len(everything))],
        splits=[everything.split_text(row) for row in range(len(everything))],
        model={},
    )
    wide = replace(decision_of(), gallery=gallery, index=build_index(gallery.embeddings))
    truth = Truth(part, tuple(CLASSES), None, wide)
    scores = RetrievalTask().evaluate(outputs_of(part), truth, config_of()).as_dict()
    assert scores["gallery"]["pictures"] == 24, "or each would find itself"
    test = part.with_split(np.full(len(part), 4, np.int8))
    truth = Truth(test, tuple(CLASSES), None, wide)
    scores = RetrievalTask().evaluate(outputs_of(test), truth, config_of()).as_dict()
    assert scores["gallery"]["pictures"] == 32


def test_thresholds_of_new_classes_are_not_for_classes_that_were_trained(tmp_path: Path) -> None:
    decision = decision_of(thresholds=strict(), own=True)
    for labels, expected in ((["a", "new"], False), (["new", "newer"], True)):
        folder = tmp_path / "-".join(labels)
        vectors = np.eye(2, 8, dtype=np.float32)
        model = {"run": "r", "checkpoint": "c", "sha256": "s"}
        write_gallery(folder, Gallery.build(vectors, ids=labels, labels=labels, model=model))
        other = open_other_gallery(decision, folder, "s")
        assert (other.reliability is not None) == expected


# What is refused, and what is noted.


def test_a_split_in_which_nothing_can_be_found_is_refused_before_training() -> None:
    alone = both(samples_of({"a": "fit", "b": "fit"}), samples_of({"c": "val", "d": "val"}, 2))
    with pytest.raises(DataError, match="another one of its class"):
        RetrievalTask().check_data(Dataset(alone), config_of())
    RetrievalTask().check_data(Dataset(alone), config_of("eval.leave_out=picture"))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (("loss.kind=triplet",), "scale"),
        (("loss.kind=supcon", "loss.scale=64", "loss.margin=0.1"), "margin"),
        (("loss.margin=soft",), "triplet"),
        (("loss.memory=8",), "memory"),
        (("train.frozen_epochs=8",), "frozen_epochs"),
        (("sampler.classes_per_batch=3",), "train.batch_size=6"),
        (("train.batch_size=3",), "no room"),
        (("train.freeze_norm_statistics=true",), "freeze_norm_statistics"),
        (("index.ef_search=4",), "faiss-hnsw"),
        (("train.mode=min",), "worst"),
        (("sampler.samples_per_class=2", "sampler.kind=shuffled"), "not read with shuffled"),
        (
            (
                *("loss.kind=triplet", "loss.scale=64", "loss.margin=null"),
                *("sampler.kind=shuffled", "sampler.samples_per_class=null"),
            ),
            "sampler.kind=balanced",
        ),
        (("sampler.samples_per_class=null", "sampler.classes_per_batch=4"), "samples_per_class"),
        (
            (
                *("loss.kind=supcon", "loss.scale=64", "loss.margin=null"),
                *("model.embedding_dim=null", "train.frozen_epochs=1"),
            ),
            "frozen_epochs=0",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_errors(settings: tuple[str, ...], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        config_of(*settings)


def test_more_pictures_of_a_class_than_any_has_are_refused() -> None:
    config = config_of("train.batch_size=32", "sampler.samples_per_class=16")
    with pytest.raises(ConfigError, match="samples_per_class"):
        RetrievalTask().check_data(Dataset(CLOSED), config)


@pytest.mark.parametrize(
    ("settings", "classes", "pictures"),
    [
        (("train.batch_size=8",), 4, 2),
        (("train.batch_size=2",), 2, 1),
        (("train.batch_size=64",), 4, 6),
        (
            ("train.batch_size=8", "loss.kind=triplet", "loss.scale=64", "loss.margin=null"),
            2,
            4,
        ),
    ],
)
def test_a_batch_has_all_classes_before_it_has_more_pictures_of_each(
    settings: tuple[str, ...], classes: int, pictures: int
) -> None:
    fit = Dataset(CLOSED).part("fit")
    plan = RetrievalTask().batch_plan(fit, config_of("sampler.samples_per_class=null", *settings))
    codes = fit.label.codes[plan.batches(1)[0]]
    assert len(codes) == classes * pictures
    assert np.unique(codes, return_counts=True)[1].tolist() == [pictures] * classes


def test_small_classes_few_classes_and_new_classes_are_noted() -> None:
    config = config_of("train.batch_size=20", "sampler.samples_per_class=5")
    wide = config.model_copy(
        update={"loss": config.loss.model_copy(update={"scale": 64.0, "margin": 0.5})}
    )
    notes = RetrievalTask().check_data(
        Dataset(both(CLOSED, samples_of({"e": "fit"}, 2), samples_of({"n": "test"}, 4))), wide
    )
    assert any("repeat them: e" in note for note in notes)
    assert any("arcface-small" in note for note in notes)
    assert any("each other's gallery" in note for note in notes)
    assert RetrievalTask().check_data(Dataset(CLOSED), config_of()) == []


def test_samples_without_label_are_refused() -> None:
    unlabelled = Manifest.build(
        Path(), id=["x", "y"], path=["x", "y"], label=["a", ""], split=["fit", "fit"]
    )
    with pytest.raises(DataError, match="no label"):
        RetrievalTask().check_data(Dataset(unlabelled), config_of())
