"""Inference files pointed at another run: what changes, what stays, and what is refused."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sightline.config import dump_config, load_config
from sightline.errors import ConfigError, RunError
from sightline.infer_config import apply_change, choose_run, plan_changes
from sightline.inference import load_inference
from sightline.runs import RunFolder, publish_latest
from sightline.trained import TASK_CONFIGS

EXP_DIR = Path("experiments/train")
DAY, LATER = datetime(2026, 9, 1, 23, 59), datetime(2026, 9, 2, 0, 1)


def made(name: str, now: datetime, *, status: str = "finished", checkpoint: bool = True) -> Any:
    """A run folder as training leaves it, without what infer-config does not look at."""
    text = dump_config(load_config("classify/digits", tasks=TASK_CONFIGS))
    run = RunFolder.create(
        EXP_DIR, name=name, task="classify", command=[], config_text=text, seeds={}, now=now
    )
    if checkpoint:
        (run.ckpt / "best_model.pth").write_bytes(b"weights")
    run.set_status(status)
    return run


def rewritten(content: str | bytes, run: RunFolder, *, name: str = "infer.yaml") -> bytes:
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (change,) = plan_changes([file], run)
    apply_change(change)
    return file.read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("task: infer\nrun: latest\n", "task: infer\nrun: HERE\n"),
        ("# a\nrun:   'old'   # why\ntask: infer\n", "# a\nrun:   HERE   # why\ntask: infer\n"),
        ("task: infer\r\nrun: latest\r\ndevice: cpu", "task: infer\r\nrun: HERE\r\ndevice: cpu"),
        ("\ufefftask: infer\nrun: latest\n", "\ufefftask: infer\nrun: HERE\n"),
        ("{task: infer, run: latest}\n", "{task: infer, run: HERE}\n"),
        ("recipe: classify/infer\n'run' : a/b # ü", "recipe: classify/infer\n'run' : HERE # ü"),
        ("task: infer\nrun:\n", "task: infer\nrun: HERE\n"),
    ],
)  # fmt: skip
def test_only_the_run_changes(before: str, after: str) -> None:
    run = made("a", DAY)
    place = f"experiments/train/20260901/{run.id}"
    assert rewritten(before, run) == after.replace("HERE", place).encode()
    assert Path("infer.yaml.bak").read_bytes() == before.encode()


def test_file_in_another_folder_leads_to_the_run(tmp_path: Path) -> None:
    run = made("a", DAY)
    text = rewritten("task: infer\nrun: latest\n", run, name="my files/infer.yaml").decode()
    assert f"run: ../experiments/train/20260901/{run.id}\n" in text
    assert Path(load_inference("my files/infer.yaml").run) == run.path
    assert load_inference("my files/infer.yaml", ["run=a/b"]).run == "a/b"
    assert load_inference("my files/infer.yaml", flags={"run": "x"}).run == "x"


def test_path_that_needs_quotes_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a b: #1").mkdir()
    monkeypatch.chdir("a b: #1")
    run = made("a", DAY)
    os.chdir("..")
    text = rewritten("task: infer\nrun: latest\n", run).decode()
    assert f'run: "a b: #1/experiments/train/20260901/{run.id}"\n' in text
    assert Path(load_inference("infer.yaml").run) == run.path


def test_backups_are_numbered_and_nothing_is_written_twice() -> None:
    first, second = made("a", DAY), made("b", LATER)
    file = Path("infer.yaml")
    rewritten("task: infer\nrun: latest\n", first)
    file.chmod(0o640)
    (change,) = plan_changes([file], second)
    assert (change.old, change.new) == (f"experiments/train/20260901/{first.id}",
                                        f"experiments/train/20260902/{second.id}")  # fmt: skip
    assert apply_change(change) == Path("infer.yaml.bak2")
    assert first.id in Path("infer.yaml.bak2").read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    (same,) = plan_changes([file], second)
    assert apply_change(same) is None
    assert not Path("infer.yaml.bak3").exists()


def test_file_that_is_named_twice_is_changed_once() -> None:
    run = made("a", DAY)
    Path("infer.yaml").write_text("task: infer\nrun: latest\n")
    Path("other.yaml").write_text("task: infer\nrun: latest\n")
    files = [Path(name) for name in ("infer.yaml", "other.yaml", "./infer.yaml")]
    assert [change.file for change in plan_changes(files, run)] == files[:2]


def test_link_stays_a_link() -> None:
    run = made("a", DAY)
    Path("real.yaml").write_text("task: infer\nrun: latest\n")
    Path("infer.yaml").symlink_to("real.yaml")
    (change,) = plan_changes([Path("infer.yaml")], run)
    apply_change(change)
    assert Path("infer.yaml").is_symlink()
    assert run.id in Path("real.yaml").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task: classify\nrun: latest\n", "not an inference configuration"),
        ("task: infer\ndevice: cpu\n", "no `run:`"),
        ("task: infer\nrun: >-\n  latest\n  more\n", "cannot be changed safely"),
        ("task: infer\ndevice: &x latest\nrun: *x\n", "cannot be changed safely"),
        ("task: infer\nrun: [\n", "not YAML"),
    ],
)
def test_file_that_cannot_be_changed_is_left_alone(content: str, message: str) -> None:
    run = made("a", DAY)
    Path("good.yaml").write_text("task: infer\nrun: latest\n")
    Path("bad.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        plan_changes([Path("good.yaml"), Path("bad.yaml")], run)
    assert Path("bad.yaml").read_text() == content
    assert Path("good.yaml").read_text() == "task: infer\nrun: latest\n"
    assert not list(Path().glob("*.bak*"))


def choose(**options: Any) -> tuple[str, list[str]]:
    said: list[str] = []
    return choose_run(EXP_DIR, say=said.append, **options).id, said


def test_runs_are_chosen_by_name_day_and_freshness() -> None:
    old, new = made("old", DAY), made("new", LATER)
    twin = made("twin", LATER.replace(minute=5), status="finished")
    stopped = made("stopped", LATER.replace(minute=7), status="stopped")
    made("empty", LATER.replace(minute=9), status="failed", checkpoint=False)
    publish_latest(old, EXP_DIR)
    assert choose() == (old.id, [])
    assert choose(newest=True) == (stopped.id, [])
    assert choose(which="20260901") == (old.id, [])
    chosen, said = choose(which="20260902")
    assert chosen == twin.id
    assert said == [f"2 finished runs of 20260902; the newest is {twin.id}"]
    assert choose(which="new_") == (new.id, [])


def test_nothing_to_choose_is_said() -> None:
    made("empty", DAY, status="failed", checkpoint=False)
    with pytest.raises(RunError, match="latest-train leads to no finished run"):
        choose()
    with pytest.raises(RunError, match="No run has a checkpoint"):
        choose(newest=True)
    with pytest.raises(RunError, match=r"No run of 20260902 is finished[\s\S]*runs of 20260901"):
        choose(which="20260902")
    with pytest.raises(RunError, match="no run 'nobody'"):
        choose(which="nobody")
