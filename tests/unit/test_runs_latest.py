"""latest-train always leads to one finished run, whoever publishes and whoever is killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

import sightline.errors
from sightline.errors import RunError
from sightline.runs import RunFolder, find_run, publish_latest, read_latest

SOURCE = str(Path(sightline.errors.__file__).parents[1])


def finished(exp_dir: Path, name: str = "run", **changes: datetime) -> RunFolder:
    run = RunFolder.create(
        exp_dir, name=name, task="classify", command=[], config_text=name, seeds={}, **changes
    )
    run.set_status("running")
    run.set_status("finished")
    return run


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", refuse)


def test_the_link_is_relative_and_leads_to_the_run(tmp_path: Path) -> None:  # CLS-42
    run = finished(tmp_path / "train")
    assert publish_latest(run, tmp_path / "train") == tmp_path / "train" / "latest-train"
    link = tmp_path / "train" / "latest-train"
    assert str(link.readlink()) == f"{run.path.parent.name}/{run.id}"
    (tmp_path / "train").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "latest-train" / "config.yaml").read_text() == "run"


def test_a_run_that_crossed_midnight_is_published(tmp_path: Path) -> None:  # CLS-43
    run = finished(tmp_path, now=datetime(2026, 9, 1, 23, 59, 59))
    publish_latest(run, tmp_path)
    assert read_latest(tmp_path) == run.path
    assert str((tmp_path / "latest-train").readlink()).startswith("20260901/")


def test_the_run_that_ended_last_stays_published(tmp_path: Path) -> None:
    first, second = finished(tmp_path), finished(tmp_path)
    publish_latest(second, tmp_path)
    publish_latest(first, tmp_path)
    assert read_latest(tmp_path) == second.path
    third = finished(tmp_path)
    publish_latest(third, tmp_path)
    assert read_latest(tmp_path) == third.path
    assert first.config_file.exists()
    assert second.config_file.exists()


def test_only_a_finished_run_is_published(tmp_path: Path) -> None:
    run = finished(tmp_path)
    run.set_status("failed", error="x")
    with pytest.raises(RunError, match="status failed"):
        publish_latest(run, tmp_path)
    assert not (tmp_path / "latest-train").is_symlink()


def test_a_link_to_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "latest-train").symlink_to("gone/away")
    assert read_latest(tmp_path) is None
    run = finished(tmp_path)
    publish_latest(run, tmp_path)
    assert read_latest(tmp_path) == run.path


def test_a_link_to_itself_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "latest-train").symlink_to("latest-train")
    run = finished(tmp_path)
    publish_latest(run, tmp_path)
    assert read_latest(tmp_path) == run.path


@pytest.mark.parametrize("kind", ["a file", "a folder"])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    foreign = tmp_path / "latest-train"
    if kind == "a file":
        foreign.write_text("precious")
    else:
        foreign.mkdir()
        (foreign / "precious").write_text("")
    run = finished(tmp_path)
    with pytest.raises(RunError, match=kind) as caught:
        publish_latest(run, tmp_path)
    assert "move it away" in str(caught.value)
    assert foreign.is_file() or (foreign / "precious").is_file()


@pytest.mark.usefixtures("without_links")
def test_without_links_a_copy_is_made_and_replaced(tmp_path: Path) -> None:
    first = finished(tmp_path, "first")
    (first.ckpt / "best_model.pth").write_bytes(b"weights")
    publish_latest(first, tmp_path)
    copy = tmp_path / "latest-train"
    assert not copy.is_symlink()
    assert (copy / "ckpt" / "best_model.pth").read_bytes() == b"weights"
    second = finished(tmp_path, "second")
    publish_latest(second, tmp_path)
    assert (copy / "config.yaml").read_text() == "second"
    assert not (copy / "ckpt" / "best_model.pth").exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {copy.name, second.path.parent.name}
    assert read_latest(tmp_path) == second.path  # the original, so nothing is written to the copy


def test_a_copy_gives_way_to_a_link_and_a_link_to_a_copy(tmp_path: Path) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise NotImplementedError

    names = []
    for name, links in [("a", False), ("b", True), ("c", False)]:
        with pytest.MonkeyPatch.context() as patch:
            if not links:
                patch.setattr(os, "symlink", refuse)
            publish_latest(finished(tmp_path, name), tmp_path)
        names.append((tmp_path / "latest-train" / "config.yaml").read_text())
        assert (tmp_path / "latest-train").is_symlink() == links
    assert names == ["a", "b", "c"]


@pytest.mark.usefixtures("without_links")
def test_a_swap_that_fails_puts_the_old_copy_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_latest(finished(tmp_path, "old"), tmp_path)
    new, rename = finished(tmp_path, "new"), os.rename

    def refuse(source: Path, target: Path, **options: object) -> None:
        if (
            Path(target).name == "latest-train"
            and (Path(source) / "config.yaml").read_text() == "new"
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(RunError, match="free space"):
        publish_latest(new, tmp_path)
    assert (tmp_path / "latest-train" / "config.yaml").read_text() == "old"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("without_links")
def test_a_copy_that_does_not_fit_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    publish_latest(finished(tmp_path, "old"), tmp_path)

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copystat", refuse)
    with pytest.raises(RunError, match="Cannot write"):
        publish_latest(finished(tmp_path, "new"), tmp_path)
    assert (tmp_path / "latest-train" / "config.yaml").read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_publisher_left_goes_after_a_day(tmp_path: Path) -> None:
    old, recent = tmp_path / ".latest-train.1-aa", tmp_path / ".latest-train.2-bb"
    for folder in (old, recent):
        folder.mkdir()
    os.utime(old, (0, 0))
    publish_latest(finished(tmp_path), tmp_path)
    assert not old.exists()
    assert recent.exists()


PUBLISH = """
import sys
from pathlib import Path
from sightline.runs import RunFolder, publish_latest
exp_dir, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(count):
    run = RunFolder.create(exp_dir, name=name, task="t", command=[], config_text="", seeds={})
    run.set_status("finished")
    publish_latest(run, exp_dir)
"""


def publisher(exp_dir: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PUBLISH, str(exp_dir), name, str(count)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": SOURCE}, cwd=exp_dir)


def test_processes_that_publish_together_never_leave_a_gap(tmp_path: Path) -> None:
    publish_latest(finished(tmp_path, "first"), tmp_path)
    processes = [publisher(tmp_path, name, 20) for name in "abc"]
    looks = 0
    while any(process.poll() is None for process in processes):
        info = json.loads((tmp_path / "latest-train" / "run.json").read_bytes())
        assert info["status"] == "finished"
        looks += 1
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert looks > 10
    runs = [RunFolder.open(path.parent) for path in tmp_path.glob("[0-9]*/*/run.json")]
    assert len(runs) == 61
    assert read_latest(tmp_path) == max(runs, key=lambda run: run.info["times"]["ended"]).path


def test_a_kill_while_publishing_leaves_a_finished_run(tmp_path: Path) -> None:
    publish_latest(finished(tmp_path, "first"), tmp_path)
    for delay in (0.0, 0.017, 0.029):
        before = (tmp_path / "latest-train").readlink()
        process = publisher(tmp_path, "run", 10**6)
        while (tmp_path / "latest-train").readlink() == before:
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert find_run("latest", [tmp_path]).info["status"] == "finished"
        assert read_latest(tmp_path) is not None
