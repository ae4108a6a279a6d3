"""`train` with every flag of the competition pipeline: what runs, what is written, what stops."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import CommandLine

SPACE = """
task: search
study:
  n_trials: 2
  timeout: null
pruning:
  method: none
overrides:
  train.epochs: 1
space:
  train.lr: {low: 1.0e-3, high: 1.0e-2, log: true}
"""


class Competition(NamedTuple):
    """A folder as a competition gives it, and the settings that describe it."""

    config: Path
    sample: list[str]


@pytest.fixture
def competition(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Competition:
    """train.csv, train/, test/, sample_submission.csv, a configuration and a search space."""
    monkeypatch.chdir(tmp_path)
    rows, sample = ["ID,target"], ["ID,target"]
    for folder in ("raw/train", "raw/test"):
        Path(folder).mkdir(parents=True)
    for folder in sorted(pictures.iterdir()):
        for number, file in enumerate(sorted(folder.iterdir())):
            name = f"{folder.name}.{number:02d}"
            if number < 30:
                shutil.copy(file, f"raw/train/{name}.png")
                rows.append(f"{name}.png,{folder.name}")
            else:
                shutil.copy(file, f"raw/test/{name}.png")
                sample.append(f"{name}.png,{folder.name}")
    sample[1:] = sample[1:][::-1]
    Path("raw/train.csv").write_text("\n".join(rows) + "\n")
    Path("raw/sample_submission.csv").write_text("\n".join(sample) + "\n")
    Path("space.yaml").write_text(SPACE)
    Path("configs").mkdir()
    config = Path("configs/train.yaml")
    config.write_text(
        """
recipe: classify/digits
project: {name: docs}
data:
  digits: null
  train_csv: ../raw/train.csv
  image_dir_train: ../raw/train
  sample_csv: ../raw/sample_submission.csv
  image_dir_test: ../raw/test
  image_ext: .png
  folds: 2
model: {name: test_resnet}
train: {epochs: 1, warmup_epochs: 0, batch_size: 16}
output: {exp_dir: ../experiments/train, logs_dir: ../logs}
"""
    )
    return Competition(config, [line.split(",")[0] for line in sample[1:]])


def events(cli: CommandLine, run: dict[str, Any]) -> list[str]:
    """What was done with a run, one word each."""
    names = [f"{r['event']} {r.get('split', '')}".strip() for r in cli.rows(run["path"])]
    return list(dict.fromkeys(name for name in names if name != "epoch val"))


def submissions() -> list[Path]:
    found = Path("submissions").rglob("*.csv")
    return sorted(path for path in found if not path.name.endswith(".probabilities.csv"))


def studies() -> list[Path]:
    return sorted(Path("experiments").rglob("search.json"))


def test_basic_trains_one_fold_and_scores_it(competition: Competition, cli: CommandLine) -> None:
    outcome = cli("train", "--config", competition.config, "--mode", "basic")
    assert outcome.code == 0, outcome.said
    run = cli.newest()
    assert events(cli, run) == ["evaluate val"]
    assert "[EXIT] training finished successfully" in outcome.err
    assert not submissions()


def test_calibration_is_fitted_and_then_used(competition: Competition, cli: CommandLine) -> None:
    outcome = cli("train", competition.config, "--use-calibration", "--test")
    assert outcome.code == 0, outcome.said
    run = cli.newest()
    assert events(cli, run) == ["evaluate val", "calibrate val", "evaluate test"]
    rows = [r for r in cli.rows(run["path"]) if r["event"] == "evaluate"]
    saved = cli.json(Path(run["path"], "calibration.json"))
    assert f"calibration ece {saved['before']['ece']:.3f} -> {saved['after']['ece']:.3f}, nll" in (
        outcome.out
    )
    adopted = any(one["adopted"] for one in saved["members"].values())
    assert [r["calibrated"] for r in rows] == [False, adopted]
    assert adopted or saved["members"]["best_model.pth"]["temperature"] == 1.0


def test_full_pipeline_ends_with_a_submission_in_the_order_of_the_sample(
    competition: Competition, cli: CommandLine
) -> None:
    outcome = cli("train", competition.config, "--mode", "full-pipeline", "--use-calibration",
                  "data.valid_fold=1")  # fmt: skip
    assert outcome.code == 0, outcome.said
    assert "trains every fold, not data.valid_fold=1" in outcome.out
    run = cli.newest()
    assert events(cli, run) == ["evaluate val", "oof", "calibrate oof", "evaluate test"]
    (path,) = submissions()
    table = cli.table(path)
    assert [r["ID"] for r in table] == competition.sample
    assert {r["target"] for r in table} <= set(run["data"]["classes"])
    assert Path(run["path"], "ckpt/best_fold1.pth").is_file()
    recorded = cli.json(Path(run["path"], "run.json"))["submission"]
    assert Path(recorded) == path.absolute()
    log = Path(run["log"]).read_text()
    for word in ("[CFG]", "[PATH] OK", "[FOLD] distribution=", "[DATA]", "[MODEL]", "[EPOCH 1]",
                 "NEW_BEST", "[DONE]", "[COPY]", "[STAGE] submit",
                 "[BOOT] training pipeline finished successfully"):  # fmt: skip
        assert word in log, word
    assert "[EXIT] TRAINING SUCCESS code=0" in log.splitlines()[-2]


def test_a_stage_that_is_done_is_not_repeated(competition: Competition, cli: CommandLine) -> None:
    """A pipeline that broke in its last stage goes on there."""
    Path("submissions").write_text("in the way")
    outcome = cli("train", competition.config, "--mode", "full-pipeline", "--use-calibration")
    assert "submissions" in cli.screen(outcome, code=1)
    assert "[EXIT][ERROR] training failed" in outcome.err
    run = cli.newest()
    assert run["status"] == "finished", "the training itself is"
    before = cli.rows(run["path"])
    assert run["test_reads"]

    Path("submissions").unlink()
    Path("experiments/train/latest-train").unlink()  # as if killed before it was made
    flags = ("--mode", "full-pipeline", "--use-calibration")
    outcome = cli("train", competition.config, *flags, "--resume")
    assert outcome.code == 0, outcome.said
    assert cli.newest()["id"] == run["id"]
    assert Path("experiments/train/latest-train").resolve() == Path(run["path"])
    assert [r["event"] for r in cli.rows(run["path"])] == [r["event"] for r in before]
    assert len(cli.newest()["test_reads"]) == 1
    assert [r["ID"] for r in cli.table(submissions()[0])] == competition.sample
    again = cli("train", "--resume")
    assert "no unfinished run" in cli.screen(again, code=1)


def test_an_id_without_a_picture_is_found_before_training(
    competition: Competition, cli: CommandLine
) -> None:
    with Path("raw/sample_submission.csv").open("a") as sample:
        sample.write("nowhere.png,0_zero\n")
    outcome = cli("train", competition.config, "--mode", "full-pipeline")
    assert "nowhere.png" in cli.screen(outcome, code=1)
    assert not Path("experiments").exists()


def test_skip_training_alone_applies_the_latest_run(
    competition: Competition, cli: CommandLine
) -> None:
    assert cli("train", competition.config).code == 0
    run = cli.newest()
    Path("submissions").write_text("in the way")
    outcome = cli("train", competition.config, "--skip-training", "--use-calibration")
    assert "submissions" in cli.screen(outcome, code=1)
    assert "[EXIT][ERROR] training failed" in outcome.err
    Path("submissions").unlink()
    outcome = cli("train", competition.config, "--skip-training", "--use-calibration")
    assert outcome.code == 0, outcome.said
    assert cli.newest()["id"] == run["id"]
    assert events(cli, run) == ["evaluate val", "calibrate val"]
    assert len(submissions()) == 1
    named = cli("train", "--skip-training", "--resume", run["id"])
    assert named.code == 0, named.said
    assert len(submissions()) == 2
    assert "/pipeline/" in named.err.split("(see ")[-1]
    stages = cli.newest()["stages"]
    assert stages["calibrate"], "what was asked for once still is"


def test_skip_training_says_what_it_would_need(trained: Path, cli: CommandLine) -> None:
    said = cli.screen(cli("train", "--skip-training"), code=2)
    assert "data.sample_csv" in said


def test_mode_highperf_puts_its_recipe_below_the_own_settings(
    competition: Competition, cli: CommandLine
) -> None:
    outcome = cli("train", competition.config, "--mode", "highperf", "train.img_size=32",
                  "model.pretrained=false", "model.drop_path_rate=0",
                  "train.layer_decay=null")  # fmt: skip
    assert outcome.code == 0, outcome.said
    config = Path(cli.newest()["path"], "config.yaml").read_text()
    assert "preset: strong" in config
    assert "cutmix: 1.0" in config
    assert "name: test_resnet" in config, "the file's own"


def test_mode_highperf_says_when_it_changes_nothing(
    competition: Competition, cli: CommandLine
) -> None:
    whole = cli("config", competition.config)
    Path("whole.yaml").write_text(whole.out)
    outcome = cli("train", "whole.yaml", "--mode", "highperf")
    assert outcome.code == 0, outcome.said
    assert "--mode highperf changes nothing" in outcome.out


SEARCHES = {
    "search only": (["--optimize"], "search"),
    "search only, said twice": (["--optimize", "--skip-training"], "search"),
    "search only, with calibration for later": (["--optimize", "--use-calibration"], "search"),
    "search only, full pipeline later": (["--optimize", "--mode", "full-pipeline"], "search"),
    "search, then train": (["--optimize", "--auto-continue"], "train"),
    "search, train, calibrate": (
        ["--optimize", "--auto-continue", "--use-calibration"],
        "train calibrate",
    ),
    "everything": (
        ["--optimize", "--auto-continue", "--use-calibration", "--mode", "full-pipeline"],
        "train calibrate submit",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "does"), SEARCHES.values(), ids=list(SEARCHES))
def test_searches(flags: list[str], does: str, competition: Competition, cli: CommandLine) -> None:
    outcome = cli(
        "train", competition.config, *flags, "--n-trials", 2, "--optuna-config", "space.yaml"
    )
    assert outcome.code == 0, outcome.said
    (summary,) = studies()
    assert cli.json(summary)["n_trials"] == 2
    best = [line for line in outcome.out.splitlines() if line.startswith("train it with")]
    run = cli.newest()
    if does == "search":
        assert not run, "a search leaves the runs of the user alone"
        (line,) = best
        assert ("--use-calibration" in line) == ("--use-calibration" in flags)
        words = line.split("sightline ", 1)[1].split()
        assert cli(*words).code == 0, "what it says can be typed"
        assert cli.newest()["status"] == "finished"
        return
    assert not best
    assert run["status"] == "finished"
    assert ("calibrate" in does) == Path(run["path"], "calibration.json").is_file()
    assert ("submit" in does) == bool(submissions())


@pytest.mark.slow
def test_searching_again_goes_on_and_training_starts_anew(
    competition: Competition, cli: CommandLine
) -> None:
    flags = ("--optimize", "--auto-continue", "--n-trials", 2, "--optuna-config", "space.yaml")
    assert cli("train", competition.config, *flags).code == 0
    first = cli.newest()["id"]
    outcome = cli("train", competition.config, *flags)
    assert outcome.code == 0, outcome.said
    assert len(studies()) == 1
    assert cli.newest()["id"] != first


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--auto-continue"], "--auto-continue"),
        (["--n-trials", "3"], "--n-trials"),
        (["--optuna-config", "space.yaml"], "--optuna-config"),
        (["--optimize", "--skip-training", "--auto-continue"], "--skip-training"),
        (["--optimize", "--resume", "latest"], "--resume"),
        (["--config", "other.yaml"], "--config"),
    ],
)
def test_flags_that_make_no_sense_together(
    flags: list[str], named: str, competition: Competition, cli: CommandLine
) -> None:
    said = cli.screen(cli("train", competition.config, *flags), code=2)
    assert named in said
    assert not Path("experiments").exists()


def test_calibration_without_validation_is_refused_before_training(
    competition: Competition, cli: CommandLine
) -> None:
    outcome = cli("train", competition.config, "--use-calibration", "data.folds=0",
                  "data.val_fraction=0")  # fmt: skip
    assert "data.val_fraction" in cli.screen(outcome, code=2)
    assert not Path("experiments").exists()
    # Of a folder it is known only once it was looked at.
    outcome = cli("train", "classify/digits", *cli.tiny, "data.root=pictures",
                  "data.val_fraction=0", "--use-calibration")  # fmt: skip
    assert "validation samples, and there are none" in cli.screen(outcome, code=2)
    assert not Path("experiments").exists()
