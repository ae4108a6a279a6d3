"""The log has what the console had, line by line, and always says how it ended."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import sightline.errors
from sightline.errors import DataError, Interrupted, RunError
from sightline.runs import TAGS, LogFile, RunFolder, log
from sightline.runs.mirror import Mirror, as_plain_line

SOURCE = str(Path(sightline.errors.__file__).parents[1])
CREATED = datetime(2026, 9, 1, 23, 59, 59)
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \|( |$)")


def log_file(tmp_path: Path, **changes: str) -> LogFile:
    options = {"run_id": "r_20260901_235959-abcdef", "augmentation": "strong"} | changes
    return LogFile(tmp_path / "logs", created=CREATED, **options)


def lines(path: Path) -> list[str]:
    texts = path.read_text(encoding="utf-8").splitlines()
    assert all(STAMP.match(text) for text in texts), texts
    return [STAMP.sub("", text, count=1) for text in texts]


def test_the_path_comes_from_the_identity(tmp_path: Path) -> None:  # CLS-28, CLS-43, defect 13
    folder = tmp_path / "logs" / "20260901" / "train"
    name = "train_20260901-2359_r_20260901_235959-abcdef_strong.log"
    assert log_file(tmp_path).path == folder / name
    odd = log_file(tmp_path, augmentation="my views/1")
    assert odd.path.name.endswith("_my-views-1.log")
    assert odd.path.parent == folder


def test_a_run_and_its_log_share_the_date(tmp_path: Path) -> None:
    facts = {"name": "n", "task": "t", "command": [], "config_text": "", "seeds": {}}
    run = RunFolder.create(tmp_path, now=CREATED, **facts)
    path = LogFile(tmp_path, run_id=run.id, created=RunFolder.open(run.path).created).path
    assert path.parent.parent.name == run.path.parent.name == "20260901"
    assert path.name == f"train_20260901-2359_{run.id}_none.log"


def test_both_streams_are_mirrored_between_start_and_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # CLS-28, CLS-38
    before = sys.stdout, sys.stderr
    with log_file(tmp_path) as file:
        print("out")
        print("err", file=sys.stderr)
        sys.stdout.writelines(["a\n", "b\n"])
        log("EPOCH 3", "valid_loss=0.5 한")
    assert (sys.stdout, sys.stderr) == before
    print("after")
    assert lines(file.path) == [
        f">> Logger started: {file.path}",
        "out",
        "err",
        "a",
        "b",
        "[EPOCH 3] valid_loss=0.5 한",
        "[EXIT] TRAINING SUCCESS code=0",
        ">> Stopping logger and restoring stdio",
    ]
    shown = capsys.readouterr()
    assert shown.out == "out\na\nb\nafter\n"
    assert shown.err == "err\n[EPOCH 3] valid_loss=0.5 한\n[EXIT] TRAINING SUCCESS code=0\n"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("wrong"), "ERROR code=1"),
        (DataError("bad picture", where="a.png"), "ERROR code=1"),
        (sightline.errors.UsageError("wrong use"), "ERROR code=2"),
        (Interrupted("SIGTERM", exit_code=143), "INTERRUPTED code=143"),
        (KeyboardInterrupt(), "INTERRUPTED code=130"),
        (SystemExit(3), "ERROR code=3"),
        (SystemExit("text"), "ERROR code=1"),
        (SystemExit(0), "SUCCESS code=0"),
        (SystemExit(None), "SUCCESS code=0"),
    ],
)
def test_the_end_is_marked_whatever_ended_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, outcome: str
) -> None:  # CLS-38
    before = sys.stdout, sys.stderr
    with pytest.raises(type(error)), log_file(tmp_path) as file:
        raise error
    assert (sys.stdout, sys.stderr) == before
    assert lines(file.path)[-2] == f"[EXIT] TRAINING {outcome}"
    assert capsys.readouterr().err == f"[EXIT] TRAINING {outcome}\n"


def test_an_unforeseen_error_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), log_file(tmp_path) as file:
        _ = 1 / 0
    logged = lines(file.path)
    assert "Traceback (most recent call last):" in logged
    assert "ZeroDivisionError: division by zero" in logged


def test_an_error_for_the_user_leaves_its_message_without_traceback(tmp_path: Path) -> None:
    with pytest.raises(DataError), log_file(tmp_path) as file:
        raise DataError("A picture cannot be read", where="a.png", remedy="remove it")
    text = file.path.read_text()
    assert "DataError: A picture cannot be read" in text
    assert "remove it" in text
    assert "Traceback" not in text


def test_another_kind_names_itself(tmp_path: Path) -> None:
    with log_file(tmp_path, kind="evaluate") as file:
        pass
    assert file.path.name.startswith("evaluate_20260901-2359_")
    assert file.path.parent.name == "evaluate"
    assert "[EXIT] EVALUATE SUCCESS code=0" in lines(file.path)


def test_a_resumed_run_adds_to_its_log(tmp_path: Path) -> None:  # defect 17 of re-identification
    for text in ("first", "second"):
        with log_file(tmp_path) as file:
            print(text)
    assert [line for line in lines(file.path) if line in ("first", "second")] == ["first", "second"]
    assert sum(line.startswith(">> Logger started") for line in lines(file.path)) == 2


def test_colours_and_redrawn_lines_are_reduced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = "\r 10%\r 50%\x1b[K\r\x1b[32m100%\x1b[0m done\n"
    with log_file(tmp_path) as file:
        for character in drawn:
            sys.stderr.write(character)
        sys.stderr.write("\r1/9\r2/9\r\x1b[2Kmessage\r\nunfinished")
    assert lines(file.path)[1:4] == ["100% done", "message", "unfinished"]
    shown = capsys.readouterr().err
    assert shown.startswith(drawn)
    assert shown.endswith("unfinished\n[EXIT] TRAINING SUCCESS code=0\n")


@pytest.mark.parametrize(
    ("drawn", "plain"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b(Bx\x1b=y", "xy"),
        ("a\tb\x08\x00c", "a\tbc"),
        ("50%\r", "50%"),
        ("50%\r   \r", "50%"),
        ("", ""),
    ],
)
def test_a_plain_line_is_what_a_terminal_shows(drawn: str, plain: str) -> None:
    assert as_plain_line(drawn) == plain


def test_a_bar_that_is_redrawn_for_hours_takes_no_memory() -> None:
    seen: list[str] = []
    mirror = Mirror(io.StringIO(), seen.append)
    for number in range(1000):
        mirror.write(f"\r{number}/1000 " + "x" * 100)
    assert len(mirror._pending) < 300
    mirror.write("\n")
    assert seen == ["999/1000 " + "x" * 100]


def test_text_without_a_line_end_is_not_collected_for_ever() -> None:
    seen: list[str] = []
    mirror = Mirror(io.StringIO(), seen.append)
    for _ in range(70):
        mirror.write("." * 1000)
    assert len(seen) == 1
    assert mirror.finish()
    assert sum(map(len, seen)) == 70_000
    assert not mirror.finish()


def test_questions_about_the_stream_are_answered_by_the_original(tmp_path: Path) -> None:
    with (tmp_path / "console").open("w", encoding="latin-1") as console:
        mirror = Mirror(console, lambda line: None)
        assert mirror.fileno() == console.fileno()
        assert mirror.isatty() is False
        assert mirror.encoding == "latin-1"
        assert mirror.write("abc") == 3
        mirror.flush()
        assert (tmp_path / "console").read_text() == "abc"


def test_a_full_log_disk_is_reported_once_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = log_file(tmp_path)
    file.path.parent.mkdir(parents=True)
    file.path.symlink_to("/dev/full")
    with file:
        print("one")
        print("two")
    shown = capsys.readouterr()
    assert shown.out == "one\ntwo\n"
    assert shown.err.count("The log file is incomplete; the run goes on.") == 1
    assert "output.logs_dir=FOLDER" in shown.err
    assert shown.err.endswith("[EXIT] TRAINING SUCCESS code=0\n")


def test_a_disk_with_room_again_is_written_again(tmp_path: Path) -> None:
    code = """
import resource, sys
from datetime import datetime
from sightline.runs import LogFile
file = LogFile(sys.argv[1], run_id="r", created=datetime(2026, 9, 1))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
with file:
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.path.stat().st_size + 30, hard))
    print("this line does not fit")
    print("nor does this")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print("this does")
print(file.path)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stderr.count("The log file is incomplete") == 1
    logged = Path(result.stdout.splitlines()[-1]).read_text().splitlines()
    assert [line.partition(" | ")[2] for line in logged[2:]] == [
        "this does",
        "[EXIT] TRAINING SUCCESS code=0",
        ">> Stopping logger and restoring stdio",
    ]


def test_a_log_that_cannot_be_opened_stops_the_run_at_once(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    before = sys.stdout, sys.stderr
    with pytest.raises(RunError, match=r"output\.logs_dir=FOLDER"), log_file(tmp_path):
        pytest.fail("the block ran")
    assert (sys.stdout, sys.stderr) == before


def test_a_console_that_is_gone_does_not_hide_the_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    with log_file(tmp_path) as file:
        closed.close()
    assert sys.stderr is closed
    assert "[EXIT] TRAINING SUCCESS code=0" in lines(file.path)


def test_forked_workers_write_whole_lines_and_do_not_end_the_log(tmp_path: Path) -> None:
    code = """
import os, sys
from datetime import datetime
from sightline.runs import LogFile
with LogFile(sys.argv[1], run_id="r", created=datetime(2026, 9, 1)) as file:
    sys.stdout.write("half a line of the parent, ")
    sys.stdout.flush()
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            for line in range(50):
                stream = (sys.stdout, sys.stderr)[line % 2]
                print(f"worker {number} line {line} " + "x" * 200, file=stream)
            if number == 0:
                raise SystemExit(5)  # leaves the block in the child
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    print("ended")
print(file.path)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    logged = lines(Path(result.stdout.splitlines()[-1]))
    of_workers = sorted(line for line in logged if line.startswith("worker"))
    expected = [f"worker {n} line {i} " + "x" * 200 for n in range(4) for i in range(50)]
    assert of_workers == sorted(expected)
    assert logged[-3:] == [
        "half a line of the parent, ended",
        "[EXIT] TRAINING SUCCESS code=0",
        ">> Stopping logger and restoring stdio",
    ]
    assert len(logged) == 204


def test_tags_are_those_that_scripts_look_for(capsys: pytest.CaptureFixture[str]) -> None:  # CLS-39
    for tag in TAGS:
        log(tag, "x")
    log("EPOCH 12", "y")
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "[BOOT] x"
    assert "NEW_BEST x" in shown
    assert shown[-1] == "[EPOCH 12] y"
    with pytest.raises(ValueError, match="unknown tag 'EPOC'"):
        log("EPOC", "x")
    spoken = {"BOOT", "CFG", "PATH", "DATA", "FOLD", "ARTIFACTS", "MODEL", "EPOCH", "NEW_BEST"}
    assert set(TAGS) == spoken | {"DONE", "TRACK", "COPY", "STAGE", "EXIT"}
