"""What a run leaves at a tracker, read back from real event files; also after a resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.config import TrackingConfig
from sightline.runs import History, RunFolder
from sightline.tracking.delivery import Delivery
from sightline.tracking.sink import Tracked
from sightline.tracking.tensorboard_sink import TensorboardSink

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(
        tmp_path / "runs",
        name="tiny",
        task="classify",
        command=["sightline", "train"],
        config_text="task: classify\n",
        seeds={},
    )


@pytest.fixture
def deliver(run: RunFolder) -> Callable[..., Delivery]:
    def begun(**config: Any) -> Delivery:
        again = config.pop("again", False)
        tracked = Tracked(run, TrackingConfig(), config, say=lambda line: None)
        delivery = Delivery(tracked, "tensorboard", TensorboardSink(tracked), again=again)
        assert delivery.begin()
        return delivery

    return begun


def epoch(history: History, number: int, *, fold: int | None = None) -> None:
    row = {"event": "epoch", "fold": fold, "epoch": number, "step": 6 * number, "split": "val"}
    history.append({**row, "train_loss": 1 / number, "accuracy": None if number == 2 else 0.5})


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 4)) for event in events(folder).Scalars(name)]


def test_rows_come_as_they_are_written_and_once(
    run: RunFolder, deliver: Callable[..., Delivery]
) -> None:
    history, delivery = History(run.metrics_file), deliver()
    assert delivery.update() == 0
    epoch(history, 1)
    assert delivery.update() == 1
    assert delivery.update() == 0
    epoch(history, 2)
    history.append({"event": "evaluate", "split": "test", "n": 9, "accuracy": 0.75})
    assert delivery.update() == 2
    delivery.finish("finished")
    folder = run.path / "tensorboard"
    assert points(folder, "train/loss") == [(6, 1.0), (12, 0.5)]
    assert points(folder, "val/accuracy") == [(6, 0.5)]
    assert points(folder, "test/accuracy") == [(12, 0.75)]
    # A point stands where it was in time, also when it is sent long afterwards.
    written = history.rows()[0]["time"][:16]
    from datetime import datetime

    sent = events(folder).Scalars("train/loss")[0].wall_time
    assert datetime.fromtimestamp(sent).astimezone().isoformat()[:16] == written


def test_resumed_training_goes_on_where_it_was(
    run: RunFolder, deliver: Callable[..., Delivery]
) -> None:  # defect 6: no resume id
    history = History(run.metrics_file)
    for number in (1, 2, 3):
        epoch(history, number)
    delivery = deliver()
    assert delivery.update() == 3
    delivery.finish("stopped")
    # Resumed from the checkpoint of epoch 2: epoch 3 is written again, then epoch 4.
    history.truncate_after(12)
    delivery = deliver()
    assert delivery.update() == 0
    epoch(history, 3)
    epoch(history, 4)
    assert delivery.update() == 1
    delivery.finish("finished")
    saved = json.loads((run.path / "tracking/tensorboard.json").read_text())
    assert (saved["rows"], saved["steps"], saved["ending"]) == (4, {"": 24}, "finished")
    steps = [step for step, _ in points(run.path / "tensorboard", "train/loss")]
    assert steps == [6, 12, 18, 24]


def test_again_is_a_new_run_of_the_tracker(
    run: RunFolder, deliver: Callable[..., Delivery]
) -> None:
    epoch(History(run.metrics_file), 1)
    delivery = deliver()
    delivery.update()
    delivery.finish("finished")
    delivery = deliver(again=True)
    assert delivery.update() == 1
    delivery.finish("finished")
    assert points(run.path / "tensorboard-2", "train/loss") == [(6, 1.0)]
    # Without `again` the second one goes on.
    assert deliver().update() == 0


def test_folds_have_axes_of_their_own(run: RunFolder, deliver: Callable[..., Delivery]) -> None:
    history = History(run.metrics_file)
    for fold in (0, 1):
        epoch(history, 1, fold=fold)
        epoch(history, 3, fold=fold)
    delivery = deliver(data={"valid_fold": "all"})
    assert delivery.update() == 4
    delivery.finish("finished")
    for fold in (0, 1):
        name = f"fold{fold}/train/loss"
        assert points(run.path / "tensorboard", name) == [(6, 1.0), (18, 0.3333)]


def test_model_is_named_once_and_only_when_finished(
    run: RunFolder, deliver: Callable[..., Delivery]
) -> None:  # REID-26
    (run.ckpt / "best_model.pth").write_bytes(b"weights")
    folder = run.path / "tensorboard"
    for ending, times in (("failed", 0), ("finished", 1), ("finished", 1)):
        delivery = deliver()
        delivery.update()
        delivery.finish(ending)
        tags = events(folder).Tags()["tensors"]
        found = events(folder).Tensors("model/text_summary") if "model/text_summary" in tags else []
        assert len(found) == times
    # Files of one second are read in the order of their names, which is not that of their making.
    said = {one.tensor_proto.string_val[0] for one in events(folder).Tensors("status/text_summary")}
    assert said == {b"failed", b"finished"}


def test_steps_within_epochs_come_in_their_order(
    run: RunFolder, deliver: Callable[..., Delivery]
) -> None:  # REID-16
    history, steps = History(run.metrics_file), History(run.path / "steps.jsonl")
    delivery = deliver()
    for number in (3, 6):
        steps.append({"event": "step", "fold": None, "epoch": 1, "step": number, "loss": number})
    epoch(history, 1)
    assert delivery.update() == 1
    # A resumed training writes steps again, and a killed one left half a line.
    with steps.path.open("a") as file:
        file.write('{"event": "st')
    assert delivery.update() == 0
    for number in (6, 9):
        steps.append({"event": "step", "fold": None, "epoch": 2, "step": number, "loss": number})
    assert delivery.update() == 0
    delivery.finish("finished")
    assert points(run.path / "tensorboard", "train/step_loss") == [(3, 3.0), (6, 6.0), (9, 9.0)]
    assert points(run.path / "tensorboard", "train/loss") == [(6, 1.0)]
    assert deliver().update() == 0
