"""Re-identification from the command line: layouts to scores, answers, resuming, and errors."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

REID = (
    *("reid/digits", "model.name=test_resnet", "model.last_stride=null", "train.epochs=2"),
    *("train.warmup_epochs=0", "eval.bootstrap=100", "data.workers=0", "project.name=tiny"),
)
CAMERAS, EACH = 3, 2


def write_people(root: Path, *, identities: int = 12) -> Path:
    """Pictures in Market-1501's layout: each identity has a colour, each camera a brightness."""
    random = np.random.default_rng(0)
    colours = random.integers(60, 200, size=(identities, 3))
    frame = 0
    for who in range(identities):
        for camera in range(CAMERAS):
            for _ in range(EACH):
                frame += 1
                folder = "bounding_box_train"
                if who >= identities // 2:
                    asks = camera == 0
                    folder = "query" if asks else "bounding_box_test"
                pixels = colours[who] + 15 * camera + random.integers(-20, 20, size=(48, 24, 3))
                name = f"{who + 1:04d}_c{camera + 1}s1_{frame:06d}_00.png"
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / folder / name)
    return root


@pytest.fixture(scope="module")
def _people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture
def people(_people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small set in the working directory, to be spoiled at will."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(_people, tmp_path / "people"))


SMALL = (*REID, "data.root=people", "train.batch_size=8", "sampler.images_per_identity=2")


def run_of(cli: Any, *settings: object) -> tuple[Any, Path]:
    done = cli("train", *SMALL, *settings)
    assert done.code == 0, done.said
    return done, Path(cli.newest()["path"])


def refused(cli: Any, *command: object, words: Sequence[str], code: int = 1) -> str:
    screen: str = cli.screen(cli(*command), code=code)
    flat = " ".join(screen.split())
    assert [word for word in words if word not in flat] == [], screen
    return screen


def test_from_market_names_to_scores_a_gallery_and_a_page(people: Path, cli: Any) -> None:
    _, run = run_of(cli, "--test")
    info = cli.json(run / "run.json")
    assert list(info["stages"]["done"]) == ["index", "val", "test"]
    assert info["data"]["test"] == 6 * CAMERAS * EACH
    scores = cli.json(run / "predictions" / "test.metrics.json")
    assert scores["task"] == "reid"
    assert scores["n"] == scores["protocol"]["queries"] == 6 * EACH
    assert scores["protocol"]["gallery"] == 6 * (CAMERAS - 1) * EACH
    assert scores["protocol"]["same_camera"] == "filter"
    assert {"map", "minp", "rank_1", "rank_5", "rank_10"} == set(scores["headline"])
    assert {(row["feature"], row["way"]) for row in scores["table"]} == {
        (feature, way) for feature in ("after", "before") for way in ("plain", "reranked")
    }
    rows = cli.table(run / "predictions" / "test.csv")
    assert len(rows) == 6 * EACH
    assert {row["nearest_1_mark"] for row in rows} <= {"right", "wrong", "junk"}
    assert all(row["path"].startswith("query/") for row in rows)
    epochs = [row for row in cli.rows(run) if row["event"] == "epoch"]
    named = {"train_id", "train_triplet", "train_center", "train_accuracy", "map", "rank_1", "minp"}
    assert named <= epochs[0].keys()
    assert cli.json(run / "train_history.json")["train_triplet"][0] == epochs[0]["train_triplet"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "mAP" in page
    # The gallery of the data answers for new pictures.
    answers = cli("predict", run.name, "people/query", "--out", "answers.csv")
    assert answers.code == 0, answers.said
    found = cli.table("answers.csv")
    assert len(found) == 6 * EACH
    gallery = {path.name for path in (people / "bounding_box_test").iterdir()}
    assert {Path(row["nearest_1"]).name for row in found} <= gallery


def test_evaluate_gives_the_scores_of_training_again(people: Path, cli: Any) -> None:
    _, run = run_of(cli)
    first = cli.json(run / "predictions" / "val.metrics.json")
    best = max(row["map"] for row in cli.rows(run) if row["event"] == "epoch")
    assert first["headline"]["map"]["value"] == pytest.approx(best, abs=1e-5)
    done = cli("evaluate", run.name)
    assert done.code == 0, done.said
    again = cli.json(run / "predictions" / "val.metrics.json")
    assert again["headline"] == first["headline"]


def test_a_resumed_training_ends_in_the_same_bits(people: Path, cli: Any) -> None:
    """Weights, centres and both optimizers; one epoch, then the second by resuming."""
    _, whole = run_of(cli, "output.save_interval=1")
    _, cut = run_of(cli, "output.save_interval=1")
    folder = cut / "ckpt"
    # As it was when the first epoch was over and the machine went down.
    for name in ("best_model.pth", "epoch_002.pth"):
        (folder / name).unlink()
    shutil.copy(folder / "epoch_001.pth", folder / "latest_model.pth")
    shutil.copy(whole / "ckpt" / "epoch_001.pth", folder / "best_model.pth")
    text = (cut / "run.json").read_text(encoding="utf-8")
    (cut / "run.json").write_text(text.replace('"finished"', '"stopped"'), encoding="utf-8")
    done = cli("train", "--resume", cut.name)
    assert done.code == 0, done.said
    assert "resumed after epoch 1" in done.err
    one, other = (
        torch.load(run / "ckpt" / "latest_model.pth", weights_only=True) for run in (whole, cut)
    )
    assert set(one["loss"]) == {"centers"}
    assert len(one["optimizers"]) == 2
    for part in ("model", "loss"):
        assert all(torch.equal(one[part][name], other[part][name]) for name in one[part]), part
    assert str(one["optimizers"]) == str(other["optimizers"])


def test_without_cameras_everything_works_and_says_so(people: Path, cli: Any) -> None:
    for folder in people.iterdir():
        for file in list(folder.iterdir()):
            file.rename(folder / file.name.replace("_c", "_x"))
    done, run = run_of(cli, r"data.name_pattern=(?P<identity>\d+)_x", "--test")
    assert "no cameras are known" in done.err
    scores = cli.json(run / "predictions" / "test.metrics.json")
    assert scores["protocol"]["same_camera"] == "keep"
    assert scores["camera_pairs"] == {}


def test_a_folder_for_each_identity_with_cameras_in_the_names(people: Path, cli: Any) -> None:
    root = Path("herd")
    for folder in people.iterdir():
        for file in folder.iterdir():
            target = root / file.name[:4] / f"{file.name[6]}_{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    pattern = r"data.camera_pattern=/(\d)_"
    done, run = run_of(cli, f"data.root={root}", pattern, "data.val_fraction=0.2", "--test")
    assert "asks for the others of test" in done.err
    assert cli.json(run / "predictions" / "test.metrics.json")["protocol"]["own_gallery"]


def test_every_rank_but_those_beyond_the_gallery_is_told(people: Path, cli: Any) -> None:
    for number, file in enumerate(sorted((people / "bounding_box_test").iterdir())):
        if number >= 8:
            file.unlink()
    for file in (people / "query").iterdir():
        if int(file.name[:4]) > 8:
            file.unlink()
    done, run = run_of(cli, "--test")
    scores = cli.json(run / "predictions" / "test.metrics.json")
    assert {"map", "rank_1", "rank_5"} <= set(scores["headline"])
    assert "rank_10" not in scores["headline"]
    assert "rank_10 is undefined" in done.said


def test_features_of_any_length_are_indexed_and_answer(people: Path, cli: Any) -> None:
    _, run = run_of(cli, "eval.normalize=false", "train.epochs=1", "--test")
    assert cli.json(run / "index" / "index.json")["metric"] == "euclidean"
    assert cli.json(run / "predictions" / "test.metrics.json")["headline"]["map"]["value"] > 0
    answers = cli("predict", run.name, "people/query", "--out", "answers.csv")
    assert answers.code == 0, answers.said
    assert all(float(row["nearest_1_distance"]) >= 0 for row in cli.table("answers.csv"))


# Bad input: each is one screen that names what would work, and nothing was made.


def test_no_second_camera(people: Path, cli: Any) -> None:
    for file in list((people / "bounding_box_test").iterdir()):
        file.rename(file.with_name(file.name.replace("_c2", "_c1").replace("_c3", "_c1")))
    refused(cli, "train", *SMALL, words=["Nothing can be found", "eval.same_camera=keep"])
    assert not Path("experiments").exists()
    done = cli("train", *SMALL, "eval.same_camera=keep", "train.epochs=1")
    assert done.code == 0, done.said


def test_query_identities_that_the_gallery_lacks(people: Path, cli: Any) -> None:
    for file in list((people / "bounding_box_test").iterdir()):
        file.rename(file.with_name(f"9{file.name}"))
    refused(cli, "train", *SMALL, words=["Nothing can be found", "written"])


def test_one_picture_of_each_identity(people: Path, cli: Any) -> None:
    seen = set()
    for file in sorted((people / "bounding_box_train").iterdir()):
        if file.name[:4] in seen:
            file.unlink()
        seen.add(file.name[:4])
    words = ["6 identities, of which 0 have 2 pictures or more", "data.val_fraction=0"]
    refused(cli, "train", *SMALL, words=words)
    more = ["Every identity of training has one picture", "reid/softmax"]
    refused(cli, "train", *SMALL, "data.val_fraction=0", words=more)


def test_names_that_do_not_parse(people: Path, cli: Any) -> None:
    for file in list((people / "query").iterdir())[:3]:
        file.rename(file.with_name(f"photo{file.name[11:]}"))
    refused(cli, "train", *SMALL, words=["3", "data.name_pattern"])


def test_a_threshold_is_not_for_these_answers(people: Path, cli: Any) -> None:
    _, run = run_of(cli, "train.epochs=1")
    refused(cli, "threshold", run.name, words=["threshold"], code=2)


def test_the_settings_of_another_task_are_unknown(people: Path, cli: Any) -> None:
    refused(cli, "train", *SMALL, "loss.kind=arcface", words=["loss.kind"], code=2)
