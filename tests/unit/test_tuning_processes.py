"""Processes of a search: none outlives its parent, and running out of memory is recognised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from sightline.errors import TrainingError
from sightline.training.memory import is_out_of_memory
from sightline.tuning.attempt import Attempt, Ended
from sightline.tuning.batch import smaller_batch
from sightline.tuning.lifeline import answer_of, release, start, stop
from sightline.tuning.settings import StudyConfig
from sightline.tuning.worker import Order

CHILD = """
import os, sys, time
from sightline.tuning.lifeline import answer_channel, receive_order
order = receive_order()
answer = answer_channel()
print("said beside the answer")
if order["wait"]:
    open(order["file"], "w").write(str(os.getpid()))
    time.sleep(60)
answer({"got": order["wait"]})
"""
PARENT = """
import sys, time
from pathlib import Path
from sightline.tuning.lifeline import start
start("child", {"wait": True, "file": "child.pid"}, Path("child.log"))
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def wait_for(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_child_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT])
    wait_for(lambda: Path("child.pid").exists() and Path("child.pid").read_text())
    child = int(Path("child.pid").read_text())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(child))


def test_child_answers_and_says_other_things_elsewhere() -> None:
    process = start("child", {"wait": False}, Path("logs/child.log"))
    process.wait(timeout=20)
    assert answer_of(process) == {"got": False}
    release(process)
    assert Path("logs/child.log").read_text() == "said beside the answer\n"


def test_child_that_is_stopped_has_no_answer() -> None:
    process = start("child", {"wait": True, "file": "child.pid"}, Path("child.log"))
    wait_for(lambda: Path("child.pid").exists())
    stop(process, lambda: None)
    assert process.returncode < 0
    assert answer_of(process) == {}
    release(process)
    assert not is_alive(process.pid)


def test_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as from_numpy:
        np.empty(2**55)
    assert is_out_of_memory(from_numpy.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    wrapped = TrainingError("The step cannot be made.")
    wrapped.__cause__ = caught.value
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(OSError("No space left on device"))
    assert not is_out_of_memory(None)


@pytest.mark.parametrize(
    ("size", "steps", "smaller"),
    [(64, 1, (32, 2)), (48, 2, (24, 4)), (9, 1, (3, 3)), (7, 2, (1, 14)), (1, 4, None)],
)
def test_smaller_batch_keeps_the_effective_batch(
    size: int, steps: int, smaller: tuple[int, int] | None
) -> None:
    Path("c.yaml").write_text("train: {batch_size: 64, accumulate_steps: 1}\n")
    flags = {"train.batch_size": size, "train.accumulate_steps": steps}
    found = smaller_batch("c.yaml", flags)
    if smaller is None:
        assert found is None
        return
    assert found is not None
    names = ("train.batch_size", "train.accumulate_steps")
    assert tuple(found.flags[name] for name in names) == smaller
    assert smaller[0] * smaller[1] == size * steps
    assert found.change["instead_of"] == size
    assert smaller_batch("c.yaml", {}) == smaller_batch("c.yaml", {"train.batch_size": 64})


def test_batch_that_is_to_be_measured_is_not_halved() -> None:
    Path("c.yaml").write_text("train: {batch_size: auto, accumulate_steps: 1}\n")
    assert smaller_batch("c.yaml", {}) is None


@pytest.mark.parametrize(
    ("metric", "direction", "expected"), [("macro_f1", "maximize", 0.9), ("loss", "minimize", 0.2)]
)
def test_value_of_a_trial_is_that_of_its_best_epoch(
    tmp_path: Path, metric: str, direction: str, expected: float
) -> None:
    run = tmp_path / "runs/d/trial-0000_x"
    run.mkdir(parents=True)
    epochs = [
        {"event": "epoch", "epoch": number, "macro_f1": score, "valid_loss": loss}
        for number, (score, loss) in enumerate(((0.3, 0.7), (0.9, 0.2), (0.5, 0.4)), 1)
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in epochs))
    trial = optuna.create_study(direction=direction).ask()
    order = Order("", "s", str(tmp_path), "", {}, 1, None, [])
    settings = StudyConfig(metric=metric, direction=direction)  # type: ignore[arg-type]
    attempt = Attempt(order, trial, {}, settings)
    assert not attempt._report(run)
    assert not attempt._report(run)  # an epoch is told once
    ended = [sys.executable, "-c", "print('{\"run\": 1}')"]
    with subprocess.Popen(ended, stdout=subprocess.PIPE) as process:
        process.wait(timeout=20)
        assert attempt._how_it_ended(process, run) == Ended("runs/d/trial-0000_x", value=expected)
    column = "valid_loss" if metric == "loss" else metric
    told = trial.storage.get_trial(trial._trial_id).intermediate_values
    assert told == {row["epoch"] - 1: row[column] for row in epochs}
