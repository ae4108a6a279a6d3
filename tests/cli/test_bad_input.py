"""Bad input: one screen that names the thing and the remedy, and nothing saved is lost."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


def refused(cli: Any, *settings: object, code: int, words: list[str]) -> str:
    done, _ = cli.train(*settings, code=code)
    screen: str = cli.screen(done, code=code)
    flat = " ".join(screen.split())
    assert [word for word in words if word not in flat] == [], screen
    return screen


def test_missing_folder(cli: Any) -> None:
    refused(cli, "data.root=nowhere", code=1, words=["nowhere does not exist", "working directory"])
    assert cli.newest() == {}, "nothing was begun"


def test_empty_class(pictures: Path, cli: Any) -> None:
    (pictures / "2_two").mkdir()
    refused(cli, f"data.root={pictures}", code=1, words=["2_two", "remove the empty folders"])
    cli.screen(cli("check", pictures), code=1)


def test_unreadable_images_of_all_splits_are_listed_at_once(pictures: Path, cli: Any) -> None:
    splits = cli("split", pictures, "--out", "splits.csv")
    assert splits.code == 0
    given = cli.table("splits.csv")
    chosen = {row["split"]: row for row in given}
    for split, row in chosen.items():
        Path(row["path"]).write_bytes(b"no picture" + split.encode())
    setting = ("data.manifest=splits.csv", "data.verify_files=false")
    words = ["3 of 120 images cannot be decoded", "data.on_bad_image=skip"]
    words += [Path(row["path"]).name for row in chosen.values()]
    refused(cli, *setting, code=1, words=words)
    assert cli.newest()["status"] == "failed"
    done, info = cli.train(*setting, "data.on_bad_image=skip", "--test")
    assert "left out 3 images" in done.err
    assert info["data"]["train"] + info["data"]["val"] == 100
    checked = cli("check", "classify/digits", *setting)
    assert checked.code == 1
    assert all(Path(row["path"]).name in checked.out for row in chosen.values())


def test_unreadable_image_met_in_training(pictures: Path, cli: Any) -> None:
    for file in (pictures / "0_zero").iterdir():
        file.write_bytes(file.read_bytes()[:60])
    for workers in (0, 1):
        setting = ("data.cache=off", "data.group_duplicates=false", f"data.workers={workers}")
        words = ["An image cannot be decoded", "0_zero", "sightline check"]
        refused(cli, f"data.root={pictures}", *setting, code=1, words=words)


def test_table_without_the_column(pictures: Path, cli: Any) -> None:
    Path("t.csv").write_text("name,label\n0_zero/0000.png,0\n")
    words = ["no column 'ID'", "name, label", "data.id_col=NAME"]
    refused(cli, "data.train_csv=t.csv", code=1, words=words)
    cli.screen(cli("check", "t.csv"), code=1)


def test_duplicate_id(pictures: Path, cli: Any) -> None:
    name = next((pictures / "0_zero").iterdir()).name
    Path("t.csv").write_text(f"ID,target\n0_zero/{name},a\n0_zero/{name},b\n")
    settings = ("data.train_csv=t.csv", f"data.image_dir_train={pictures}")
    refused(cli, *settings, code=1, words=["repeat an id", "line 3", name, "remove"])


def test_label_unseen_in_training(pictures: Path, cli: Any) -> None:
    for split in ("train", "test"):
        for name in ("0_zero", "1_one"):
            shutil.copytree(pictures / name, Path("given") / split / name)
    shutil.copytree(pictures / "7_seven", "given/test/7_seven")
    words = ["test split has", "7_seven", "add training samples"]
    refused(cli, "data.root=given", code=1, words=words)
    checked = cli("check", "given")
    assert checked.code == 1
    assert "7_seven" in checked.out


def test_unknown_keys_and_bad_values_are_listed_together(cli: Any) -> None:
    Path("m.yaml").write_text("recipe: classify/digits\ntrain:\n  epoch: 3\n  lr: fast\n")
    done = cli("train", "m.yaml", "data.rooot=x", "train.epochs=-1")
    screen = cli.screen(done, code=2)
    assert "4 problems" in screen
    assert "did you mean train.epochs? (m.yaml:3)" in screen
    assert 'got text "fast" (m.yaml:4)' in screen
    assert "did you mean data.root?" in screen
    assert "expected an integer >= 0; got -1" in screen
    assert "sightline config RECIPE" in screen


@pytest.mark.parametrize(
    ("setting", "code", "words"),
    [
        ("train.monitor=f1", 2, ["train.monitor", "macro_f1, accuracy or null"]),
        ("train.device=tpu", 2, ["no device called 'tpu'", "train.device=auto"]),
        ("train.optimizer=adamm", 2, ["adamm", "did you mean"]),
        ("train.warmup_epochs=1", 2, ["leaves nothing of 1 epochs", "train.warmup_epochs=0.1"]),
        ("model.name=resnet1", 2, ["resnet1", "model.name"]),
        ("model.weights=none.pth", 2, ["none.pth", "model.weights=FILE"]),
        ("project.name=a/b", 2, ["project.name", "a-b"]),
        ("eval.bootstrap=0", 2, ["eval.bootstrap", ">= 100"]),
        ("data.test_fraction=0.95", 2, ["leave nothing to train on"]),
        ("train.img_size=big", 2, ["train.img_size", "integer"]),
    ],
)
def test_value_that_cannot_work(
    setting: str, code: int, words: list[str], pictures: Path, cli: Any
) -> None:
    refused(cli, f"data.root={pictures}", setting, code=code, words=words)


def test_full_disk_while_saving(trained: Path, cli: Any) -> None:
    """A file-size limit is how a process sees a full disk without one: write() fails half way."""
    best = (trained / "ckpt" / "best_model.pth").read_bytes()
    latest = (trained / "ckpt" / "latest_model.pth").read_bytes()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))

    wanted = ("train.epochs=2", "--resume-anyway", "train.epochs")
    done = cli.apart("train", "--resume", trained.name, *wanted, preexec_fn=limit)
    screen = cli.screen(done, code=1)
    assert "could not be written" in screen
    assert "--resume" in screen
    assert "[EXIT] TRAINING ERROR code=1" in done.err
    assert (trained / "ckpt" / "best_model.pth").read_bytes() == best
    assert (trained / "ckpt" / "latest_model.pth").read_bytes() == latest
    assert not list((trained / "ckpt").glob(".*")), "no partial file stays"
    info = cli.json(trained / "run.json")
    assert info["status"] == "failed"
    assert "could not be written" in info["error"]
    # There is room again: the run goes on from where it was saved.
    again = cli("train", "--resume")
    assert again.code == 0, again.said
    epochs = [row["epoch"] for row in cli.rows(trained) if row["event"] == "epoch"]
    assert epochs == [1, 2]


def test_truncated_checkpoint(trained: Path, cli: Any) -> None:
    best = trained / "ckpt" / "best_model.pth"
    os.truncate(best, best.stat().st_size // 2)
    scores = (trained / "predictions" / "val.csv").read_bytes()
    screen = cli.screen(cli("evaluate", "latest"), code=1)
    assert "cut short" in screen
    assert "latest_model.pth" in screen
    assert (trained / "predictions" / "val.csv").read_bytes() == scores
    assert cli("evaluate", "latest", "--checkpoint", "latest_model.pth").code == 0


@pytest.mark.parametrize("command", ["evaluate", "predict latest pictures --out p.csv"])
def test_checkpoint_with_a_pickled_object(command: str, trained: Path, cli: Any) -> None:
    best = trained / "ckpt" / "best_model.pth"
    state = torch.load(best, weights_only=True)
    torch.save({**state, "extra": pathlib.PurePosixPath("x")}, best)
    screen = cli.screen(cli(*command.split()), code=1)
    assert "pickled object" in screen
    assert "pathlib.PurePosixPath" in screen
    assert not Path("p.csv").exists()


def test_damaged_latest_checkpoint_stops_a_resume(trained: Path, cli: Any) -> None:
    os.truncate(trained / "ckpt" / "latest_model.pth", 1000)
    wanted = ("train.epochs=2", "--resume-anyway", "train.epochs")
    screen = cli.screen(cli("train", "--resume", trained.name, *wanted), code=1)
    assert "cut short" in screen
    assert "best_model.pth" in screen
    assert cli.json(trained / "run.json")["status"] == "failed"


def without_rights() -> list[str]:
    """What to put before a command so that permissions hold, also for root."""
    if os.geteuid() != 0:
        return []
    tool = shutil.which("setpriv")
    if tool is None:
        pytest.skip("root may write everywhere, and setpriv, which takes that right, is missing")
    return [tool, "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are those of POSIX")
@pytest.mark.parametrize(
    ("setting", "remedy"),
    [("output.exp_dir=shut/exp", "output.exp_dir"), ("output.logs_dir=shut/l", "output.logs_dir")],
)
def test_no_permission_to_write(setting: str, remedy: str, pictures: Path, cli: Any) -> None:
    Path("shut").mkdir(mode=0o500)
    arguments = ("train", "classify/digits", *cli.tiny, f"data.root={pictures}", setting)
    done = cli.apart(*arguments, before=without_rights())
    screen = cli.screen(done, code=1)
    assert "Permission denied" in screen
    assert f"{remedy}=FOLDER" in screen
    assert str(Path("shut").absolute()) in screen
    if begun := cli.newest():
        assert begun["status"] == "failed", "no run is left that seems to be under way"


def test_no_permission_to_write_predictions(trained: Path, cli: Any) -> None:
    Path("shut").mkdir(mode=0o500)
    arguments = ("predict", "latest", "pictures", "--out", "shut/p.csv")
    screen = cli.screen(cli.apart(*arguments, before=without_rights()), code=1)
    assert "Permission denied" in screen
    assert "--out" in screen


def test_predict_refuses_what_it_cannot_read_or_write(trained: Path, cli: Any) -> None:
    Path("junk.png").write_bytes(b"no picture")
    Path("empty").mkdir()
    Path("list.csv").write_text("image\nnone.png\n")
    cases: list[tuple[list[str], int, str]] = [
        (["junk.png", "--out", "p.csv"], 1, "junk.png"),
        (["none.png", "--out", "p.csv"], 1, "none.png"),
        (["empty", "--out", "p.csv"], 1, "no images"),
        (["list.csv", "--out", "p.csv"], 1, "1 of the 1 images"),
        (["pictures", "--out", "p.txt"], 2, ".csv or .json"),
        (["pictures", "--out", "empty/p.csv", "--checkpoint", "b.pth"], 1, "best_model.pth"),
        (["pictures", "--out", "p.csv", "--device", "tpu"], 2, "no device called 'tpu'"),
    ]
    for arguments, code, word in cases:
        assert word in cli.screen(cli("predict", "latest", *arguments), code=code)
        assert not Path("p.csv").exists()
    assert list(Path("empty").iterdir()) == []


def test_data_that_was_moved_away(trained: Path, cli: Any) -> None:
    Path("pictures").rename("moved")
    screen = cli.screen(cli("evaluate"), code=1)
    assert "pictures" in screen
    # What needs no picture still works.
    assert cli("report").code == 0
    assert cli("plot").code == 0
    assert cli("predict", "latest", "moved", "--out", "p.csv").code == 0


def test_edited_config_is_noticed(trained: Path, cli: Any) -> None:
    config = trained / "config.yaml"
    config.write_text(config.read_text().replace("name: test_resnet", "name: resnet10t"))
    screen = cli.screen(cli("evaluate"), code=1)
    assert "config.yaml" in screen


def test_check_says_what_is_wrong_and_what_is_right(pictures: Path, cli: Any) -> None:
    good = cli("check", pictures)
    assert good.code == 0
    assert good.out.splitlines()[-1] == "120 pictures: fit for training"
    assert "0_zero         40" in good.out
    (pictures / "0_zero" / "bad.png").write_bytes(b"x")
    bad = cli("check", pictures)
    assert bad.code == 1
    lines = bad.out.splitlines()
    assert lines[0].split()[:2] == ["error", "1"]
    assert "bad.png" in lines[1]
    assert lines[2].lstrip().startswith("-> ")
    assert lines[-1] == "121 pictures, 1 kind of error: training on this data would be wrong"
    found = cli("check", pictures, "--json")
    assert found.code == 1
    assert json.loads(found.out)["exit_code"] == 1
