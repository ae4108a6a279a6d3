"""Retrieval from the command line: a folder to an index, answers, thresholds, and errors."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def run_of(cli: Any, *settings: object) -> tuple[Any, Path]:
    """Train, and return what was said and the newest run's folder."""
    done = cli("train", *cli.searching, *settings)
    assert done.code == 0, done.said
    return done, Path(cli.newest()["path"])


def refused(cli: Any, *command: object, words: Sequence[str], code: int = 1) -> str:
    screen: str = cli.screen(cli(*command), code=code)
    flat = " ".join(screen.split())
    assert [word for word in words if word not in flat] == [], screen
    return screen


def test_training_ends_with_an_index_thresholds_scores_and_a_page(searched: Path, cli: Any) -> None:
    done = cli.json(searched / "run.json")["stages"]["done"]
    assert list(done) == ["index", "threshold", "val", "test"]
    described = cli.json(searched / "index" / "index.json")
    splits = cli.table(searched / "splits.csv")
    fit = [row["id"] for row in splits if row["split"] == "fit"]
    assert [row["id"] for row in cli.table(searched / "index" / "rows.csv")] == fit
    assert described["model"]["checkpoint"] == "best_model.pth"
    scores = cli.json(searched / "predictions" / "test.metrics.json")
    assert scores["task"] == "retrieve"
    assert scores["gallery"]["pictures"] == len(fit)
    assert scores["headline"]["recall_at_1"]["value"] > 0.8
    rows = cli.table(searched / "predictions" / "test.csv")
    assert len(rows) == scores["n"]
    right = np.mean([row["target"] == row["prediction"] for row in rows])
    assert right == pytest.approx(scores["headline"]["knn_accuracy"]["value"])
    assert {row["nearest_1"] for row in rows} <= set(fit)
    fitted = cli.json(searched / "reliability.json")
    assert fitted["thresholds"]["reason"], "18 validation pictures cannot promise 5 %"
    page = (searched / "report.html").read_text(encoding="utf-8")
    assert "Recall@1" in page
    epochs = [row for row in cli.rows(searched) if row["event"] == "epoch"]
    assert {"recall_at_1", "map_at_r", "valid_loss"} <= epochs[0].keys()


def test_thresholds_are_set_anew_and_change_the_verdicts(searched: Path, cli: Any) -> None:
    done = cli("threshold", "latest", "error_rate=0.3")
    assert done.code == 0, done.said
    assert "at most 30.0% wrong with 95% confidence" in done.out
    answers = cli("predict", "latest", "pictures", "--out", "answers.csv")
    assert answers.code == 0, answers.said
    rows = cli.table("answers.csv")
    assert len(rows) == 120
    assert {row["verdict"] for row in rows} <= {"accept", "ask again"}
    assert "accept" in {row["verdict"] for row in rows}
    known = cli.json(searched / "reliability.json")["thresholds"]
    for row in rows:
        inside = float(row["distance"]) <= known["max_distance"] + 1e-6
        assert inside or row["verdict"] == "ask again"
    assert cli("evaluate", "latest").code == 0
    scores = cli.json(searched / "predictions" / "val.metrics.json")
    assert scores["answers"]["error_rate"] == 0.3
    assert scores["answers"]["false_accepts"]["n"] == scores["n"]


def test_a_gallery_of_other_pictures_answers_in_place_of_the_runs_own(
    searched: Path, cli: Any
) -> None:
    shutil.move("pictures/7_seven", "seven")
    shutil.copytree("pictures/0_zero", "pictures/0_new")
    shutil.rmtree("pictures/0_zero")
    made = cli("index", "latest", "pictures", "--out", "gallery")
    assert made.code == 0, made.said
    assert "80 pictures of 2 classes" in made.out
    done = cli("predict", "latest", "pictures", "seven", "--out", "a.json", "--index", "gallery")
    assert done.code == 0, done.said
    assert "no answer is held back" in done.err
    rows = cli.json("a.json")
    assert {row["prediction"] for row in rows} == {"0_new", "1_one"}
    own = [row for row in rows if row["id"].startswith("pictures/0_new")]
    assert all(row["nearest_1"] == row["id"].removeprefix("pictures/") for row in own)
    vectors = np.load("gallery/embeddings.npy")
    assert vectors.shape == (80, 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_run_is_resumed_and_its_index_made_anew(searched: Path, cli: Any) -> None:
    before = cli.json(searched / "index" / "index.json")["model"]["sha256"]
    more = cli("train", "--resume", searched, "train.epochs=3", "--resume-anyway", "train.epochs")
    assert more.code == 0, more.said
    info = cli.json(searched / "run.json")
    assert info["epochs"] == 3
    if info["best"]["epoch"] == 3:
        assert cli.json(searched / "index" / "index.json")["model"]["sha256"] != before
    assert cli("evaluate", searched).code == 0


def test_new_classes_are_each_others_gallery(pictures: Path, cli: Any) -> None:
    for name in ("2_two", "8_eight"):
        shutil.copytree(pictures / "1_one", pictures / name)
        for number, file in enumerate(sorted((pictures / name).iterdir())):
            shutil.copy2(sorted((pictures / "7_seven").iterdir())[number], file)
    done, run = run_of(
        cli, f"data.root={pictures}", "data.split_by=class", "data.group_duplicates=false",
        "data.val_fraction=0.4", "data.test_fraction=0", "eval.leave_out=picture",
    )  # fmt: skip
    scores = cli.json(run / "predictions" / "val.metrics.json")
    assert scores["gallery"]["kind"] == "own"
    assert scores["gallery"]["classes"] == 2
    assert "classes that training never sees" in done.said
    assert cli.json(run / "reliability.json")["own_gallery"] is True


# Bad input: one screen each, and nothing that was saved is lost.


def test_a_class_with_one_object_is_named_and_names_that_count_pictures_are_refused(
    pictures: Path, cli: Any
) -> None:
    for folder in pictures.iterdir():
        for number, file in enumerate(sorted(folder.iterdir())):
            file.rename(folder / f"{folder.name}_{number}.png")
    command = ("train", *cli.searching, f"data.root={pictures}", "data.objects=file_name")
    refused(cli, *command, words=["count pictures, not objects", "data.objects=picture"])
    for number, file in enumerate(sorted((pictures / "0_zero").iterdir())):
        file.rename(pictures / "0_zero" / f"object{number // 2}_{number % 2}.png")
    for number, file in enumerate(sorted((pictures / "1_one").iterdir())):
        file.rename(pictures / "1_one" / f"thing{number // 2}_{number % 2}.png")
    done, run = run_of(cli, f"data.root={pictures}", "data.objects=file_name")
    assert "fewer than 3 groups" in done.said
    assert "7_seven (1)" in done.said
    splits = cli.table(run / "splits.csv")
    assert {row["split"] for row in splits if row["label"] == "7_seven"} == {"fit"}
    by_object: dict[str, set[str]] = {}
    for row in splits:
        by_object.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in by_object.values()), "no object is divided"
    scores = cli.json(run / "predictions" / "val.metrics.json")
    assert scores["headline"]["recall_at_1"]["unit"] == "group"
    held_out = {row["group"] for row in splits if row["split"] == "val"}
    fitted = cli.json(run / "reliability.json")["thresholds"]
    assert fitted["n"] == len(held_out) < scores["n"], "one picture of each object"


def test_an_object_under_two_classes_is_named_and_kept_apart(pictures: Path, cli: Any) -> None:
    for name in ("0_zero", "1_one"):
        for number, file in enumerate(sorted((pictures / name).iterdir())):
            file.rename(pictures / name / f"plant_{number // 4}_{number % 4}.png")
    done, run = run_of(cli, f"data.root={pictures}", "data.objects=file_name")
    assert "10 objects occur under several classes and are kept apart" in done.said
    groups = {row["group"] for row in cli.table(run / "splits.csv")}
    assert {"0_zero/plant_3", "1_one/plant_3"} <= groups


def test_more_pictures_of_a_class_than_any_has_are_refused_before_a_run_is_made(
    pictures: Path, cli: Any
) -> None:
    settings = ("sampler.samples_per_class=50", "train.batch_size=150")
    command = ("train", *cli.searching, f"data.root={pictures}", *settings)
    refused(cli, *command, words=["sampler.samples_per_class"], code=2)
    assert cli.newest() == {}


def test_objects_with_small_pictures_are_left_out_whole_and_listed(
    pictures: Path, cli: Any
) -> None:
    command = ("train", *cli.searching, f"data.root={pictures}", "data.min_image_size=300")
    refused(cli, *command, words=["data.min_image_size"])
    checked = cli("check", "retrieve/basic", f"data.root={pictures}", "data.objects=picture")
    assert checked.code == 1, "what training would refuse is not fit for training"
    assert "data.min_image_size" in checked.out
    from PIL import Image

    first = sorted((pictures / "0_zero").iterdir())[0]
    with Image.open(first) as picture:
        side = picture.width
        picture.resize((side, side - 3)).save(first)
    _, run = run_of(cli, f"data.root={pictures}", f"data.min_image_size={side}")
    (row,) = cli.table(run / "excluded.csv")
    assert row["id"].endswith(first.name)
    assert f"{side}x{side - 3}" in row["reason"]


def test_an_index_of_another_model_is_refused(searched: Path, cli: Any) -> None:
    assert cli("index", "latest", "pictures", "--out", "gallery").code == 0
    described = Path("gallery/index.json")
    text = described.read_text(encoding="utf-8")
    sha256 = cli.json(described)["model"]["sha256"]
    described.write_text(text.replace(sha256, "0" * 64), encoding="utf-8")
    command = ("predict", "latest", "pictures", "--out", "a.csv", "--index", "gallery")
    refused(cli, *command, words=["another model"])
    assert not Path("a.csv").exists()


def test_a_run_without_its_index_says_how_to_make_it(searched: Path, cli: Any) -> None:
    shutil.rmtree(searched / "index")
    kept = (searched / "predictions" / "val.csv").read_bytes()
    refused(cli, "evaluate", "latest", words=["no gallery", "sightline index"])
    assert (searched / "predictions" / "val.csv").read_bytes() == kept
    assert cli("index", "latest").code == 0
    assert cli("evaluate", "latest").code == 0


def test_a_damaged_index_is_refused(searched: Path, cli: Any) -> None:
    vectors = searched / "index" / "embeddings.npy"
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 0xFF
    vectors.write_bytes(content)
    refused(cli, "predict", "latest", "pictures", "--out", "a.csv", words=["embeddings.npy"])


def test_a_query_folder_with_corrupt_files_names_them_all(searched: Path, cli: Any) -> None:
    for name in ("a.png", "b.png"):
        Path("pictures/0_zero", name).write_bytes(b"\x89PNG broken")
    Path("answers.csv").write_text("earlier answers\n", encoding="utf-8")
    command = ("predict", "latest", "pictures", "--out", "answers.csv")
    refused(cli, *command, words=["a.png", "b.png"])
    assert Path("answers.csv").read_text(encoding="utf-8") == "earlier answers\n"


def test_a_gallery_smaller_than_the_voters_answers_and_says_so(searched: Path, cli: Any) -> None:
    for folder in Path("pictures").iterdir():
        for file in sorted(folder.iterdir())[3:]:
            file.unlink()
    assert cli("index", "latest", "pictures", "--out", "gallery").code == 0
    config = searched / "config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("top_k: null", "top_k: 20"), encoding="utf-8")
    done = cli("predict", "latest", "pictures", "--out", "a.csv", "--index", "gallery")
    assert done.code == 0, done.said
    assert "the gallery has 9 pictures, so these vote and not 20" in done.err
    config.write_text(text, encoding="utf-8")
    done = cli("predict", "latest", "pictures", "--out", "a.csv", "--index", "gallery")
    assert "these vote" not in done.err, "by itself a gallery has no more voters than pictures"
    assert "nearest_5" in cli.table("a.csv")[0], "evidence does not have to vote"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("calibrate", "latest"), ["retrieve"]),
        (("evaluate", "latest", "--tta", "flip"), ["retrieve"]),
        (("predict", "latest", "pictures", "--out", "a.csv", "--accept-accuracy", "0.9"),
         ["thresholds of its own"]),
        (("predict", "latest", "pictures", "--out", "a.csv", "--heat-maps", "seen"), ["heat map"]),
        (("index", "latest", "--out", "x"), ["own gallery"]),
        (("threshold", "latest", "top_k=1"), ["as it gives them", "error_rate"]),
        (("index", "latest", "pictures", "--out", "experiments/train/latest-train/index"),
         ["outside of the run"]),
        (("index", "latest", "pictures", "train.lr=1", "--out", "x"), ["`data` and `index`"]),
    ],
)  # fmt: skip
def test_what_other_tasks_can_do_is_refused(
    searched: Path, cli: Any, command: tuple[str, ...], words: list[str]
) -> None:
    refused(cli, *command, words=words, code=2)


def test_what_only_retrieval_can_do_is_refused_elsewhere(trained: Path, cli: Any) -> None:
    refused(cli, "index", "latest", words=["retrieve"], code=2)
    command = ("predict", "latest", "pictures", "--out", "a.csv", "--index", "x")
    refused(cli, *command, words=["retrieve"], code=2)
