"""A run folder: identity made once, run.json always whole, a dead run seen to be dead."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import sightline.errors
from sightline.errors import RunError
from sightline.runs import RunFolder, displayed_status, git_state
from sightline.runs.folder import STATUSES

SOURCE = str(Path(sightline.errors.__file__).parents[1])
MIDNIGHT = datetime(2026, 9, 1, 23, 59, 59)


def make_run(exp_dir: Path, **changes: Any) -> RunFolder:
    facts: dict[str, Any] = {
        "name": "trash-r18",
        "task": "classify",
        "command": ["sightline", "train", "classify/basic"],
        "config_text": "task: classify\n",
        "seeds": {"project": 7},
        "versions": {"sightline": "0.1.0"},
    }
    return RunFolder.create(exp_dir, **facts | changes)


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_identity_is_in_folder_id_and_run_json(tmp_path: Path) -> None:  # CLS-32, CLS-40
    run = make_run(tmp_path, now=MIDNIGHT)
    assert re.fullmatch(r"trash-r18_20260901_235959-[0-9a-f]{6}", run.id)
    assert run.path == tmp_path / "20260901" / run.id
    info = json.loads((run.path / "run.json").read_text())
    assert info == run.info
    assert info["uuid"].startswith(run.id[-6:])
    assert info["times"]["created"].startswith("2026-09-01T23:59:59")
    assert datetime.fromisoformat(info["times"]["created"]).tzinfo is not None
    assert {key: info[key] for key in ("task", "name", "status", "command", "seeds")} == {
        "task": "classify",
        "name": "trash-r18",
        "status": "created",
        "command": ["sightline", "train", "classify/basic"],
        "seeds": {"project": 7},
    }
    assert info["versions"] == {"sightline": "0.1.0"}
    assert info["parent"] is info["error"] is info["best"] is info["stop_reason"] is None
    assert info["test_reads"] == []


def test_the_folder_has_its_files_and_nothing_hidden(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert run.config_file.read_text() == "task: classify\n"
    assert run.ckpt.is_dir()
    assert run.predictions.is_dir()
    assert run.figures.is_dir()
    assert run.metrics_file == run.path / "metrics.jsonl"
    assert [entry.name for entry in run.path.parent.iterdir()] == [run.id]


def test_nothing_changes_at_midnight(tmp_path: Path) -> None:  # CLS-43, defect 12
    run = make_run(tmp_path, now=MIDNIGHT)
    run.set_status("running")
    run.set_status("finished")
    opened = RunFolder.open(run.path)
    assert opened.path == run.path
    assert opened.created == run.created
    assert f"{opened.created:%Y%m%d-%H%M}" == "20260901-2359"
    assert [entry.name for entry in tmp_path.iterdir()] == ["20260901"]


def test_a_zone_that_is_given_is_kept(tmp_path: Path) -> None:
    zone = timezone(timedelta(hours=-7))
    run = make_run(tmp_path, now=MIDNIGHT.replace(tzinfo=zone))
    assert "_20260901_235959-" in run.id
    assert run.created.isoformat() == "2026-09-01T23:59:59-07:00"


def test_runs_of_the_same_second_do_not_collide(tmp_path: Path) -> None:  # defect 11, 13
    runs = [make_run(tmp_path, now=MIDNIGHT) for _ in range(20)]
    assert len({run.path for run in runs}) == 20


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "two words", "a\n", "x" * 121])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match=r"project\.name=NAME"):
        make_run(tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []


def test_update_merges_also_what_another_process_wrote(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    other = RunFolder.open(run.path)
    other.update(device={"name": "cpu"})
    run.update(best={"metric": "macro_f1", "value": float("nan"), "epoch": 3})
    info = json.loads((run.path / "run.json").read_text())
    assert info["device"] == {"name": "cpu"}
    assert info["best"] == {"metric": "macro_f1", "value": None, "epoch": 3}
    assert info["task"] == "classify"


@pytest.mark.parametrize("field", ["id", "uuid", "status"])
def test_the_identity_cannot_be_updated(tmp_path: Path, field: str) -> None:
    run = make_run(tmp_path)
    with pytest.raises(ValueError, match=field):
        run.update(**{field: "other"})
    assert RunFolder.open(run.path).info == run.info


def test_updates_of_two_processes_are_all_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    code = """
import sys
from sightline.runs.folder import RunFolder
run = RunFolder.open(sys.argv[1])
for number in range(25):
    run.update(**{f"{sys.argv[2]}{number}": number})
"""
    processes = [python(code, run.path, name) for name in "ab"]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    info = RunFolder.open(run.path).info
    assert {f"{name}{number}" for name in "ab" for number in range(25)} <= info.keys()


def test_times_follow_the_status(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.set_status("running")
    started = run.info["times"]["started"]
    assert run.info["process"]["pid"] == os.getpid()
    run.set_status("stopped", stop_reason="SIGTERM")
    assert run.info["times"]["ended"] >= started
    assert run.info["stop_reason"] == "SIGTERM"
    run.set_status("running")
    assert run.info["times"]["started"] == started
    assert run.info["times"]["ended"] is None
    assert run.info["stop_reason"] is None
    assert len(run.info["times"]["resumed"]) == 1
    run.set_status("failed", error="loss is NaN")
    assert RunFolder.open(run.path).info["error"] == "loss is NaN"


def test_an_unknown_status_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(ValueError, match=r"'done'.*finished"):
        run.set_status("done")
    assert run.info["status"] == "created"
    assert set(STATUSES) == {"created", "running", "finished", "stopped", "failed"}


def test_every_read_of_the_test_split_is_recorded(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert run.record_test_read("best_model.pth", ["sightline", "evaluate"]) == 1
    assert RunFolder.open(run.path).record_test_read("epoch_001.pth", ["again"]) == 2
    reads = RunFolder.open(run.path).info["test_reads"]
    assert [read["checkpoint"] for read in reads] == ["best_model.pth", "epoch_001.pth"]
    assert reads[1]["command"] == ["again"]
    assert datetime.fromisoformat(reads[0]["time"]).tzinfo is not None


def test_a_killed_run_is_shown_as_died(tmp_path: Path) -> None:
    code = """
import sys
from sightline.runs.folder import RunFolder
run = RunFolder.open(sys.argv[1])
run.set_status("running")
print("ready", flush=True)
sys.stdin.read()
"""
    run = make_run(tmp_path)
    process = python(code, run.path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert displayed_status(RunFolder.open(run.path).info) == "running"
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
    assert displayed_status(RunFolder.open(run.path).info) == "died"
    process.communicate()
    assert displayed_status(RunFolder.open(run.path).info) == "died"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, "running"),
        ({"started": "1"}, "died"),  # the number was given to another process
        ({"boot": "another"}, "died"),
        ({"host": "another", "started": "1"}, "running"),
        ({"namespace": "another", "started": "1"}, "running"),
        ({"pid": None}, "running"),
    ],
)
def test_only_a_process_of_this_machine_can_be_seen_dead(
    tmp_path: Path, change: dict[str, Any], shown: str
) -> None:
    run = make_run(tmp_path)
    run.set_status("running")
    info = run.info | {"process": run.info["process"] | change}
    assert displayed_status(info) == shown
    assert displayed_status(info | {"status": "finished"}) == "finished"


def test_a_place_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        make_run(tmp_path / "file" / "train")
    message = str(caught.value)
    assert "expected:" in message
    assert str(tmp_path / "file" / "train") in message
    assert "output.exp_dir=FOLDER" in message
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_without_the_right_to_write_the_error_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=r"allow writing there.*output\.exp_dir=FOLDER"):
        make_run(tmp_path)


def test_a_full_disk_leaves_no_half_run(tmp_path: Path) -> None:
    code = """
import resource, sys
from sightline.errors import RunError
from sightline.runs.folder import RunFolder
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    RunFolder.create(sys.argv[1], name="n", task="t", command=[], config_text="x" * 5000, seeds={})
except RunError as error:
    print(error)
"""
    output, _ = python(code, tmp_path).communicate(timeout=60)
    assert "free space there, or choose another folder with output.exp_dir=FOLDER" in output
    assert [list(day.iterdir()) for day in tmp_path.iterdir()] == [[]]


@pytest.mark.parametrize("content", [None, "{cut", "[]", '{"id": "x"}', '{"id": 1, "status": "a"}'])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match="sightline list") as caught:
        RunFolder.open(tmp_path)
    assert str(tmp_path / "run.json") in str(caught.value)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_tells_the_commit_and_whether_tracked_files_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "--no-verify", "-m", "one")
    (tmp_path / "untracked").write_text("1")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": True}


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path / "nowhere") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert make_run(tmp_path).info["git"] is None


def test_importing_runs_brings_nothing_heavy() -> None:
    code = """
import sys
import sightline.runs
heavy = {"torch", "numpy", "pydantic", "rich", "yaml", "PIL", "timm", "click"}
print(sorted(heavy & set(sys.modules)))
"""
    output, _ = python(code).communicate(timeout=60)
    assert output == "[]\n"
