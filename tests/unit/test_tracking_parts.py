"""What trackers are told: names of numbers, tables and pictures, secrets that stay out."""

from __future__ import annotations

import csv
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from sightline.config import TrackingConfig
from sightline.errors import RunError
from sightline.runs import RunFolder
from sightline.tracking.environment import add_env_file, parse_env, without_secrets
from sightline.tracking.evidence import curves_in, result_of, tables_in
from sightline.tracking.names import axis_of, curve_values, result_values
from sightline.tracking.network import answers, has_wandb_key
from sightline.tracking.pictures import sample_pictures
from sightline.tracking.sink import Begun
from sightline.tracking.state import Sent, alone, read_sent, write_sent
from sightline.tracking.wandb_sink import choose_mode

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(
        tmp_path / "runs",
        name="tiny",
        task="classify",
        command=["sightline", "train"],
        config_text="task: classify\n",
        seeds={},
    )


EPOCH = {
    "time": "2026-01-02T03:04:05+00:00", "event": "epoch", "fold": None, "epoch": 2, "step": 12,
    "split": "val", "train_loss": 0.5, "train_triplet": 0.25, "valid_loss": 1.5, "mAP": 0.75,
    "lr": 0.001, "images_per_s": 400.0, "time_s": 2.0, "gpu_mem_MiB": None,
}  # fmt: skip


def test_rows_get_the_families_of_a_tracker() -> None:  # REID-16, REID-17
    assert curve_values(EPOCH) == {
        "epoch": 2, "train/loss": 0.5, "train/triplet": 0.25, "val/loss": 1.5, "val/mAP": 0.75,
        "lr": 0.001, "speed/images_per_s": 400.0, "speed/time_s": 2.0,
    }  # fmt: skip
    row = {"event": "evaluate", "split": "test", "epoch": 2, "n": 18, "mAP": 0.5, "members": 1}
    assert result_values({**row, "calibrated": False}) == {
        "test/mAP": 0.5, "test/n": 18, "test/epoch": 2,
    }  # fmt: skip
    assert result_values({"event": "threshold", "threshold": 0.5}) == {"threshold/threshold": 0.5}


def test_each_fold_of_all_in_turn_has_a_step_axis_of_its_own() -> None:
    assert axis_of({"fold": 1}, folds=True) == "fold1/"
    assert axis_of({"fold": None}, folds=True) == axis_of({"fold": "all"}, folds=True) == ""
    assert set(curve_values({**EPOCH, "fold": 1}, axis="fold1/")) == {
        f"fold1/{name}" for name in curve_values(EPOCH)
    }


@given(st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.floats() | st.text()))
def test_only_finite_numbers_are_sent(row: dict[str, Any]) -> None:
    for value in (*curve_values(row).values(), *result_values(row).values()):
        assert value - value == 0
        assert not isinstance(value, bool)


def test_env_file_is_read_and_does_not_win(tmp_path: Path) -> None:  # REID-20
    text = f"# keys\nexport WANDB_API_KEY={KEY}\nWANDB_PROJECT='my project'\nA=1 # one\nno line\n"
    assert parse_env(text) == {"WANDB_API_KEY": KEY, "WANDB_PROJECT": "my project", "A": "1"}
    (tmp_path / ".env").write_text(text)
    environment = {"A": "2"}
    add_env_file(environment, tmp_path)
    assert environment == {"A": "2", "WANDB_API_KEY": KEY, "WANDB_PROJECT": "my project"}
    add_env_file(environment, tmp_path / "nowhere")


def test_secrets_are_blacked_out() -> None:
    environment = {"WANDB_API_KEY": KEY, "MLFLOW_TRACKING_PASSWORD": "open sesame", "HOME": "/home"}
    said = f"401 for {KEY} at http://me:open%20sesame@host/home, open sesame"
    assert without_secrets(said, environment) == "401 for *** at http://***@host/home, ***"


@pytest.mark.parametrize(
    ("asked", "environment", "mode", "reason"),
    [
        ("auto", {}, "offline", "WANDB_API_KEY"),
        ("online", {}, "offline", "WANDB_API_KEY"),
        ("offline", {"WANDB_API_KEY": KEY}, "offline", "tracking.mode=offline"),
        ("auto", {"WANDB_MODE": "disabled"}, "disabled", "WANDB_MODE=disabled"),
        ("online", {"WANDB_MODE": "dryrun", "WANDB_API_KEY": KEY}, "offline", "WANDB_MODE=dryrun"),
    ],
)
def test_mode_of_wandb(
    asked: str, environment: dict[str, str], mode: str, reason: str, tmp_path: Path
) -> None:  # REID-13, REID-14
    found = choose_mode(asked, {"NETRC": str(tmp_path / "none"), **environment})
    assert found[0] == mode
    assert reason in found[1]


def test_server_that_says_nothing_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        assert not answers(url, seconds=0.3)
        mode, reason = choose_mode(
            "auto", {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://[::1]:9"}
        )
        assert (mode, reason) == ("offline", "http://[::1]:9 does not answer")
    assert not answers(url, seconds=0.3)
    assert not answers("nonsense")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_once, args=(server,), daemon=True).start()
        assert answers(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=10)


def _answer_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def test_netrc_counts_as_a_key(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(f"machine wandb.example login user password {KEY}\n")
    environment = {"NETRC": str(tmp_path / "netrc"), "WANDB_BASE_URL": "https://wandb.example"}
    assert has_wandb_key(environment)
    assert not has_wandb_key({**environment, "WANDB_BASE_URL": "https://other.example"})


def test_old_and_short_forms_of_the_section() -> None:  # REID-12
    def read(text: str) -> TrackingConfig:
        return TrackingConfig.model_validate_json(text, strict=True)

    assert read('["jsonl"]') == TrackingConfig()
    assert read('["jsonl", "wandb"]').to == ("wandb",)
    assert read('{"to": "mlflow"}').to == ("mlflow",)
    assert read('{"to": ["wandb", "mlflow"], "tags": ["a"]}').tags == ("a",)
    with pytest.raises(ValidationError, match="without a password"):
        read('{"uri": "http://me:secret@host"}')
    with pytest.raises(ValidationError, match="wandb"):
        read('{"to": ["jsonl"]}')


def test_what_was_sent_is_known_after_truncation(tmp_path: Path) -> None:
    sent = Sent()
    rows = [{"event": "epoch", "step": step, "time": str(step)} for step in (6, 12, 18)]
    result = {"event": "evaluate", "time": "later"}
    for row in (*rows, result):
        assert sent.lacks(row, "")
        sent.add(row, "")
    write_sent(tmp_path, "wandb", sent)
    sent = read_sent(tmp_path, "wandb")
    again = [{**row, "time": "new"} for row in rows]
    assert not any(sent.lacks(row, "") for row in (*again, result))
    assert sent.lacks({"event": "epoch", "step": 24}, "")
    assert sent.lacks(rows[0], "fold1/")
    # The tracker says that less has arrived than was sent.
    sent.settle(Begun("id", "there", is_new=False, last_steps={"": 12}))
    assert [sent.lacks(row, "") for row in rows] == [False, False, True]
    sent.settle(Begun("id", "elsewhere", is_new=True))
    assert sent.rows == 0
    assert all(sent.lacks(row, "") for row in (*rows, result))
    (tmp_path / "wandb.json").write_text("{")
    assert read_sent(tmp_path, "wandb") == Sent()


def test_one_process_at_a_time_sends_to_a_tracker(tmp_path: Path) -> None:
    with (
        alone(tmp_path, "wandb"),
        alone(tmp_path, "mlflow"),
        pytest.raises(RunError, match="Another process"),
        alone(tmp_path, "wandb"),
    ):
        pass
    with alone(tmp_path, "wandb"):
        pass


def test_tables_and_curves_of_any_result(run: RunFolder) -> None:  # REID-26
    result = {
        "headline": {"mAP": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}},
        "more": {"mINP": {"value": None, "n": 9}},
        "per_class": [{"name": "a", "f1": 1}, {"name": "b", "support": 3}],
        "confusion": [[1, 2], [3, 4]],
        "cmc": [0.5, 0.75, 1],
        "class_names": ["a", "b"],
    }
    (run.predictions / "val.metrics.json").write_text(json.dumps(result))
    assert list(tables_in(result_of(run, "val"))) == [
        ("scores", ["score", "value", "low", "high", "n"],
         [["mAP", 0.5, 0.4, 0.6, 9.0], ["mINP", None, None, None, 9.0]]),
        ("per_class", ["name", "f1", "support"], [["a", 1.0, None], ["b", None, 3.0]]),
    ]  # fmt: skip
    assert list(curves_in(result)) == [("cmc", [0.5, 0.75, 1.0])]
    assert result_of(run, "test") == {}


def test_pictures_show_a_query_and_its_matches(run: RunFolder, tmp_path: Path) -> None:  # REID-25
    for name, size in (("a", (10, 10)), ("b", (300, 150)), ("c", (20, 40))):
        Image.new("RGB", size, "blue").save(tmp_path / f"{name}.png")
    with (run.path / "splits.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "path"])
        rows.writerows([[name, f"../../../{name}.png"] for name in "abc"])
    with (run.predictions / "val.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        columns = ["nearest_1", "nearest_1_label", "nearest_1_mark", "nearest_2", "nearest_2_label"]
        rows.writerow(["id", "target", "prediction", *columns])
        rows.writerow(["a", "x", "y", "b", "y", "junk", "c", "x"])
        rows.writerow(["missing", "x", "y", "b", "y", "", "c", "x"])
    shown = sample_pictures(run, "val", tmp_path / "out", count=5)
    assert [caption for _, caption in shown] == ["a, is x, answer y"]
    strip = Image.open(shown[0][0]).convert("RGB")
    assert strip.size == (360, 120)
    frames = [strip.getpixel((place, 1)) for place in (2, 122, 242)]
    assert frames == [(31, 41, 51), (154, 165, 177), (46, 125, 50)]
    # A small picture is enlarged, a wide one keeps its shape.
    assert strip.getpixel((60, 60)) == strip.getpixel((180, 60)) == (0, 0, 255)
    assert strip.getpixel((180, 20)) == (255, 255, 255)
    assert sample_pictures(run, "test", tmp_path / "out", count=5) == []
    assert sample_pictures(run, "val", tmp_path / "out", count=0) == []
