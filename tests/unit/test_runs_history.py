"""metrics.jsonl survives kills, resumes and numbers that JSON has no form for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import sightline.errors
from sightline.errors import RunError
from sightline.runs import History, read_rows

SOURCE = str(Path(sightline.errors.__file__).parents[1])


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "metrics.jsonl")


def add(history: History, *steps: int, fold: int | None = None, **fields: Any) -> None:
    for step in steps:
        history.append({"event": "epoch", "fold": fold, "epoch": step // 10, "step": step} | fields)


def steps(history: History) -> list[tuple[int | None, int]]:
    return [(row["fold"], row["step"]) for row in history.rows()]


def test_rows_come_back_in_order_and_with_a_time(history: History) -> None:  # CLS-36, CLS-41
    add(history, 10, 20, macro_f1=0.5)
    first, second = history.rows()
    assert (first["step"], second["step"]) == (10, 20)
    assert first["macro_f1"] == 0.5
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    history.append({"time": "2026-09-01T00:00:00+00:00", "event": "evaluate"})
    assert history.rows()[2] == {"time": "2026-09-01T00:00:00+00:00", "event": "evaluate"}


def test_a_row_is_on_disk_when_append_returns(history: History) -> None:
    add(history, 10)
    assert history.path.read_text().endswith("\n")
    assert len(read_rows(history.path)) == 1


def test_numbers_that_are_not_finite_become_null_in_valid_json(history: History) -> None:
    history.append({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}})
    row = json.loads(history.path.read_text(), parse_constant=pytest.fail)
    assert (row["a"], row["b"], row["c"]) == (None, [None, 1.5], {"d": None})


def test_a_value_without_a_json_form_is_an_error_and_not_half_a_row(history: History) -> None:
    add(history, 10)
    with pytest.raises(TypeError):
        history.append({"loss": object()})
    assert len(history.rows()) == 1


def test_no_file_is_no_rows(history: History) -> None:
    assert history.rows() == []
    assert history.truncate_after(5) == 0
    assert not history.path.exists()


def test_a_half_last_line_is_left_out_and_then_replaced(history: History) -> None:
    add(history, 10)
    with history.path.open("a") as handle:
        handle.write('{"event": "epoch", "st')
    assert steps(history) == [(None, 10)]
    add(history, 20)
    assert steps(history) == [(None, 10), (None, 20)]


def test_a_whole_last_row_without_its_newline_counts(history: History) -> None:
    history.path.write_text('{"fold": null, "step": 1}\n{"fold": null, "step": 2}')
    assert steps(history) == [(None, 1), (None, 2)]
    add(history, 3)
    assert steps(history) == [(None, 1), (None, 2), (None, 3)]


def test_a_history_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        read_rows(tmp_path)


def test_a_damaged_line_elsewhere_is_an_error_with_its_number(history: History) -> None:
    add(history, 10)
    with history.path.open("a") as handle:
        handle.write("{broken\n")
    add(history, 20)
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2"):
        history.rows()


def test_a_resumed_run_drops_the_rows_it_will_write_again(history: History) -> None:
    add(history, 10, 20, 30)
    history.append({"event": "note"})
    before = history.path.read_bytes().splitlines(keepends=True)
    with history.path.open("a") as handle:
        handle.write('{"cut')
    assert history.truncate_after(20) == 1
    assert history.path.read_bytes() == b"".join([before[0], before[1], before[3]])
    assert history.truncate_after(20) == 0


def test_a_resumed_fold_keeps_the_folds_before_it(history: History) -> None:
    add(history, 10, 90, fold=0)
    add(history, 10, 20, 30, fold=1)
    add(history, 10, fold=2)
    assert history.truncate_after(20, fold=1) == 2
    assert steps(history) == [(0, 10), (0, 90), (1, 10), (1, 20)]


def test_columns_have_one_length_and_epoch_first(history: History, tmp_path: Path) -> None:
    add(history, 10, 20, train_loss=1.0)
    history.append({"event": "evaluate", "split": "test", "accuracy": 0.9})
    add(history, 30, train_loss=0.5, macro_f1=0.7)
    history.write_columns(tmp_path / "train_history.json")
    columns = json.loads((tmp_path / "train_history.json").read_text())
    assert next(iter(columns)) == "epoch"
    assert columns["epoch"] == [1, 2, 3]
    assert columns["train_loss"] == [1.0, 1.0, 0.5]
    assert columns["macro_f1"] == [None, None, 0.7]
    assert not {"accuracy", "event", "split"} & columns.keys()


def test_a_full_disk_stops_with_the_remedy_and_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(RunError, match="free space"):
        History(path).append({"step": 1})


def test_a_killed_writer_leaves_a_history_that_can_be_read_and_continued(history: History) -> None:
    code = """
import sys
from sightline.runs.history import History
history = History(sys.argv[1])
for step in range(10**9):
    history.append({"step": step, "fold": None, "text": "x" * 20_000})
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(history.path)], env={**os.environ, "PYTHONPATH": SOURCE}
    )
    while not history.path.exists() or history.path.stat().st_size < 500_000:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    count = len(history.rows())
    assert count > 20
    add(history, count)
    assert [step for _, step in steps(history)] == list(range(count + 1))
