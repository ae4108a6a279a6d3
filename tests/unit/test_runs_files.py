"""Files are whole or absent, also when the disk is full or the process is killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sightline.errors
from sightline.errors import RunError
from sightline.runs.files import append_line, replace_atomically, write_atomically

SOURCE = str(Path(sightline.errors.__file__).parents[1])


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def test_text_and_bytes_replace_the_file_and_make_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "한")
    assert path.read_bytes() == "한".encode()
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.txt"]


def test_an_error_in_the_block_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomically(path, "old")

    def interrupted() -> None:
        with replace_atomically(path) as handle:
            handle.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file_and_names_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomically(path, "old")
    code = """
import resource, sys
from sightline.errors import RunError
from sightline.runs.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically(sys.argv[1], b"x" * 100_000)
except RunError as error:
    print(error)
"""
    message = finish(run_python(code, path))
    assert f"Cannot write {path}: {os.strerror(errno.EFBIG)}" in message
    assert "free space there, or choose another folder with output.exp_dir=FOLDER" in message
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EROFS, "allow writing"),
        (errno.EACCES, "allow writing"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_each_reason_has_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RunError, match=remedy) as caught:
        write_atomically(path, "new")
    assert caught.value.where == path
    assert caught.value.got == os.strerror(number)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="move away what is there") as caught:
        write_atomically(tmp_path / "file" / "run" / "run.json", "x")
    assert "output.exp_dir=FOLDER" in str(caught.value)


def test_a_folder_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(RunError, match="Cannot write"):
        write_atomically(tmp_path / "taken", "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_readers_and_a_kill_while_writing_find_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    code = """
import sys
from sightline.runs.files import write_atomically
for number in range(10**9):
    write_atomically(sys.argv[1], str(number % 10) * 200_000)
"""
    for delay in (0.0, 0.013, 0.031):
        path.unlink(missing_ok=True)
        process = run_python(code, path)
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.001)
        for _ in range(200):
            assert len(path.read_bytes()) == 200_000
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        text = path.read_text()
        assert text == text[0] * 200_000


def test_lines_are_appended_and_a_half_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_line(path, '{"a": 1}')
    with path.open("a") as handle:
        handle.write('{"a": 2, "cut')
    append_line(path, '{"a": 3}')
    assert path.read_text() == '{"a": 1}\n{"a": 3}\n'


def test_a_whole_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}')
    append_line(path, '{"a": 2}')
    assert path.read_text() == '{"a": 1}\n{"a": 2}\n'


def test_two_lines_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one line"):
        append_line(tmp_path / "x", "a\nb")


def test_a_line_for_a_full_device_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(RunError, match="free space"):
        append_line(path, "{}")


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("{}\n")
    code = """
import resource, sys
from sightline.errors import RunError
from sightline.runs.files import append_line
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    append_line(sys.argv[1], '"' + "x" * 500 + '"')
except RunError as error:
    print(error.remedy)
"""
    assert "free space" in finish(run_python(code, path))
    assert path.read_text() == "{}\n"


def test_processes_that_append_together_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    code = """
import sys
from sightline.runs.files import append_line
for number in range(200):
    append_line(sys.argv[1], '["%s", %d, "%s"]' % (sys.argv[2], number, "x" * 5000))
"""
    for process in [run_python(code, path, name) for name in "abc"]:
        finish(process)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((row[0], row[1]) for row in rows) == [(n, i) for n in "abc" for i in range(200)]
