"""What run.json says of the stages after a training, and fold_results.yaml of the folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sightline.experiment.fold_results import (
    add_out_of_fold,
    read_fold_results,
    write_fold_result,
)
from sightline.experiment.stages import Stages, ask_for, asked_for, pending, record_done
from sightline.runs import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with validation and test that has made 40 steps."""
    made = RunFolder.create(
        tmp_path, name="a", task="classify", command=[], config_text="", seeds={}
    )
    made.update(data={"val": 5, "test": 5}, steps=40)
    return made


ALL = Stages(calibrate=True, test=True, submit=True)


def test_nothing_is_pending_where_nothing_was_asked(run: RunFolder) -> None:
    assert pending(run) == []
    assert asked_for(run) == Stages()


def test_stages_come_in_their_order_and_once(run: RunFolder) -> None:
    ask_for(run, ALL)
    assert pending(run) == ["val", "calibrate", "test", "submit"]
    for name in ("val", "calibrate"):
        record_done(run, name)
    assert pending(run) == ["test", "submit"]
    assert asked_for(RunFolder.open(run.path)) == ALL


def test_other_weights_undo_what_was_done(run: RunFolder) -> None:
    ask_for(run, Stages(test=True))
    for name in pending(run):
        record_done(run, name)
    assert pending(run) == []
    run.update(steps=80)
    assert pending(run) == ["val", "test"]


def test_asking_again_keeps_what_is_done_but_for_what_is_named(run: RunFolder) -> None:
    ask_for(run, ALL)
    for name in pending(run):
        record_done(run, name)
    ask_for(run, ALL)
    assert pending(run) == []
    ask_for(run, ALL, again=("submit",))
    assert pending(run) == ["submit"]


def test_what_the_data_does_not_have_is_not_pending(run: RunFolder) -> None:
    ask_for(run, ALL)
    run.update(data={"val": 0, "test": 0})
    assert pending(run) == ["calibrate", "submit"]


def test_a_stage_that_wrote_into_the_run_is_not_undone_by_its_record(run: RunFolder) -> None:
    ask_for(run, ALL)
    other = RunFolder.open(run.path)
    record_done(other, "val")
    record_done(run, "calibrate")
    assert pending(run) == ["test", "submit"]


def test_either_asks() -> None:
    assert Stages(calibrate=True) | Stages(submit=True) == Stages(calibrate=True, submit=True)


def row(fold: int, score: float | None) -> dict[str, Any]:
    return {"fold": fold, "best_f1": score, "epochs": 1}


def test_folds_are_kept_in_order_with_their_mean_and_spread(run: RunFolder) -> None:
    for fold, score in ((2, 0.9), (0, 0.2), (1, 0.7), (0, 0.5)):
        write_fold_result(run, "macro_f1", row(fold, score))
    add_out_of_fold(run, {"macro_f1": {"value": 0.69}})
    assert [(n, one["best_f1"]) for n, one in read_fold_results(run).items()] == [
        (0, 0.5), (1, 0.7), (2, 0.9),
    ]  # fmt: skip
    text = (run.path / "fold_results.yaml").read_text()
    assert "metric: macro_f1\n" in text
    numbers = dict(line.split(": ") for line in text.splitlines() if line.startswith(("av", "st")))
    assert float(numbers["average_f1"]) == pytest.approx(0.7)
    assert float(numbers["std_f1"]) == pytest.approx(0.2), "with n - 1"
    assert "value: 0.69" in text
    # A fold that is trained anew makes the score over all folds one of other weights.
    write_fold_result(run, "macro_f1", row(1, 0.8))
    assert "oof" not in (run.path / "fold_results.yaml").read_text()


def test_folds_without_a_score_have_no_mean(run: RunFolder) -> None:
    write_fold_result(run, "macro_f1", row(0, None))
    assert "average_f1" not in (run.path / "fold_results.yaml").read_text()
