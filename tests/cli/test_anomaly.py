"""Anomaly detection from the command line: a folder to scores, thresholds, figures and errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.tasks.anomaly_trainers import sets_threshold

SMALL = ("model.name=resnet10t", "train.img_size=32", "eval.bootstrap=100", "data.workers=0")
STUDENT = ("anomaly/stfpm", "model.pretrained=false", *SMALL, "train.lr=0.05", "train.epochs=3")
MEMORY = ("anomaly/digits", *SMALL)


@pytest.fixture(scope="session")
def _defects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sightline.data.defect_digits import write_defect_digits

    return write_defect_digits(tmp_path_factory.mktemp("defects") / "zeros")


@pytest.fixture
def defects(_defects: Path, tmp_path: Path) -> Path:
    """Zeros as normal pictures, other digits and patched zeros as defects; to be spoiled."""
    return Path(shutil.copytree(_defects, tmp_path / "zeros"))


def run_of(cli: Any, *settings: object, code: int = 0) -> tuple[Any, Path]:
    """Train, and return what was said and the newest run's folder."""
    done = cli("train", *settings)
    assert done.code == code, done.said
    return done, Path(cli.newest()["path"])


def refused(cli: Any, *settings: object, words: Sequence[str], code: int = 1) -> str:
    screen: str = cli.screen(cli("train", *settings), code=code)
    flat = " ".join(screen.split())
    assert [word for word in words if word not in flat] == [], screen
    return screen


# A memory is computed, a student is trained; both are judged by the sealed test.


def test_memory_finds_other_digits_and_keeps_its_budget(defects: Path, cli: Any) -> None:
    done, run = run_of(cli, *MEMORY, f"data.root={defects}", "--test")
    scores = cli.json(run / "predictions" / "test.metrics.json")
    assert scores["task"] == "anomaly"
    assert scores["headline"]["image_auroc"]["value"] > 0.95
    assert scores["headline"]["pixel_auroc"]["value"] > 0.8
    assert scores["image_f1_max"] >= scores["headline"]["image_f1"]["value"]
    found = scores["false_alarms"]
    assert found["count"] <= found["expected_high"], "the promise was kept"
    assert found["n"] == scores["counts"]["normal"]
    val = cli.json(run / "predictions" / "val.metrics.json")
    assert val["false_alarms"] is val["pixel_false_alarms"] is None, "they set the threshold"
    assert {one["name"] for one in scores["per_defect"]} == {"other_digit", "patched"}
    limits = cli.json(run / "threshold.json")
    rows = cli.table(run / "predictions" / "test.csv")
    assert len(rows) == scores["n"]
    for row in rows:
        assert row["alarm"] == str(int(float(row["score"]) > limits["image"]["value"]))
        assert (row["mask"] != "") == (row["target"] == "patched")
    assert found["count"] == sum(r["alarm"] == "1" for r in rows if r["target"] == "good")
    with np.load(run / "predictions" / "test.maps.npz") as kept:
        assert kept["maps"].shape[1:] == (32, 32)
        assert set(kept["ids"].tolist()) <= {row["id"] for row in rows}
    assert "computed from the training images" in done.said
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "patched" in page
    assert [row["event"] for row in cli.rows(run)] == ["epoch", "threshold", "evaluate", "evaluate"]
    assert cli.json(run / "run.json")["stages"]["done"].keys() == {"threshold", "val", "test"}


def test_student_is_trained_resumed_and_chosen_by_half_of_validation(
    defects: Path, cli: Any
) -> None:
    settings = (*STUDENT, f"data.root={defects}", "threshold.false_alarm_budget=0.1")
    _, run = run_of(cli, *settings, "--test")
    rows = [row for row in cli.rows(run) if row["event"] == "epoch"]
    losses = [row["valid_loss"] for row in rows]
    assert losses[-1] < losses[0], "it learns"
    limits = cli.json(run / "threshold.json")
    held_out = [row for row in cli.table(run / "splits.csv") if row["split"] == "val"]
    assert limits["image"]["n"] == (len(held_out) + 1) // 2, "the other half chose the epoch"
    scores = {row["id"]: float(row["score"]) for row in cli.table(run / "predictions" / "val.csv")}
    sets = sets_threshold(list(scores), 42)
    theirs = sorted(score for score, one in zip(scores.values(), sets, strict=True) if one)
    image = limits["image"]
    assert image["value"] == pytest.approx(theirs[image["rank"] - 1], rel=1e-6), "and this set it"
    more = cli("train", "--resume", run, "train.epochs=4", "--resume-anyway", "train.epochs")
    assert more.code == 0, more.said
    after = cli.json(run / "threshold.json")
    assert after["sha256"] != limits["sha256"], "set anew for the new weights"
    assert len([row for row in cli.rows(run) if row["event"] == "epoch"]) == 4


def test_kept_teacher_features_change_nothing_but_the_time(defects: Path, cli: Any) -> None:
    losses = []
    for kept in (2048, 0):
        settings = (f"data.root={defects}", f"train.teacher_cache_mib={kept}")
        _, run = run_of(cli, *STUDENT, *settings)
        losses.append([row["train_loss"] for row in cli.rows(run) if row["event"] == "epoch"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_published_protocol_holds_nothing_out(defects: Path, cli: Any) -> None:
    done, run = run_of(cli, *MEMORY, f"data.root={defects}", "eval.protocol=published", "--test")
    splits = [row["split"] for row in cli.table(run / "splits.csv")]
    assert "val" not in splits
    assert "no threshold" in done.out
    limits = cli.json(run / "threshold.json")
    assert limits["image"] is None
    assert "published" in limits["reason"]
    scores = cli.json(run / "predictions" / "test.metrics.json")
    assert "image_f1" not in scores["headline"]
    assert scores["false_alarms"] is None
    assert {row["alarm"] for row in cli.table(run / "predictions" / "test.csv")} == {""}
    saved = (run / "config.yaml").read_text()
    assert "val_fraction: 0.0" in saved, "what is saved is what ran"
    again = cli("config", str(run / "config.yaml"))
    assert again.code == 0, again.said


def test_synthetic_defects_give_validation_something_to_find(defects: Path, cli: Any) -> None:
    settings = (f"data.root={defects}", "data.synthetic_defects=true", "threshold.method=f1")
    _, run = run_of(cli, *STUDENT, *settings, "train.monitor=image_auroc")
    rows = [row for row in cli.rows(run) if row["event"] == "epoch"]
    assert all(0 <= row["image_auroc"] <= 1 for row in rows)
    best = cli.json(run / "run.json")["best"]
    assert best["metric"] == "image_auroc"
    assert best["value"] == max(row["image_auroc"] for row in rows)
    scores = cli.json(run / "predictions" / "val.metrics.json")
    assert scores["headline"]["image_auroc"]["n"] == scores["n"]
    assert {one["name"] for one in scores["per_defect"]} == {"synthetic"}
    assert cli.json(run / "threshold.json")["image"]["method"] == "f1"


# The threshold can be set anew; what belongs to other weights is refused.


def test_threshold_is_set_anew_for_another_budget(defects: Path, cli: Any) -> None:
    _, run = run_of(cli, *MEMORY, f"data.root={defects}")
    strict = cli.json(run / "threshold.json")["image"]
    done = cli("threshold", run, "false_alarm_budget=0.3")
    assert done.code == 0, done.said
    loose = cli.json(run / "threshold.json")["image"]
    assert (loose["budget"], strict["budget"]) == (0.3, 0.05)
    assert loose["value"] < strict["value"]
    sure = json.loads(
        cli("threshold", run, "confidence=0.9", "false_alarm_budget=0.3", "--json").out
    )
    assert sure["image"]["value"] > loose["value"]
    cli("threshold", run, "method=fixed", "value=0.25", "false_alarm_budget=0.05")
    assert cli.json(run / "threshold.json")["image"]["value"] == 0.25
    few = cli("threshold", run, "false_alarm_budget=0.001")
    assert few.code == 0
    assert "needs 999" in few.out
    assert cli.json(run / "threshold.json")["image"] is None
    cli.screen(cli("threshold", run, "budget=0.1"), code=2)
    assert "f1" in cli.screen(cli("threshold", run, "method=f1"), code=1)


def test_threshold_of_other_weights_is_refused(defects: Path, cli: Any) -> None:
    _, run = run_of(cli, *MEMORY, f"data.root={defects}")
    limits = cli.json(run / "threshold.json")
    (run / "threshold.json").write_text(json.dumps({**limits, "sha256": "0" * 64}))
    screen = cli.screen(cli("evaluate", run), code=1)
    assert "other weights" in screen
    assert "sightline threshold" in screen
    (run / "threshold.json").write_text("{}")
    assert "cannot be read" in cli.screen(cli("evaluate", run), code=1)
    assert cli("threshold", run).code == 0
    assert cli("evaluate", run).code == 0


def test_predict_says_score_and_alarm(defects: Path, cli: Any) -> None:
    _, run = run_of(cli, *MEMORY, f"data.root={defects}", "--test")
    done = cli("predict", run, defects / "test" / "other_digit", "--out", "answers.csv")
    assert done.code == 0, done.said
    tested = {row["path"]: row for row in cli.table(run / "predictions" / "test.csv")}
    answers = cli.table("answers.csv")
    assert answers
    for row in answers:
        (same,) = [one for path, one in tested.items() if row["id"].endswith(path)]
        assert float(row["score"]) == pytest.approx(float(same["score"]), rel=1e-5)
        assert row["alarm"] == same["alarm"]


def test_predict_draws_heat_maps_over_the_pictures(defects: Path, cli: Any) -> None:
    _, run = run_of(cli, *MEMORY, f"data.root={defects}")
    inputs = (defects / "test" / "patched", defects / "test" / "good")
    done = cli("predict", run, *inputs, "--out", "answers.csv", "--heat-maps", "seen")
    assert done.code == 0, done.said
    answers = cli.table("answers.csv")
    assert len({row["heat_map"] for row in answers}) == len(answers), "each has a file of its own"
    for row in answers:
        with Image.open(row["heat_map"]) as drawn, Image.open(row["id"]) as picture:
            assert drawn.size == picture.size


def test_heat_maps_never_take_the_place_of_the_pictures(defects: Path, cli: Any) -> None:
    _, run = run_of(cli, *MEMORY, f"data.root={defects}")
    good = defects / "test" / "good"
    before = {file.name: file.read_bytes() for file in good.iterdir()}
    Path("link").symlink_to(good)
    for folder in (good, "link"):
        done = cli("predict", run, good, "--out", "answers.csv", "--heat-maps", folder)
        assert "would replace the pictures" in cli.screen(done, code=2)
    done = cli("predict", run, good, "--out", "answers.csv", "--heat-maps", run / "run.json")
    assert "--heat-maps" in cli.screen(done, code=2)
    assert {file.name: file.read_bytes() for file in good.iterdir()} == before
    assert not Path("answers.csv").exists()


def test_heat_maps_are_for_detectors(trained: Path, pictures: Path, cli: Any) -> None:
    asked = ("--out", "answers.csv", "--heat-maps", "seen")
    assert "A heat map is for runs" in cli.screen(cli("predict", trained, pictures, *asked), code=2)
    sample = ("--sample", "sample.csv", "--heat-maps", "seen")
    assert "--heat-maps is used only" in cli.screen(cli("predict", trained, *sample), code=2)


def test_all_categories_are_trained_each_alone(defects: Path, cli: Any) -> None:
    several = Path("several")
    second = "zwei 😀: true"
    for name in ("first", second):
        shutil.copytree(defects, several / name)
    shutil.copytree(defects, several / "without")
    shutil.rmtree(several / "without" / "train")
    (several / "without" / "train" / "good").mkdir(parents=True)
    settings = (*MEMORY, f"data.root={several}")
    words = ["holds 3 categories", "data.category=NAME", second]
    refused(cli, *settings, words=words, code=2)
    done = cli("train", *settings, "data.category=all", "--test")
    screen = cli.screen(done, code=1)
    assert "1 of 3 categories failed" in screen
    (page,) = Path("experiments/train").rglob("categories.json")
    rows = {row["category"]: row for row in cli.json(page)["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "first": "finished",
        second: "finished",
        "without": "failed",
    }
    first_scores, other_scores = (
        cli.json(page.parent / rows[name]["metrics_file"]) for name in ("first", second)
    )
    assert first_scores["headline"] == other_scores["headline"], "the same pictures, each alone"
    assert rows["first"]["run"] != rows[second]["run"]
    assert len(cli.table(page.parent / "summary.csv")) >= 3
    listed = cli("list")
    assert listed.code == 0, listed.said
    near = refused(cli, *settings, "data.category=frist", words=["did you mean"], code=2)
    assert "first" in near


# Bad input: one screen, and nothing lost.


def test_no_normal_picture_to_learn_from(defects: Path, cli: Any) -> None:
    shutil.rmtree(defects / "train" / "good")
    (defects / "train" / "good").mkdir()
    refused(cli, *MEMORY, f"data.root={defects}", words=["train/good"])
    assert cli.newest() == {}, "nothing was begun"


def test_f1_without_defects_in_validation_is_refused_before_anything(
    defects: Path, cli: Any
) -> None:
    settings = (f"data.root={defects}", "threshold.method=f1")
    refused(cli, *MEMORY, *settings, words=["no F1 can be chosen", "data.synthetic_defects=true"])
    assert cli.newest() == {}


def test_defect_among_the_training_pictures(defects: Path, cli: Any) -> None:
    shutil.copytree(defects / "test" / "patched", defects / "train" / "patched")
    refused(cli, *MEMORY, f"data.root={defects}", words=["patched", "normal"])


def test_mask_of_another_size_is_named_and_nothing_is_lost(defects: Path, cli: Any) -> None:
    _, run = run_of(cli, *MEMORY, f"data.root={defects}", "--test")
    before = (run / "predictions" / "test.csv").read_bytes()
    mask = next((defects / "ground_truth" / "patched").iterdir())
    Image.new("L", (9, 7), 255).save(mask)
    screen = cli.screen(cli("evaluate", run, "--split", "test"), code=1)
    assert mask.name in screen
    assert "9 x 7" in screen
    assert (run / "predictions" / "test.csv").read_bytes() == before
    checked = cli("check", defects)
    assert checked.code == 1
    assert mask.name in checked.out


def test_mask_that_belongs_to_no_picture(defects: Path, cli: Any) -> None:
    masks = sorted((defects / "ground_truth" / "patched").iterdir())
    masks[0].rename(masks[0].with_name("nobody_mask.png"))
    refused(cli, *MEMORY, f"data.root={defects}", words=["nobody_mask.png"])


def test_test_set_of_one_class_has_no_auroc_and_says_so(defects: Path, cli: Any) -> None:
    for name in ("other_digit", "patched"):
        shutil.rmtree(defects / "test" / name)
    shutil.rmtree(defects / "ground_truth")
    done, run = run_of(cli, *MEMORY, f"data.root={defects}", "--test")
    scores = cli.json(run / "predictions" / "test.metrics.json")
    assert scores["headline"] == {}
    assert scores["image_f1_max"] is None
    assert "image_auroc is undefined" in done.out
    assert scores["false_alarms"]["n"] == scores["n"]


def test_weights_that_do_not_fit_the_backbone(defects: Path, cli: Any) -> None:
    torch.save({"conv1.weight": torch.zeros(4, 3, 3, 3)}, "other.pth")
    settings = (f"data.root={defects}", "model.weights=other.pth")
    refused(cli, *STUDENT, *settings, words=["other.pth", "model.name"])
    assert cli.newest()["status"] == "failed"


def test_black_picture_has_a_finite_score(defects: Path, cli: Any) -> None:
    name = next((defects / "test" / "good").iterdir())
    Image.new("RGB", (32, 32)).save(name)
    for recipe in (MEMORY, STUDENT):
        _, run = run_of(cli, *recipe, f"data.root={defects}", "--test")
        rows = cli.table(run / "predictions" / "test.csv")
        (black,) = [row for row in rows if row["path"].endswith(name.name)]
        assert np.isfinite(float(black["score"]))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("calibrate",), "A calibration is for runs that answer with probabilities"),
        (("evaluate", "--tta", "flip"), "mean of test views"),
        (("predict", "zeros/test/good", "--out", "a.csv", "--tta", "flip"), "mean of test views"),
        (("soup",), "An average of runs"),
    ],
)
def test_what_only_classifiers_can_do_is_refused(
    defects: Path, cli: Any, command: tuple[str, ...], words: str
) -> None:
    _, run = run_of(cli, *MEMORY, f"data.root={defects}")
    screen = cli.screen(cli(command[0], run, *command[1:]), code=2)
    assert words in screen


@pytest.mark.parametrize(
    "flags",
    [
        ("--use-calibration",),
        ("--mode", "highperf"),
        ("--optimize", "--n-trials", "1"),
        ("--use-calibration", "data.category=all"),
        ("--mode", "highperf", "data.category=all"),
    ],
    ids=" ".join,
)
def test_flags_for_classifiers_are_refused_before_anything_is_trained(
    defects: Path, cli: Any, flags: tuple[str, ...]
) -> None:
    words = [flags[0], "is for tasks that answer with probabilities (classify)"]
    refused(cli, *MEMORY, f"data.root={defects}", *flags, words=words, code=2)
    assert not list(Path("experiments").rglob("run.json")), "nothing was begun"


def test_all_categories_are_not_searched_in_one_command(defects: Path, cli: Any) -> None:
    settings = (*MEMORY, f"data.root={defects}", "data.category=all")
    flags = ("--optimize", "--optuna-config", "classify/optuna")
    refused(cli, *settings, *flags, words=["data.category=all", "search"], code=2)


def test_threshold_is_for_detectors(trained: Path, cli: Any) -> None:
    screen = cli.screen(cli("threshold", trained), code=2)
    assert "A threshold is for runs that answer with scores (anomaly)" in screen


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.epochs=3", "patchcore is computed"),
        ("train.compile=true", "train.compile is not read"),
        ("train.lr=0.1", "train.lr is not read"),
        ("train.batch_size=auto", "patchcore has none"),
        ("model.map_combination=add", "used only with method stfpm"),
        ("threshold.value=2", "used only with method fixed"),
        ("threshold.method=fixed", "needs a value"),
        ("data.folds=3", "folds"),
        ("model.pooling=gem", "pooling"),
    ],
)
def test_keys_that_nothing_would_read_are_errors(cli: Any, setting: str, words: str) -> None:
    screen = cli.screen(cli("config", "anomaly/patchcore", setting), code=2)
    assert words in " ".join(screen.split())
