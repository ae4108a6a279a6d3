"""Seeing runs from the command line and by the old scripts; nothing waits or opens a window."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import make_run, write_epochs, write_scores, write_table
from PIL import Image

from sightline.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
EXP_DIR = Path("experiments/train")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunFolder]:
    """Two encoders and a classifier, the oldest first, in the default place."""
    monkeypatch.chdir(tmp_path)
    made = []
    for order, (name, task) in enumerate((("dpe-a", "compress"), ("dpe-b", "compress"),
                                          ("cls", "classify"))):  # fmt: skip
        best = {"metric": "recall_at_5", "value": 0.5 + order / 10, "epoch": 2}
        run = make_run(EXP_DIR, name, task, order=order, best=best)
        write_epochs(run, [{"train_loss": 1 / n, "recall_at_5": 0.5, "lr": 0.1} for n in (1, 2)])
        write_scores(run, recall_at_5=0.5 + order / 10)
        write_table(run, ["id", "recall_at_5"], [(f"q{n}", n % 2) for n in range(8)])
        made.append(run)
    return made


def script(name: str, *arguments: object, **options: Any) -> Any:
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [sys.executable, str(ROOT / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def test_list_keeps_a_task_and_sorts(runs: list[RunFolder], cli: Any) -> None:
    assert [line.split("_")[0] for line in cli("list").out.splitlines()[1:]] == [
        "cls", "dpe-b", "dpe-a",
    ]  # fmt: skip
    done = cli("list", "--task", "compress", "--sort", "best", "--most", 1)
    assert "dpe-b" in done.out.splitlines()[1]
    assert "recall_at_5 0.6000" in done.out
    assert "and 1 more runs" in done.out
    assert "0:03:00" in cli("list", "--sort", "duration").out.splitlines()[1]
    rows = json.loads(cli("list", "--sort", "name", "--json").out)
    assert [row["name"] for row in rows] == ["cls", "dpe-a", "dpe-b"]
    assert {row["uuid"] for row in rows} == {run.info["uuid"] for run in runs}
    assert cli("list", "--task", "reid").out.startswith("no runs of reid in ")
    assert cli("list", "--sort", "size").code == 2


def test_plot_adds_the_picture_of_the_training(runs: list[RunFolder], cli: Any) -> None:
    uuid = runs[0].info["uuid"]
    names = [Path(line).name for line in cli("plot", "--experiment-id", uuid).out.splitlines()]
    assert names[-2:] == ["training_curves.png", "training_curves.csv"]
    assert (runs[0].figures / "training_curves.png").is_file()
    assert "cls" in cli("plot", "--list").out

    assert cli("plot", uuid, "--no-recall", "--save", "a/b.html").out == "a/b.html\n"
    assert "recall_at_5" in Path("a/b.html").read_text()  # the table keeps every number
    assert [file.name for file in Path("a").iterdir()] == ["b.html"]
    assert cli("plot", uuid, "--recall-history", "--save", "c.png").code == 0
    with Image.open("c.png") as picture:
        assert picture.size[0] > 3000


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["plot", "dpe-a", "--save", "curves.pdf"], "ends in .png or .html"),
        (["plot", "dpe-a", "--no-recall", "--recall-history"], "contradict each other"),
        (["plot", "dpe-a", "--experiment-id", "x"], "named twice"),
        (["compare"], "Nothing says which runs"),
        (["compare", "dpe-a"], "not two runs"),
        (["compare", "dpe-a", "cls"], "Runs of different tasks"),
        (["compare", "dpe-*", "--no-recall", "--recall-history"], "contradict each other"),
        (["compare", "dpe-*", "--save", "x"], "ends in .png or .html"),
    ],
)
def test_wrong_use_is_one_screen(
    arguments: list[str], word: str, runs: list[RunFolder], cli: Any
) -> None:
    assert word in cli.screen(cli(*arguments), code=2)


def test_run_without_its_identity_is_drawn_with_a_note(runs: list[RunFolder], cli: Any) -> None:
    (runs[0].path / "run.json").write_text('{"task": "compress", "new": [1]}')
    done = cli("plot", runs[0].path, "--save", "x.png")
    assert done.code == 0, done.said
    assert "run.json has no id, name, status, times, best" in done.err


def test_unfinished_runs_are_drawn_and_compared(runs: list[RunFolder], cli: Any) -> None:
    empty = make_run(EXP_DIR, "dpe-empty", "compress", order=9)
    empty.set_status("failed", error="no memory")
    assert cli("plot", empty.id, "--save", "x.png").code == 0
    done = cli("compare", "dpe-a", "dpe-empty")
    assert done.code == 0, done.said
    assert "failed" in done.out
    assert f"sightline evaluate {empty.id} --split val" in done.err
    assert "cannot be paired" in done.out


def test_compare_prints_and_writes(runs: list[RunFolder], cli: Any) -> None:
    done = cli("compare", "dpe-a", "dpe-b", "--recall-history")
    assert "dpe-b against dpe-a, on the same 8 samples:" in done.out
    assert "Recall@5 +0.000 [+0.000, +0.000] (n=8 queries; within chance)" in done.out
    files = [Path(line) for line in done.out.splitlines()[-3:]]
    assert [file.name for file in files] == [f"comparison.{end}" for end in ("png", "csv", "html")]
    assert files[0].parents[1] == Path("experiments/comparisons").absolute()
    assert all(file.is_file() for file in files)

    found = json.loads(cli("compare", "--task", "compress", "--json", "--save", "two.html").out)
    assert [run["label"] for run in found["runs"]] == ["dpe-b", "dpe-a"]
    assert found["runs"][0]["scores"]["recall_at_5"]["low"] == pytest.approx(0.59)
    assert found["files"] == ["two.png", "two.csv", "two.html"]
    (pair,) = found["pairs"]
    assert (pair["n"], pair["lost"], pair["p"]) == (8, 0, 1.0)

    before = sorted(Path().rglob("*"))
    assert "Recall" not in cli("compare", "dpe-*", "--table", "--no-recall").out
    assert sorted(Path().rglob("*")) == before


def test_old_scripts_draw_the_newest_and_the_named_run(runs: list[RunFolder]) -> None:
    done = script("scripts/quick_plot.py")
    assert done.returncode == 0, done.stderr
    assert (runs[-1].figures / "quick_plot.png").is_file()
    listed = script("scripts/visualize_training.py", "--list")
    assert runs[0].id in listed.stdout
    uuid = runs[0].info["uuid"]
    named = ("--experiment_id", uuid, "--recall-history", "--save", "one.png")
    assert script("scripts/visualize_training.py", *named).stdout == "one.png\none.csv\n"
    # The newest run, where nobody can be asked.
    assert script("scripts/visualize_training.py", "--save", "new.html").returncode == 0
    assert runs[-1].id in Path("new.html").read_text()
    both = ("--compare", "dpe-a", "dpe-b", "--no-recall", "--save", "c.png")
    assert script("scripts/visualize_training.py", *both).returncode == 0
    assert Path("c.html").is_file()


def test_old_scripts_say_what_is_wrong(runs: list[RunFolder]) -> None:
    nothing = script("scripts/quick_plot.py", "--exp-dir", "elsewhere")
    assert nothing.returncode == 1
    assert "no runs at all" in nothing.stderr
    alone = script("scripts/visualize_training.py", "--compare")  # the newest is the only one
    assert alone.returncode == 2
    assert "not two runs" in alone.stderr


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(("typed", "code"), [("3", 0), ("", 0), ("9", 2)])
def test_a_person_at_a_terminal_is_asked(
    runs: list[RunFolder], terminal: tuple[int, int], typed: str, code: int
) -> None:
    person, program = terminal
    os.write(person, f"{typed}\n".encode())
    done = script("scripts/visualize_training.py", "--save", "x.html", stdin=program)
    assert done.returncode == code, done.stderr
    assert f"  3  {runs[0].id}  finished" in done.stdout
    if code == 0:
        chosen = runs[0] if typed == "3" else runs[-1]
        assert chosen.id in Path("x.html").read_text()
    else:
        assert "That is no number of the list" in done.stderr


def test_histories_are_overlaid_by_hand(trained: Path) -> None:
    done = script("examples/overlay_histories.py", trained, trained)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "overlay.png: 2 runs\n"
    with Image.open("overlay.png") as picture:
        assert picture.size == (2400, 1500)


def test_checkpoint_is_listed_and_encodes(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ("train.epochs=1", "train.warmup_epochs=0", "eval.bootstrap=100", "train.device=cpu")
    done = cli("train", "compress/digits", "data.digits=digits", *short)
    assert done.code == 0, done.said
    run = Path(cli.newest()["path"])
    vectors = np.random.default_rng(0).uniform(0, 16, (5, 64)).astype(np.float32)
    np.save("vectors.npy", vectors)
    checkpoint = run / "ckpt" / "best_model.pth"
    done = script("examples/load_checkpoint.py", checkpoint, "--vectors", "vectors.npy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("best_model.pth: epoch 1, ")
    assert "(5, 64) -> (5, 16): vectors_encoded.npy" in done.stdout
    assert np.isfinite(np.load("vectors_encoded.npy")).all()
    assert cli("plot").code == 0
    assert cli("plot", "--save", "p.html").code == 0
