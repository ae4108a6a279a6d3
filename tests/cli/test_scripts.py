"""The shell scripts, run as they are, from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TRAINING = ("run_fast_training.sh", "run_highperf_training.sh")
BARE = "/usr/bin:/bin"


def run(script: Path, *arguments: object, path: str | None = None) -> Any:
    own = str(Path(sys.executable).parent)
    places = f"{own}{os.pathsep}{os.environ['PATH']}" if path is None else path
    return subprocess.run(
        [str(script), *map(str, arguments)],
        env={**os.environ, "PATH": places},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_script_is_shell(script: Path) -> None:
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-x", str(script)], cwd=SCRIPTS.parent, check=False)
        assert done.returncode == 0


@pytest.mark.parametrize("name", TRAINING)
def test_training_scripts_call_train_and_pass_on_what_is_typed(name: str) -> None:
    done = run(SCRIPTS / name, "data.root=nowhere", "train.epohcs=1")
    assert done.returncode == 2, done.stderr
    assert "train.epohcs" in done.stderr, "the script's own options were understood"
    shown = run(SCRIPTS / name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert "sightline train" in shown.stdout


def test_inference_script_rewrites_files(trained: Path) -> None:
    Path("infer.yaml").write_text("task: infer\nrun: latest\n")
    done = run(SCRIPTS / "update_inference_date.sh", "--latest-train", "infer.yaml")
    assert done.returncode == 0, done.stderr
    assert trained.name in Path("infer.yaml").read_text()
    nothing = run(SCRIPTS / "update_inference_date.sh", "19990101", "infer.yaml")
    assert nothing.returncode == 1
    assert "No run of 19990101" in nothing.stderr


def test_script_without_sightline_says_so(tmp_path: Path) -> None:
    folder = shutil.copytree(SCRIPTS, tmp_path / "elsewhere" / "scripts")
    done = run(folder / "update_inference_date.sh", path=BARE)
    assert done.returncode == 1
    assert "sightline is neither in PATH nor in" in done.stderr


def test_script_finds_the_environment_of_the_checkout(tmp_path: Path) -> None:
    folder = shutil.copytree(SCRIPTS, tmp_path / "a checkout" / "scripts")
    place = folder.parent / ".venv" / "bin"
    place.mkdir(parents=True)
    (place / "sightline").symlink_to(Path(sys.executable).parent / "sightline")
    done = run(folder / "update_inference_date.sh", "--help", path=BARE)
    assert done.returncode == 0, done.stderr
    assert "infer-config" in done.stdout


@pytest.fixture
def monitor() -> Iterator[Callable[[], str]]:
    """The monitor of ./logs at work; a function that returns what it has shown so far."""
    with open("shown", "wb") as shown:
        process = subprocess.Popen(
            [str(SCRIPTS / "monitor_training.sh"), "logs"],
            env={**os.environ, "MONITOR_SECONDS": "0.1"},
            stdin=subprocess.DEVNULL,
            stdout=shown,
            stderr=subprocess.STDOUT,
        )
    yield lambda: Path("shown").read_text()
    process.terminate()
    process.wait(10)


def until(text: str, shown: Callable[[], str]) -> str:
    for _ in range(300):
        if text in shown():
            return shown()
        time.sleep(0.1)
    raise AssertionError(f"{text!r} was not shown: {shown()}")


def test_monitor_follows_every_newer_log(monitor: Callable[[], str]) -> None:
    until("watching logs", monitor)
    first = Path("logs/20260901/train/train_a.log")
    first.parent.mkdir(parents=True)
    first.write_text("".join(f"line {n}\n" for n in range(30)))
    said = until("line 29\n", monitor)
    with first.open("a") as log:
        log.write("epoch 1\n")
    said = until("epoch 1\n", monitor)
    # The next day's folder, another kind of log, and then the first one again.
    second = Path("logs/20260902/pipeline/pipeline b.log")
    second.parent.mkdir(parents=True)
    second.write_text("stage\n")
    later = time.time() + 5
    os.utime(second, (later, later))
    until("stage\n", monitor)
    with first.open("a") as log:
        log.write("epoch 2\n")
    os.utime(first, (later + 5, later + 5))
    said = until("epoch 2\n", monitor)
    assert said.count("==> logs/20260901/train/train_a.log <==") == 2
    assert said.count("==> logs/20260902/pipeline/pipeline b.log <==") == 1
    for line in ("line 29\n", "epoch 1\n", "epoch 2\n", "stage\n"):
        assert said.count(line) == 1, said
