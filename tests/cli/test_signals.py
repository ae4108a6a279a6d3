"""Signals: the state is saved, the run says how it ended, and going on gives the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch


def started(*settings: object) -> subprocess.Popen[str]:
    """A training that takes a while, once it is in its first steps."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sightline", "train", "classify/digits", *map(str, settings)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step=" in line:
            return process
    raise AssertionError("training ended before its first step")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_and_says_so(
    number: signal.Signals, code: int, pictures: Path, cli: Any
) -> None:
    epochs = "train.epochs=400"
    process = started(*cli.tiny, epochs, f"data.root={pictures}", "train.log_interval=1")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert f"[EXIT] TRAINING INTERRUPTED code={code}" in err
    assert f"Stopped by {number.name}" in err
    assert "--resume" in err
    info = cli.newest()
    assert info["status"] == "stopped"
    assert number.name in info["stop_reason"]
    assert (Path(info["path"]) / "ckpt" / "latest_model.pth").exists()
    # What there is of a stopped run is shown; what there is not is said.
    assert info["id"] in cli("list").out
    assert "stopped" in cli("list").out
    assert cli("report", info["id"]).code == 0


def test_interrupted_run_ends_with_the_same_weights(pictures: Path, cli: Any) -> None:
    settings = ("train.epochs=6", f"data.root={pictures}", "train.log_interval=1")
    _, whole = cli.train(*settings)
    process = started(*cli.tiny, *settings, "output.exp_dir=cut")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    done = cli("train", "--resume", "output.exp_dir=cut")
    assert done.code == 0, done.said
    states = [
        torch.load(Path(run["path"]) / "ckpt" / "latest_model.pth", weights_only=True)
        for run in (whole, cli.newest("cut"))
    ]
    first, second = (state["model"] for state in states)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert states[0]["step"] == states[1]["step"]
    scores = [
        [row["macro_f1"] for row in cli.rows(run["path"])] for run in (whole, cli.newest("cut"))
    ]
    assert scores[0] == scores[1]


def test_killed_run_is_shown_as_died_and_resumed(pictures: Path, cli: Any) -> None:
    settings = ("train.epochs=400", f"data.root={pictures}", "train.log_interval=1")
    process = started(*cli.tiny, *settings)
    assert "running" in cli("list").out
    run = cli.newest()
    assert "still running" in cli("train", "--resume", run["id"]).err
    # Scores of a run under way are those of its best epoch so far, or a plain word that there is
    # none.
    asked = cli("evaluate", run["id"])
    assert asked.code == 0 or "no checkpoint best_model.pth" in asked.err
    deadline = time.monotonic() + 60
    while not (Path(run["path"]) / "ckpt" / "latest_model.pth").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    assert "died" in cli("list").out
    epoch = cli.rows(run["path"])[-1]["epoch"]
    wanted = (f"train.epochs={epoch + 1}", "--resume-anyway", "train.epochs")
    done = cli("train", "--resume", *wanted)
    assert done.code == 0, done.said
    assert cli.newest()["status"] == "finished"


def test_run_without_a_checkpoint_says_what_to_do(pictures: Path, cli: Any) -> None:
    _, info = cli.train(f"data.root={pictures}", "train.optimizer=nosuch", code=2)
    assert info["status"] == "failed"
    for arguments in (["evaluate", info["id"]], ["predict", info["id"], pictures, "--out=p.csv"]):
        screen = cli.screen(cli(*arguments), code=1)
        assert "a run that is failed" in screen
        assert f"--resume {info['id']}" in screen
    assert "nothing to draw" in cli.screen(cli("plot", info["id"]), code=1)
    assert cli("report", info["id"]).code == 0
    assert "failed" in (Path(info["path"]) / "report.html").read_text(encoding="utf-8")


def test_nothing_waits_for_standard_input(pictures: Path, cli: Any) -> None:
    """A command that read its input would hang on this pipe, which never ends."""
    reader, writer = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sightline", "train", "classify/digits", *cli.tiny,
             f"data.root={pictures}"],
            stdin=reader, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode == 0, done.stderr
