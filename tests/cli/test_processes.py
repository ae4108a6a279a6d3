"""Several processes: one run, one voice, and no process left waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, "-m", "sightline", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            # The workers as well: they would wait for each other for ever.
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_two_processes_make_one_run(pictures: Path, cli: Any) -> None:
    done = torchrun("train", "classify/digits", *cli.tiny, f"data.root={pictures}", "--test")
    assert done.returncode == 0, done.stderr[-3000:]
    runs = list(Path("experiments/train").glob("2*/*"))
    assert len(runs) == 1
    info = cli.newest()
    assert info["status"] == "finished"
    assert info["device"]["processes"] == 2
    assert len(info["test_reads"]) == 1
    assert done.stdout.count("test macro_f1") == 1
    assert done.stderr.count("[EXIT] TRAINING SUCCESS") == 1
    assert [row["event"] for row in cli.rows(info["path"])] == ["epoch", "evaluate", "evaluate"]
    # One process goes on where two stopped, with the configuration that was saved.
    more = ("train.epochs=2", "--resume-anyway", "train.epochs")
    assert cli("train", "--resume", info["id"], *more).code == 0


@pytest.mark.slow
def test_error_ends_both_processes(cli: Any) -> None:
    done = torchrun("train", "classify/digits", *cli.tiny, "data.root=nowhere")
    assert done.returncode != 0
    assert done.stderr.count("error: The data folder") == 1
    assert done.stderr.count("process 1: The data folder") <= 1


@pytest.mark.slow
def test_two_processes_train_every_fold(pictures: Path, cli: Any) -> None:
    done = torchrun("train", "classify/digits", *cli.tiny, f"data.root={pictures}",
                    "data.folds=2", "--mode", "full-pipeline", "--use-calibration")  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    info = cli.newest()
    rows = cli.rows(info["path"])
    assert [r["fold"] for r in rows if r["event"] == "epoch"] == [0, 1]
    assert [r["event"] for r in rows if r["event"] != "epoch"] == [
        "evaluate", "oof", "calibrate", "evaluate",
    ]  # fmt: skip
    assert len(info["test_reads"]) == 1


@pytest.mark.slow
def test_two_processes_resume_one_run(trained: Path, cli: Any) -> None:
    more = ("train.epochs=2", "--resume-anyway", "train.epochs")
    done = torchrun("train", "--resume", trained.name, *more)
    assert done.returncode == 0, done.stderr[-3000:]
    epochs = [row["epoch"] for row in cli.rows(trained) if row["event"] == "epoch"]
    assert epochs == [1, 2]
    assert len(cli.json(trained / "run.json")["earlier_configs"]) == 1
