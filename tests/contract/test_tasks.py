"""What every task must keep, whatever it is for: each test runs over all entries of TASKS."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.config import load_config, recipe_names
from sightline.data.dataset import Dataset
from sightline.errors import DataError
from sightline.experiment import find_samples, loader_for, open_samples
from sightline.experiment.samples import Loader
from sightline.search.gallery import Gallery
from sightline.search.index import build_index
from sightline.tasks import TASKS
from sightline.tasks.retrieval_decision import RetrievalDecision
from sightline.tasks.task import Truth
from sightline.training.evaluator import collect_outputs, join_by_id
from sightline.training.runtime import resolve_precision

CPU = torch.device("cpu")
SETTINGS = {
    "classify": ("classify/digits", "model.name=test_resnet", "train.warmup_epochs=0"),
    "anomaly": (
        *("anomaly/stfpm", "model.name=resnet10t", "model.pretrained=false"),
        *("train.img_size=32", "train.lr=0.01", "data.synthetic_defects=true"),
    ),
    "compress": ("compress/digits", "train.warmup_epochs=0"),
    "reid": (
        *("reid/digits", "model.name=test_resnet", "model.last_stride=null"),
        "train.warmup_epochs=0",
    ),
    "retrieve": ("retrieve/digits", "model.name=test_resnet", "train.warmup_epochs=0"),
}
"""A recipe of each task, made small."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


class Bench:
    """A task with a small model, its data, and loaders."""

    def __init__(self, name: str, digits: Path, folder: Path) -> None:
        recipe, *settings = SETTINGS[name]
        settings = [*settings, f"data.digits={digits / name}"]
        settings += ["train.batch_size=32"]
        settings += [] if name == "compress" else ["data.cache=off"]
        configs = {key: task.config for key, task in TASKS.items()}
        self.config: Any = load_config(recipe, settings, tasks=configs)
        self.task = TASKS[name]
        whole = find_samples(self.config)
        self.config = self.task.resolve(whole, self.config)
        rows = np.sort(np.concatenate([whole.manifest.rows(s)[:64] for s in ("fit", "val")]))
        self.dataset = Dataset(whole.manifest.select(rows))
        self.names = whole.class_names
        self.folder = folder
        torch.manual_seed(0)
        self.model = self.task.create_model(self.config, self.names, trained=False)

    def loader(self, *splits: str, training: bool) -> Loader:
        samples, _ = open_samples(self.dataset.part(*splits), self.config)
        return loader_for(samples, self.config, device=CPU, training=training)

    def trainer(self, model: Any) -> Any:
        return self.task.create_trainer(
            self.config,
            model,
            dataset=self.dataset,
            steps_per_epoch=2,
            checkpoint_dir=self.folder / "ckpt",
            callbacks=(),
        )

    def outputs(self, model: Any) -> list[dict[str, Any]]:
        return collect_outputs(
            model,
            self.loader("val", training=False),
            lambda batch: self.task.forward(model, batch),
            device=CPU,
            precision=resolve_precision("fp32", CPU),
        )

    def evaluate(self, outputs: list[dict[str, Any]]) -> Any:
        return self.task.evaluate(outputs, Truth(self.dataset.part("val"), self.names), self.config)

    def decision(self, outputs: list[dict[str, Any]]) -> Any:
        """What the task cannot answer without: for retrieval a gallery."""
        if self.task.answers != "neighbours":
            return None
        rows = join_by_id(outputs)
        table = self.dataset.manifest
        label = {str(table.id[row]): table.label.text(row) for row in range(len(table))}
        names = [label[one] for one in rows["ids"]]
        gallery = Gallery.build(rows["embeddings"], ids=rows["ids"], labels=names, model={})
        return RetrievalDecision(gallery, build_index(gallery.embeddings), self.config.answer)


@pytest.fixture(params=sorted(TASKS))
def bench(request: pytest.FixtureRequest, digits: Path, tmp_path: Path) -> Bench:
    return Bench(request.param, digits, tmp_path)


def test_every_task_has_a_small_recipe_here_and_one_that_ships() -> None:
    assert set(SETTINGS) == set(TASKS)
    assert {name.split("/")[0] for name in recipe_names()} <= set(TASKS)


def test_training_gives_finite_losses_and_names_its_metric(bench: Bench) -> None:
    trainer = bench.trainer(bench.model)
    before = copy.deepcopy(bench.model.state_dict())
    judged = bench.task.validation_splits(bench.dataset, bench.config)
    (row,) = trainer.fit(
        bench.loader("fit", training=True), bench.loader(*judged, training=False), num_epochs=1
    )
    assert np.isfinite([row["train_loss"], row["valid_loss"]]).all()
    assert np.isfinite(row[bench.config.train.monitor or "valid_loss"])
    after = bench.model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_evaluate_is_pure(bench: Bench) -> None:
    outputs = bench.outputs(bench.model)
    kept = copy.deepcopy(outputs)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = bench.evaluate(outputs), bench.evaluate(outputs)
    assert first.as_dict() == second.as_dict()
    assert first.rows() == second.rows()
    for one, other in zip(outputs, kept, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(np.asarray(one[key]), np.asarray(other[key])) for key in one)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_result_has_a_row_per_sample_in_their_order(bench: Bench) -> None:
    outputs = bench.outputs(bench.model)
    result = bench.evaluate(outputs[::-1])
    columns, rows = result.rows()
    assert [row[0] for row in rows] == [str(one) for one in bench.dataset.part("val").id]
    assert all(len(row) == len(columns) for row in rows)
    scores = result.as_dict()
    assert scores["n"] == len(rows)
    assert scores == bench.evaluate(outputs).as_dict(), "the order of batches does not matter"
    for estimate in scores["headline"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert 0 < estimate["n"] <= len(rows)
    assert scores["headline"], "something is reported"
    assert len(result.summary()) >= len(scores["headline"])


def test_missing_repeated_and_unknown_ids_are_errors(bench: Bench) -> None:
    outputs = bench.outputs(bench.model)
    with pytest.raises(DataError, match="do not belong"):
        bench.evaluate(outputs[:-1])
    with pytest.raises(DataError, match="more than once"):
        bench.evaluate([*outputs, outputs[0]])
    strange = [{**outputs[0], "ids": ["x", *outputs[0]["ids"][1:]]}, *outputs[1:]]
    with pytest.raises(DataError, match="do not belong"):
        bench.evaluate(strange)


def test_checkpoint_round_trip_gives_the_same_outputs(bench: Bench) -> None:
    trainer = bench.trainer(bench.model)
    trainer.fit(bench.loader("fit", training=True), None, num_epochs=1)
    expected = bench.outputs(bench.model)
    torch.manual_seed(1)
    fresh = bench.task.create_model(bench.config, bench.names, trained=True)
    bench.trainer(fresh).load_checkpoint(bench.folder / "ckpt" / "best_model.pth")
    for one, other in zip(bench.outputs(fresh), expected, strict=True):
        for key in one:
            assert np.array_equal(np.asarray(one[key]), np.asarray(other[key])), key


def test_prediction_has_a_row_per_input(bench: Bench) -> None:
    outputs = bench.outputs(bench.model)
    columns, rows = bench.task.predict(outputs, bench.names, bench.decision(outputs))
    assert columns[0] == "id"
    assert sorted(row[0] for row in rows) == sorted(str(i) for i in bench.dataset.part("val").id)
    assert all(len(row) == len(columns) for row in rows)
