"""evaluate, predict, infer-config, ensemble and soup, as they are typed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sightline.runs import list_runs


@pytest.fixture
def few(trained: Path) -> Path:
    """Four pictures for the trained run in the working directory, and a sample of their ids."""
    Path("few").mkdir()
    for file in sorted(Path("pictures").glob("*/*1.png"))[::4][:4]:
        shutil.copy2(file, Path("few") / file.name)
    names = [file.stem for file in sorted(Path("few").iterdir(), reverse=True)]
    Path("sample.csv").write_text("ID,target\n" + "".join(f"{name},?\n" for name in names))
    return Path("few")


def ids(file: str) -> list[str]:
    with open(file, newline="", encoding="utf-8") as handle:
        return [row[0] for row in csv.reader(handle)][1:]


def test_views_are_averaged_where_asked(few: Path, cli: Any) -> None:
    plain, flipped = cli("predict", "latest", few, "--out", "a.csv"), cli(
        "predict", "latest", few, "--out", "b.csv", "--tta", "flip"
    )  # fmt: skip
    assert (plain.code, flipped.code) == (0, 0), plain.said + flipped.said
    first, second = cli.table("a.csv"), cli.table("b.csv")
    assert [row["id"] for row in first] == [row["id"] for row in second]
    assert [row["confidence"] for row in first] != [row["confidence"] for row in second]
    assert "accepted" not in first[0]


def test_evaluation_takes_views_too(trained: Path, cli: Any) -> None:
    assert cli("evaluate", "latest", "--tta", "flip").code == 0
    assert cli.json(trained / "predictions" / "val.metrics.json")["tta"] == "flip"


def test_calibration_is_used_asked_for_and_left_out(trained: Path, few: Path, cli: Any) -> None:
    screen = cli.screen(
        cli("predict", "latest", few, "--out", "a.csv", "--use-calibration"), code=1
    )
    assert f"sightline calibrate {trained.name}" in screen
    assert cli("evaluate").code == 0
    assert cli("calibrate").code == 0
    # So few samples may teach nothing; a temperature of 3 can be seen.
    file = trained / "calibration.json"
    plain = cli.json(file)
    plain["members"]["best_model.pth"]["temperature"] = 3.0
    file.write_text(json.dumps(plain))
    wide = ("predict", "latest", few, "--out")
    assert cli(*wide, "with.csv").code == 0
    assert cli(*wide, "asked.csv", "--use-calibration").code == 0
    assert cli(*wide, "without.csv", "--no-calibration").code == 0
    used, asked, without = (
        [row["confidence"] for row in cli.table(f"{name}.csv")]
        for name in ("with", "asked", "without")
    )
    assert used == asked
    assert used != without


def test_sample_is_answered_in_its_order(few: Path, cli: Any) -> None:
    done = cli("predict", "--sample", "sample.csv", "--images", few, "--out", "sub.csv")
    assert done.code == 0, done.said
    assert ids("sub.csv") == ids("sample.csv") == ids("sub.probabilities.csv")


def test_inference_file_with_changes(few: Path, cli: Any) -> None:
    Path("jobs").mkdir()
    Path("jobs/infer.yaml").write_text(
        "recipe: classify/infer\nimages: ../few\nsample_csv: ../sample.csv\n"
        "exp_dir: ../experiments/train\n"
    )
    done = cli("predict", "--config", "jobs/infer.yaml", "infer.tta=flip", "--out", "a.csv")
    assert done.code == 0, done.said
    assert "'tta': 'flip'" in done.err
    assert ids("a.csv") == ids("sample.csv")
    named = list_runs("experiments/train")[0]["id"]
    by_name = ("predict", "--config", "jobs/infer.yaml", named, "--tta", "flip", "--out", "b.csv")
    assert cli(*by_name).code == 0
    assert Path("a.csv").read_text() == Path("b.csv").read_text()
    plain = cli("predict", "--config", "classify/infer", "images=few", "--out", "c.csv")
    assert plain.code == 0, plain.said
    assert "4 predictions in" in plain.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["latest", "few", "--images", "few", "--out", "a.csv"], "--images is used only with"),
        (["latest", "few"], "Missing option '--out'"),
        (["--out", "a.csv"], "Missing argument 'INPUTS...'"),
        (["latest", "few", "--sample", "sample.csv"], "the ids say which images"),
        (["--config", "classify/infer", "latest", "few"], "images are named in the file"),
        (["--config", "classify/infer"], "Nothing says which images"),
        (["--config", "classify/infer", "images=few"], "images without sample_csv need out"),
        (["--config", "classify/digits"], "There is no task classify"),
        (["--config", "classify/infer", "tta=flip"], "unknown key"),
        (["--accept-accuracy", "1.5", "latest", "few", "--out", "a.csv"], "1.5"),
    ],
)
def test_wrong_use_of_predict(arguments: list[str], word: str, few: Path, cli: Any) -> None:
    done = cli("predict", *arguments)
    assert done.code == 2, done.said
    assert word in done.err
    assert "Traceback" not in done.said


def test_recipe_for_inference_is_printed(cli: Any) -> None:
    done = cli("config", "classify/infer")
    assert done.code == 0, done.said
    assert "run: latest\n" in done.out
    Path("mine.yaml").write_text(done.out)
    assert cli("config", "mine.yaml").out == done.out
    assert "classify/infer" in cli("recipes").out
    assert "There is no task infer" in cli("train", "classify/infer").err


def test_infer_config_shows_old_and_new(trained: Path, cli: Any) -> None:
    Path("infer.yaml").write_text("# mine\ntask: infer\nrun: latest\n")
    place = f"experiments/train/{trained.parent.name}/{trained.name}"
    shown = cli("infer-config", "--latest-train", "infer.yaml", "--dry-run")
    assert shown.out == f"infer.yaml: latest -> {place}\nnothing was written (--dry-run)\n"
    assert Path("infer.yaml").read_text() == "# mine\ntask: infer\nrun: latest\n"
    done = cli("infer-config", trained.parent.name, "infer.yaml")
    assert "the file as it was: infer.yaml.bak" in done.out
    assert Path("infer.yaml").read_text() == f"# mine\ntask: infer\nrun: {place}\n"
    assert "unchanged" in cli("infer-config", "--latest", "infer.yaml").out
    for wrong in ([], ["--latest", "--latest-train", "infer.yaml"], ["--latest"], ["20260901"]):
        assert cli("infer-config", *wrong).code == 2
    assert "No run of 19990101" in cli("infer-config", "19990101", "infer.yaml").err


def test_ensemble_and_soup_are_runs(trained: Path, cli: Any) -> None:
    name = f"{trained.name[:-1]}{'0' if trained.name[-1] != '0' else '1'}"
    twin = Path(shutil.copytree(trained, trained.with_name(name)))
    text = (twin / "run.json").read_text().replace(trained.name, name)
    (twin / "run.json").write_text(text)
    made = cli("ensemble", trained.name, name, "--name", "both")
    assert made.code == 0, made.said
    assert made.out.splitlines()[:2] == [f"0.5000 {trained.name}", f"0.5000 {name}"]
    scored = cli("evaluate", "both", "--json")
    assert scored.code == 0, scored.said
    assert cli("predict", "both", "pictures/1_one", "--out", "p.csv").code == 0
    alone = cli.json(trained / "predictions" / "val.metrics.json")["headline"]
    both = Path(made.out.splitlines()[-1].removeprefix("run "))
    assert cli.json(both / "predictions" / "val.metrics.json")["headline"] == alone
    assert Path("experiments/train/latest-train").resolve() == trained.resolve()
    soup = cli("soup", trained.name, name)
    assert soup.code == 0, soup.said
    assert "no soup was made" in soup.out
