"""Ensembles: what they say, what weighs their members, and which runs cannot answer together."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from sightline.calibrate import calibrate_run
from sightline.data.splits_file import read_splits
from sightline.ensemble import make_ensemble
from sightline.errors import CheckpointError, DataError, RunError, UsageError
from sightline.evaluation import evaluate_run
from sightline.experiment import images_of, read_dataset
from sightline.metrics.mixture import mixture_loss, mixture_weights
from sightline.runs import RunFolder, read_latest
from sightline.tasks.classification_result import softmax
from sightline.trained.predictor import create_predictor

Train = Callable[..., Path]


@pytest.fixture
def one(train_tiny: Train, digit_folder: Path) -> RunFolder:
    return RunFolder.open(train_tiny(f"data.root={digit_folder}", "train.epochs=3"))


@pytest.fixture
def two(train_tiny: Train, digit_folder: Path) -> RunFolder:
    return RunFolder.open(
        train_tiny(f"data.root={digit_folder}", "train.epochs=1", "train.lr=0.02")
    )


@pytest.fixture
def folds(train_tiny: Train, digit_folder: Path) -> RunFolder:
    return RunFolder.open(
        train_tiny(f"data.root={digit_folder}", "data.folds=2", "data.valid_fold=all")
    )


def join(*runs: RunFolder, exp_dir: Path = Path("runs"), **options: Any) -> RunFolder:
    """An ensemble in the working directory."""
    options = {"command": ["sightline", "ensemble"], "say": lambda text: None, **options}
    return make_ensemble(list(runs), exp_dir=exp_dir, **options)


def says(run: RunFolder, split: str, *, held_out: bool = False, **options: Any) -> Any:
    """Probabilities (N, C) of a run for a split of the run itself, and the ids."""
    predictor = create_predictor(run, **options)
    samples = read_dataset(run, predictor.config).part(split)
    return of(predictor, samples, held_out=held_out), [str(one) for one in samples.id]


def of(predictor: Any, samples: Any, *, held_out: bool = False) -> Any:
    used, _ = predictor.answer(samples, lambda r, c: images_of(r, c)[0], held_out=held_out)
    return softmax(used["logits"].astype(np.float64))


def changed(run: RunFolder, change: Callable[[list[dict[str, str]]], None]) -> RunFolder:
    """A copy of the run beside it whose splits.csv is another."""
    copy = run.path.with_name(f"{run.path.name[:-6]}{abs(hash(change)) % 16**6:06x}")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run.path, copy)
    with (copy / "splits.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    change(rows)
    with (copy / "splits.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    info = json.loads((copy / "run.json").read_text()) | {"id": copy.name}
    (copy / "run.json").write_text(json.dumps(info))
    return RunFolder.open(copy)


def test_mixture_weights_are_those_of_a_general_optimiser() -> None:
    random = np.random.default_rng(3)
    given = random.beta(2, 1, (3, 200)) * np.array([[1.0], [0.9], [0.5]])
    found = mixture_weights(given)

    def loss(free: Any) -> float:
        weights = np.exp(free) / np.exp(free).sum()
        return mixture_loss(given, weights)

    best = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"fatol": 1e-12})
    assert mixture_loss(given, found) <= best.fun + 1e-6
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()


def test_mixture_weights_by_hand() -> None:
    # The first is right where the second is not, twice as often: the shares are 2/3 and 1/3.
    assert mixture_weights([[1, 1, 0], [0, 0, 1]]) == pytest.approx([2 / 3, 1 / 3], abs=1e-3)
    assert mixture_weights([[0.9, 0.8], [0.2, 0.1]]) == pytest.approx([1, 0], abs=1e-4)
    assert mixture_loss([[0.25, 1.0]], [1.0]) == pytest.approx(np.log(4) / 2)
    assert np.isfinite(mixture_loss([[0.0]], [1.0]))
    with pytest.raises(DataError, match="no probabilities"):
        mixture_weights([[1.5]])
    with pytest.raises(DataError, match="what each model says"):
        mixture_weights([])


def test_uniform_ensemble_says_the_mean(one: RunFolder, two: RunFolder) -> None:
    said: list[str] = []
    run = join(one, two, say=said.append, name="pair")
    together, ids = says(run, "test")
    first, first_ids = says(one, "test")
    assert ids == first_ids
    np.testing.assert_allclose(together, (first + says(two, "test")[0]) / 2, atol=1e-6)
    assert run.id.startswith("pair_")
    assert (run.info["kind"], run.info["status"]) == ("ensemble", "finished")
    assert run.info["members"] == [one.id, two.id]
    assert not any("note" in line for line in said)
    assert read_latest("runs") is None, "nothing was trained, so it is not latest-train"
    assert run.config_file.read_text() == one.config_file.read_text()


def test_samples_are_found_from_any_folder_of_runs(one: RunFolder, two: RunFolder) -> None:
    run = join(one, two, exp_dir=Path("some/where/deeper"))
    ours = read_splits(run.path / "splits.csv", verify=True)
    theirs = read_splits(one.path / "splits.csv")
    for row in range(len(ours)):
        assert ours.file(row).resolve() == theirs.file(row).resolve()
    assert [ours.split_text(r) for r in range(9)] == [theirs.split_text(r) for r in range(9)]


def test_validation_weighs_members_and_leaves_the_test_alone(
    one: RunFolder, two: RunFolder
) -> None:
    run = join(one, two, weighting="validation")
    about = json.loads((run.path / "ensemble.json").read_text())
    weights = [member["weight"] for member in about["members"]]
    assert sum(weights) == pytest.approx(1)
    assert min(weights) > 0
    assert about["weighted_nll"] <= about["uniform_nll"]
    assert about["split"] == "val"
    assert about["n"] == one.info["data"]["val"]
    for member, loss in zip((one, two), about["member_nll"], strict=True):
        result = evaluate_run(member, "val", command=[])
        assert loss == pytest.approx(result.as_dict()["loss"], abs=1e-5)
    result = evaluate_run(run, "val", command=[])
    assert result.as_dict()["loss"] == pytest.approx(about["weighted_nll"], abs=1e-5)
    assert not any(RunFolder.open(member.path).info["test_reads"] for member in (one, two, run))


def test_members_are_weighed_with_the_calibration_they_answer_with(
    one: RunFolder, two: RunFolder
) -> None:
    member = changed(one, lambda rows: None)
    fitted = {"temperature": 3.0, "adopted": True, "why": "", "n": 12, "sha256": None}
    lists = {key: [] for key in ("bins_before", "bins_after", "notes")}
    content = {"method": "temperature", "split": "val", "n": 12, "ensemble": None, "version": ""}
    content |= {"members": {"best_model.pth": fitted}, "before": {}, "after": {}, **lists}
    (member.path / "calibration.json").write_text(json.dumps(content))
    run = join(member, two, weighting="validation")
    found = json.loads((run.path / "ensemble.json").read_text())["member_nll"][0]
    losses, saved = [], []
    for use in (True, False):
        result = evaluate_run(member, "val", command=[], use_calibration=use)
        losses.append(result.as_dict()["loss"])
        saved.append(np.load(member.predictions / "val.logits.npy"))
    assert found == pytest.approx(losses[0], abs=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-4
    # What the next calibration is fitted on is never calibrated itself.
    np.testing.assert_array_equal(saved[0], saved[1])


def test_every_fold_judges_what_it_did_not_learn(one: RunFolder, folds: RunFolder) -> None:
    """An all-folds run counts as much as another on val, though one fold of it answers there."""
    run = join(one, folds)
    samples = read_dataset(one, create_predictor(one).config).part("val")
    together = of(create_predictor(run), samples, held_out=True)
    alone = of(create_predictor(one), samples)
    held_out = of(create_predictor(folds), samples, held_out=True)
    np.testing.assert_allclose(together, (alone + held_out) / 2, atol=1e-6)
    assert np.abs(held_out - of(create_predictor(folds), samples)).max() > 1e-4
    test, _ = says(run, "test")
    np.testing.assert_allclose(test, (says(one, "test")[0] + says(folds, "test")[0]) / 2, atol=1e-6)


def test_ensembles_of_folds_are_judged_out_of_fold(folds: RunFolder) -> None:
    other = changed(folds, lambda rows: None)
    run = join(folds, other, weighting="validation")
    about = json.loads((run.path / "ensemble.json").read_text())
    assert about["split"] == "oof"
    assert [member["checkpoint"] for member in about["members"]] == [None, None]
    result = evaluate_run(run, "val", command=[]).as_dict()
    assert result["n"] == about["n"] == folds.info["data"]["train"]
    own, _ = says(folds, "fit", held_out=True)
    np.testing.assert_allclose(says(run, "fit", held_out=True)[0], own, atol=1e-6)


def test_members_that_know_the_validation_are_named(one: RunFolder) -> None:
    def swap(rows: list[dict[str, str]]) -> None:
        names = {"val": "fit", "fit": "val"}
        for row in rows:
            row["split"] = names.get(row["split"], row["split"])

    said: list[str] = []
    other = changed(one, swap)
    join(one, other, say=said.append)
    assert any("note: a member learnt from 12 of" in line for line in said)
    with pytest.raises(RunError, match="held out by every member"):
        join(one, other, weighting="validation")


def test_runs_that_cannot_answer_together(one: RunFolder, folds: RunFolder) -> None:
    def leak(rows: list[dict[str, str]]) -> None:
        next(row for row in rows if row["split"] == "test")["split"] = "fit"

    def leak_by_another_name(rows: list[dict[str, str]]) -> None:
        row = next(row for row in rows if row["split"] == "test")
        row |= {"split": "fit", "id": "renamed"}

    def shrink(rows: list[dict[str, str]]) -> None:
        rows[:] = [row for row in rows if row["split"] != "test"]

    def rename(rows: list[dict[str, str]]) -> None:
        for row in rows:
            row["label"] = row["label"].replace("1_one", "9_nine")

    for change, message in (
        (leak, "learnt from 1 test samples of"),
        (leak_by_another_name, "learnt from 1 test samples of"),
        (shrink, "different test samples"),
        (rename, "same classes in the same order"),
    ):
        with pytest.raises(RunError, match=message):
            join(one, changed(one, change))
    with pytest.raises(RunError, match="named twice"):
        join(one, RunFolder.open(one.path))
    with pytest.raises(UsageError, match="at least two"):
        join(one)
    ensemble = join(one, folds)
    with pytest.raises(RunError, match="an ensemble itself"):
        join(one, ensemble)
    assert len(list(Path("runs").glob("*/ensemble_*"))) == 1, "what fails leaves nothing behind"


def test_ensemble_moves_with_its_members_and_is_calibrated_there(
    one: RunFolder, two: RunFolder
) -> None:
    base = Path("base")
    # As deep as they were, so that their tables lead to the pictures.
    places = [base / "day" / run.path.name for run in (one, two)]
    copies = [
        RunFolder.open(shutil.copytree(run.path, place))
        for run, place in zip((one, two), places, strict=True)
    ]
    run = join(*copies, exp_dir=base)
    evaluate_run(run, "val", command=[])
    before, _ = says(run, "val", held_out=True)
    base.rename("elsewhere")
    moved = RunFolder.open("elsewhere" / run.path.relative_to(base.absolute()))
    found = calibrate_run(moved, say=lambda text: None)
    assert found.combined is not None
    after, _ = says(moved, "val", held_out=True, use_calibration=False)
    np.testing.assert_array_equal(after, before)
    with pytest.raises(UsageError, match="no checkpoints of its own"):
        create_predictor(moved, checkpoint="best_model.pth")
    file = Path("elsewhere") / "day" / one.path.name / "ckpt" / "best_model.pth"
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(DataError, match=r"of another best_model\.pth"):
        calibrate_run(moved)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"members": []}',
        '{"members": [{"run": "../a"}]}',
        '{"members": [{"run": "../a", "checkpoint": null, "weight": 0}]}',
        '{"members": [{"run": "../a", "checkpoint": null, "weight": NaN}]}',
    ],
)
def test_damaged_ensemble_says_what_to_do(one: RunFolder, content: str) -> None:
    run = changed(one, lambda rows: None)
    (run.path / "ensemble.json").write_text(content)
    with pytest.raises(RunError, match=r"(?s)cannot be read.*make the ensemble anew"):
        create_predictor(run)


def test_missing_fold_is_named(one: RunFolder, folds: RunFolder) -> None:
    copy = changed(folds, lambda rows: rows.reverse())
    (copy.ckpt / "best_fold1.pth").unlink()
    with pytest.raises(CheckpointError, match=r"best_fold1\.pth"):
        join(one, copy)


def test_run_in_training_is_refused(one: RunFolder, two: RunFolder) -> None:
    copy = changed(one, lambda rows: None)
    copy.set_status("running")
    with pytest.raises(RunError, match="still in training"):
        join(two, copy)
