"""`sightline tune`: real trials in processes of their own, and what a search leaves behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SPACE = """task: search
study: {{name: s, n_trials: {n}, random_trials: 2}}
pruning: {{{pruning}}}
overrides: {{train.epochs: {epochs}{more}}}
space:
  train.lr: {{low: 1.0e-3, high: 1.0e-2, log: true}}
  train.batch_size: {{choices: [16, 128]}}
"""
STUDY = Path("experiments/tune/s")
LIMIT_GIB = 6


def space(n: int, *, epochs: int = 1, pruning: str = "method: none", more: str = "") -> str:
    """A search file of the working directory."""
    text = SPACE.format(n=n, epochs=epochs, pruning=pruning, more=more)
    Path("space.yaml").write_text(text, encoding="utf-8")
    return "--space=space.yaml"


def tune(cli: Any, pictures: Path, *arguments: object) -> Any:
    return cli("tune", "classify/digits", *cli.tiny, f"data.root={pictures}", *arguments)


def began(cli: Any, pictures: Path, *arguments: object) -> subprocess.Popen[str]:
    """A search as a process of its own."""
    settings = [*cli.tiny, f"data.root={pictures}", *map(str, arguments)]
    return subprocess.Popen(
        [sys.executable, "-m", "sightline", "tune", "classify/digits", *settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def summary(cli: Any) -> dict[str, Any]:
    found: dict[str, Any] = cli.json(STUDY / "search.json")
    return found


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    return found["finished"], found["pruned"], found["failed"]


def below(pid: int, module: str) -> list[int]:
    """Processes below one that run a module."""
    found: list[int] = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if module in Path(f"/proc/{child}/cmdline").read_text():
            found.append(int(child))
        found += below(int(child), module)
    return found


def wait_for_trial(pid: int) -> int:
    """The process of a trial that has made its run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        trials = below(pid, "tuning.trial_process")
        if trials and list(STUDY.glob("runs/*/trial-*/run.json")):
            return trials[0]
        time.sleep(0.05)
    raise AssertionError("no trial began")


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


def test_search_trains_real_trials_and_goes_on(pictures: Path, cli: Any) -> None:
    done = tune(cli, pictures, space(1), "train.epochs=7")
    assert done.code == 0, done.said
    found = summary(cli)
    assert counts(found) == (1, 0, 0)
    row = cli.table(STUDY / "trials.csv")[0]
    run = STUDY / row["run"]
    info, epochs = cli.json(run / "run.json"), cli.rows(run)
    assert info["status"] == "finished"
    assert info["test_reads"] == []
    assert not list((run / "predictions").glob("test*"))
    assert float(row["value"]) == max(one["macro_f1"] for one in epochs) == found["best"]["value"]
    config = (run / "config.yaml").read_text(encoding="utf-8")
    assert f"lr: {row['train.lr']}" in config.replace("e-0", "e-")
    assert f"batch_size: {row['train.batch_size']}" in config
    # The user's own runs are untouched, and the search has a log of its own kind.
    assert not Path("experiments/train").exists()
    assert len(list(Path("logs").glob("*/optimization/optimization_*_s_*.log"))) == 1
    assert len(list((STUDY / "figures").glob("*.png"))) >= 6

    # A complete study only says so.
    again = tune(cli, pictures, space(1), "train.epochs=7", "--json")
    assert again.code == 0, again.said
    assert json.loads(again.out)["best"] == found["best"]
    assert len(list(STUDY.glob("runs/*/trial-*"))) == 1

    # The best configuration trains as it is: with the best values and the whole training's epochs.
    best = Path(found["best"]["config"])
    assert best.name.startswith("train_optimized_20")
    shown = cli("config", best)
    assert shown.code == 0, shown.said
    assert "  epochs: 7\n" in shown.out
    assert f"  batch_size: {found['best']['params']['train.batch_size']}\n" in shown.out
    assert f"Trial {found['best']['number']}: macro_f1" in best.read_text(encoding="utf-8")
    # Another configuration under the same name is another study.
    other = tune(cli, pictures, space(1), "train.epochs=7", "train.weight_decay=0.3")
    screen = cli.screen(other, code=1)
    assert "belongs to another configuration" in screen
    assert "config.train.weight_decay: 0.05 -> 0.3" in screen
    assert counts(summary(cli)) == (1, 0, 0)


@pytest.mark.slow
def test_more_trials_are_added_and_only_the_best_keeps_its_weights(
    pictures: Path, cli: Any
) -> None:
    for n_trials in (1, 3):
        done = tune(cli, pictures, space(1), f"--n-trials={n_trials}")
        assert done.code == 0, done.said
        found = summary(cli)
        assert counts(found) == (n_trials, 0, 0)
    assert [one["number"] for one in cli.table(STUDY / "trials.csv")] == ["0", "1", "2"]
    kept = {file.parts[-3] for file in STUDY.glob("runs/*/trial-*/ckpt/best_model.pth")}
    assert kept == {Path(found["best"]["run"]).name}


@pytest.mark.slow
def test_trial_that_cannot_train_is_failed_and_has_no_score(pictures: Path, cli: Any) -> None:
    done = tune(cli, pictures, space(1, more=", train.optimizer: nosuch"))
    screen = cli.screen(done, code=1)
    assert "No trial of the search finished" in screen
    row = cli.table(STUDY / "trials.csv")[0]
    assert (row["state"], row["value"]) == ("failed", "")
    assert "nosuch" in row["error"]
    assert summary(cli)["best"] is None
    assert not list(STUDY.glob("train_optimized_*"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--space=classify/optuma"], 2, "classify/optuna"),
        (["--space=classify/basic"], 2, "There is no task classify"),
        (["--space=classify/optuna", "--n-trials=0"], 2, "n-trials"),
        (["--space=classify/optuna", "train.warmup_epochs=7"], 2, "warmup_epochs 7"),
        (["--space=classify/optuna", "train.device=cuda:77"], 2, "cuda:77"),
        (["--space=classify/optuna", "--storage=mysql://h/d"], 2, "cannot be kept in mysql"),
        (["--space=classify/optuna", "--study-name=a b"], 2, "study.name"),
        (["--space=classify/optuna", "data.val_fraction=0.0"], 1, "no validation split"),
        (["--space=classify/optuna", "data.root=nowhere"], 1, "nowhere"),
        (["--space=strange.yaml"], 2, "did you mean train.lr?"),
    ],
)
def test_bad_input_is_said_before_anything_starts(
    arguments: list[str], code: int, words: str, pictures: Path, cli: Any
) -> None:
    Path("strange.yaml").write_text("task: search\nspace: {train.lrr: {low: 0.1, high: 1.0}}\n")
    done = tune(cli, pictures, *arguments)
    assert done.code == code, done.said
    assert "Traceback" not in done.said
    assert words in done.said
    assert not list(Path().glob("experiments/tune/*/runs"))


def test_search_is_no_thing_to_train(cli: Any) -> None:
    assert "There is no task search" in cli.screen(cli("train", "classify/optuna"), code=2)
    assert "n_trials: 20" in cli("config", "classify/optuna").out


@pytest.mark.slow
def test_bad_trial_is_pruned_and_keeps_no_score(pictures: Path, cli: Any) -> None:
    # With this seed the first trial learns, and the second, at a rate of 1e-7, does not.
    Path("space.yaml").write_text(
        "task: search\n"
        "study: {name: s, n_trials: 2, sampler: random, seed: 99}\n"
        "pruning: {startup_trials: 1, warmup_epochs: 1}\n"
        "overrides: {train.epochs: 12}\n"
        "space:\n"
        "  train.lr: {low: 1.0e-7, high: 3.0e-2, log: true}\n"
        "  train.batch_size: {choices: [16, 128]}\n"
    )
    done = tune(cli, pictures, "--space=space.yaml")
    assert done.code == 0, done.said
    assert counts(summary(cli)) == (1, 1, 0)
    good, bad = cli.table(STUDY / "trials.csv")
    assert (good["state"], good["epochs"]) == ("finished", "12")
    assert (bad["state"], bad["value"], bad["error"]) == ("pruned", "", "")
    assert 2 <= int(bad["epochs"]) < 12
    # Its process got the time to stop between two steps.
    assert cli.json(STUDY / bad["run"] / "run.json")["status"] in ("stopped", "finished")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_keeps_what_is_finished(
    number: signal.Signals, code: int, pictures: Path, cli: Any
) -> None:
    process = began(cli, pictures, space(2, epochs=400))
    trial = wait_for_trial(process.pid)
    process.send_signal(number)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "the same command goes on with the study" in said
    wait_until_gone(trial)
    rows = cli.table(STUDY / "trials.csv")
    assert [(row["state"], row["error"]) for row in rows] == [("failed", "interrupted by SIGTERM")]
    assert summary(cli)["waiting"] == 1


@pytest.mark.slow
def test_nothing_outlives_a_killed_search_and_nothing_is_lost(pictures: Path, cli: Any) -> None:
    random.seed(0)
    options = (space(4, epochs=40), "--workers=2")
    process = began(cli, pictures, *options)
    wait_for_trial(process.pid)
    # A worker is killed: its trial ends with it, and another worker takes its place.
    worker = random.choice(below(process.pid, "tuning.worker"))
    orphans = below(worker, "tuning.trial_process")
    os.kill(worker, signal.SIGKILL)
    for pid in orphans:
        wait_until_gone(pid)
    deadline = time.monotonic() + 60
    while len(below(process.pid, "tuning.trial_process")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # The whole command is killed: workers and trials end with it.
    everything = below(process.pid, "sightline")
    assert len(everything) == 4
    process.kill()
    process.communicate(timeout=60)
    for pid in everything:
        wait_until_gone(pid)
    done = tune(cli, pictures, *options)
    found = summary(cli)
    assert sum(counts(found)) == 4
    assert 1 <= found["failed"] <= 3 + 1
    assert "running" not in found
    errors = Counter(row["error"] for row in cli.table(STUDY / "trials.csv") if row["error"])
    assert set(errors) <= {"its worker was killed", "interrupted by SIGTERM"}
    assert done.code == (0 if found["finished"] else 1), done.said


@pytest.mark.slow
def test_no_trial_begins_after_the_timeout(pictures: Path, cli: Any) -> None:
    done = tune(cli, pictures, space(3), "--timeout=0.5")
    assert done.code in (0, 1), done.said
    found = summary(cli)
    assert found["waiting"] >= 2
    assert tune(cli, pictures, space(3)).code == 0
    assert counts(summary(cli)) == (3, 0, 0)


@pytest.mark.slow
def test_trial_out_of_memory_goes_on_with_a_smaller_batch(pictures: Path, cli: Any) -> None:
    text = "task: search\nstudy: {name: s, n_trials: 1}\npruning: {method: none}\n"
    Path("space.yaml").write_text(text + "space: {train.batch_size: {choices: [64]}}\n")
    import torch

    if torch.cuda.is_available():
        pytest.skip("CUDA takes more address space than the test may give")
    settings = ["train.img_size=512", "data.augment.preset=none"]
    # So much address space that a batch of 8 can be trained at this size, and one of 64 cannot.
    limit = ["prlimit", f"--as={LIMIT_GIB * 2**30}"]
    done = cli.apart(
        "tune", "classify/digits", *cli.tiny, f"data.root={pictures}", *settings,
        "--space=space.yaml", before=limit,
    )  # fmt: skip
    assert done.code == 0, done.said
    row = cli.table(STUDY / "trials.csv")[0]
    assert row["state"] == "finished"
    first, *later = row["batch"].split(" -> ")
    assert first == "64"
    sizes = [tuple(map(int, one.split(" x "))) for one in later]
    assert sizes
    assert all(size * steps == 64 for size, steps in sizes)
    best = Path(summary(cli)["best"]["config"]).read_text(encoding="utf-8")
    assert f"  batch_size: {sizes[-1][0]}\n" in best
    assert f"  accumulate_steps: {sizes[-1][1]}\n" in best


@pytest.mark.slow
def test_two_commands_share_a_study_in_postgresql(postgres: str, pictures: Path, cli: Any) -> None:
    import optuna

    options = (space(5), f"--storage={postgres}", "--workers=2")
    first = began(cli, pictures, *options)
    second = began(cli, pictures, *options)
    said = [process.communicate(timeout=200)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    url = postgres.replace("postgresql:", "postgresql+pg8000:")
    trials = optuna.load_study(study_name="s", storage=url).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    assert len(list(STUDY.glob("runs/*/trial-*"))) == 5
    assert counts(summary(cli)) == (5, 0, 0)
    # The password is in no file.
    for file in Path().rglob("*"):
        if file.is_file():
            assert b"secret" not in file.read_bytes(), file
