"""From pictures to a report, and what a run leaves behind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

CLASSES = ["0_zero", "1_one", "7_seven"]


def test_run_folder_holds_what_the_architecture_says(trained: Path, cli: Any) -> None:
    info = cli.json(trained / "run.json")
    assert re.fullmatch(r"tiny_\d{8}_\d{6}-[0-9a-f]{6}", trained.name)
    assert trained.parent.name == trained.name.split("_")[1]
    assert {file.name for file in (trained / "ckpt").iterdir()} == {
        "best_model.pth",
        "epoch_001.pth",
        "latest_model.pth",
    }
    assert info["status"] == "finished"
    assert info["data"]["classes"] == CLASSES
    assert [info["data"][split] for split in ("train", "val", "test")] == [84, 18, 18]
    assert info["best"]["metric"] == "macro_f1"
    assert info["best"]["epoch"] == 1
    assert info["command"][:3] == ["sightline", "train", "classify/digits"]
    assert all(info["times"][moment] for moment in ("created", "started", "ended"))
    for name in ("config.yaml", "splits.csv", "train_history.json", "report.html"):
        assert (trained / name).stat().st_size > 0
    assert Path("experiments/train/latest-train").resolve() == trained.resolve()


def test_reading_the_sealed_test_is_recorded_each_time(trained: Path, cli: Any) -> None:
    assert len(cli.json(trained / "run.json")["test_reads"]) == 1
    assert cli("evaluate").code == 0
    assert len(cli.json(trained / "run.json")["test_reads"]) == 1, "val is not sealed"
    done = cli("evaluate", "latest", "--split", "test")
    reads = cli.json(trained / "run.json")["test_reads"]
    assert len(reads) == 2
    assert reads[1]["checkpoint"] == "best_model.pth"
    assert reads[1]["command"] == ["sightline", "evaluate", "latest", "--split", "test"]
    assert "read 2 times" in done.out


def test_test_split_is_not_read_unless_asked_for(pictures: Path, cli: Any) -> None:
    done, info = cli.train(f"data.root={pictures}")
    assert info["test_reads"] == []
    assert "test" not in {row["split"] for row in cli.rows(info["path"])}
    assert not (Path(info["path"]) / "predictions" / "test.csv").exists()
    assert "val macro_f1" in done.out
    assert "test macro_f1" not in done.out


def test_metrics_rows_have_the_promised_keys(trained: Path, cli: Any) -> None:
    """CLS-36, CLS-41, CLS-58."""
    epoch, *evaluations = cli.rows(trained)
    promised = {
        "time", "event", "fold", "epoch", "step", "split", "train_loss", "valid_loss", "macro_f1",
        "accuracy", "lr", "time_s", "images_per_s", "mem_MiB", "gpu_mem_MiB",
    }  # fmt: skip
    assert promised <= set(epoch)
    assert (epoch["event"], epoch["epoch"], epoch["split"]) == ("epoch", 1, "val")
    assert epoch["gpu_mem_MiB"] is None or epoch["gpu_mem_MiB"] > 0
    assert [(row["event"], row["split"]) for row in evaluations] == [
        ("evaluate", "val"),
        ("evaluate", "test"),
    ]
    assert all(row["n"] == 18 and 0 <= row["macro_f1"] <= 1 for row in evaluations)


def test_evaluation_agrees_with_the_validation_of_its_epoch(trained: Path, cli: Any) -> None:
    epoch, val, _ = cli.rows(trained)
    assert val["macro_f1"] == pytest.approx(epoch["macro_f1"])
    assert val["accuracy"] == pytest.approx(epoch["accuracy"])


def test_log_has_name_tags_and_last_word(trained: Path, cli: Any) -> None:
    """CLS-25, CLS-26, CLS-28, CLS-29, CLS-32, CLS-38, CLS-39, CLS-53."""
    info = cli.json(trained / "run.json")
    log = Path(info["log"])
    day, clock = trained.name.split("_")[1:3]
    assert log.name == f"train_{day}-{clock[:4]}_{trained.name}_basic.log"
    assert log.parts[-4:-1] == ("logs", day, "train")
    text = log.read_text(encoding="utf-8")
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| ", line) for line in text.splitlines())
    lines = [line.split(" | ", 1)[1] for line in text.splitlines()]
    assert lines[0].startswith(">> Logger started: ")
    assert lines[-2:] == [
        "[EXIT] TRAINING SUCCESS code=0",
        ">> Stopping logger and restoring stdio",
    ]
    assert lines[-3].startswith("[EXIT] training finished successfully (see ")
    assert "[BOOT] training pipeline finished successfully" in lines
    assert "val macro_f1" in text, "the final scores are in the log too"
    for section in ("project", "data", "model", "train", "eval", "output"):
        assert any(line.startswith(f"[CFG] {section}: ") for line in lines)
    assert any(line.startswith("[PATH] OK | root=") for line in lines)
    assert "[DATA] dataset sizes | train=84 valid=18 test=18" in lines
    assert any(
        re.match(r"\[MODEL\] name=test_resnet pooling=avg params\(total/trainable\)=\d+/\d+", line)
        for line in lines
    )
    assert any(re.match(r"\[EPOCH 1\] .*loss=.* lr=", line) for line in lines)
    assert any(re.match(r"NEW_BEST F1=[\d.]+ -> ckpt/best_model.pth", line) for line in lines)
    assert any(line.startswith("[COPY] ") for line in lines)
    assert any(line.startswith("[DONE] best epoch 1") for line in lines)


def test_console_ends_with_what_to_look_at(pictures: Path, cli: Any) -> None:
    done, info = cli.train(f"data.root={pictures}")
    assert done.out.splitlines()[-2:] == [
        f"run {info['path']}",
        f"report {info['path']}/report.html",
    ]
    expected = f"[EXIT] training finished successfully (see {info['log']} for details)"
    assert done.err.splitlines()[-2:] == [expected, "[EXIT] TRAINING SUCCESS code=0"]


def test_report_shows_mistakes_and_log(trained: Path, cli: Any) -> None:
    done = cli("report", "latest")
    page = Path(done.out.strip()).read_text(encoding="utf-8")
    wrong = [
        row
        for row in cli.table(trained / "predictions" / "test.csv")
        if row["target"] != row["prediction"]
    ]
    assert wrong, "one epoch makes mistakes, or this test sees nothing"
    assert page.count("data:image/") >= min(len(wrong), 24)
    assert "dataset sizes | train=84" in page


def test_predictions_name_each_picture_below_the_data_root(trained: Path, cli: Any) -> None:
    rows = cli.table(trained / "predictions" / "val.csv")
    assert list(rows[0])[:5] == ["id", "path", "target", "prediction", "confidence"]
    assert list(rows[0])[5:] == [f"prob_{name}" for name in CLASSES]
    root = Path(cli.json(trained / "run.json")["data"]["root"])
    assert all((root / row["path"]).is_file() and row["path"] == row["id"] for row in rows)
    assert all(abs(sum(float(row[f"prob_{c}"]) for c in CLASSES) - 1) < 1e-4 for row in rows)


def test_predict_writes_csv_and_json_alike(trained: Path, cli: Any, tmp_path: Path) -> None:
    first = sorted(Path("pictures/0_zero").iterdir())[0]
    # The same picture twice, by itself and by its folder, is one row.
    for name in ("p.csv", "deep/er/p.json"):
        done = cli("predict", "latest", first, "pictures", "--out", name)
        assert done.code == 0, done.said
        assert done.out == f"120 predictions in {name}\n"
    table = cli.table("p.csv")
    records = json.loads(Path("deep/er/p.json").read_text())
    assert [row["id"] for row in table] == [row["id"] for row in records]
    assert table[0]["id"] == str(first)
    assert float(table[5]["confidence"]) == pytest.approx(records[5]["confidence"])
    Path("list.csv").write_text(f"image\n{first}\n")
    assert cli("predict", "latest", "list.csv", "--out", "q.csv").code == 0
    assert Path("q.csv").read_text().splitlines()[1] == Path("p.csv").read_text().splitlines()[1]


def test_prediction_agrees_with_evaluation(trained: Path, cli: Any) -> None:
    assert cli("predict", "latest", "pictures", "--out", "p.csv").code == 0
    said = {row["id"]: row["prediction"] for row in cli.table("p.csv")}
    rows = cli.table(trained / "predictions" / "test.csv")
    assert [said[f"pictures/{row['id']}"] for row in rows] == [row["prediction"] for row in rows]


def test_plot_and_list(trained: Path, cli: Any) -> None:
    files = [Path(line) for line in cli("plot").out.splitlines()]
    assert {file.name for file in files} >= {"curves.png", "curves.csv", "confusion_test.png"}
    assert all(file.stat().st_size > 0 for file in files)
    table = cli("list").out.splitlines()
    assert table[0].split() == ["RUN", "TASK", "STATUS", "BEST", "EPOCH"]
    assert table[1].split()[:3] == [trained.name, "classify", "finished"]
    (row,) = json.loads(cli("list", "--json").out)
    assert row["id"] == trained.name
    assert cli("list", "--exp-dir", "elsewhere").out.startswith("no runs in ")


def test_evaluate_prints_json_alone(trained: Path, cli: Any) -> None:
    scores = json.loads(cli("evaluate", trained.name[:12], "--json").out)
    assert scores["n"] == 18
    headline = scores["headline"]["macro_f1"]
    assert headline["low"] <= headline["value"] <= headline["high"]


def test_saved_config_repeats_the_run(trained: Path, cli: Any) -> None:
    """CLS-24: the snapshot is the complete recipe."""
    done = cli("train", trained / "config.yaml", "--test")
    assert done.code == 0, done.said
    again = Path(cli.newest()["path"])
    assert again != trained
    timed = ("time", "time_s", "images_per_s", "mem_MiB")
    first, second = (
        [{key: value for key, value in row.items() if key not in timed} for row in cli.rows(run)]
        for run in (trained, again)
    )
    assert first == second
    assert (again / "splits.csv").read_text() == (trained / "splits.csv").read_text()


def test_without_validation_the_last_epoch_is_best(pictures: Path, cli: Any) -> None:
    done, info = cli.train(f"data.root={pictures}", "data.val_fraction=0", "train.epochs=2")
    assert info["best"] == {"metric": None, "value": None, "epoch": 2}
    assert "[DONE] best epoch 2 (the last one: there was no validation) of 2" in done.err
    assert "val macro_f1" not in done.out
    page = (Path(info["path"]) / "report.html").read_text(encoding="utf-8")
    assert "the one with the" not in page, "nothing was chosen by a score"
    screen = cli.screen(cli("evaluate"), code=1)
    assert "no val samples" in screen
    assert "data.val_fraction" in screen


def test_no_epochs_evaluates_the_initial_weights(pictures: Path, cli: Any) -> None:
    done, info = cli.train(f"data.root={pictures}", "train.epochs=0", "--test")
    assert "nothing was trained" in done.err
    assert info["best"]["epoch"] == 0
    assert "test macro_f1" in done.out
    more = cli("train", "--resume", info["id"], "train.epochs=1", "--resume-anyway", "train.epochs")
    assert more.code == 0, more.said
    assert cli.newest()["best"]["epoch"] == 1


def test_one_fold_is_held_out(pictures: Path, cli: Any) -> None:
    """CLS-31, CLS-37 for one fold."""
    done, info = cli.train(f"data.root={pictures}", "data.folds=5", "data.valid_fold=2")
    assert re.search(r"\[FOLD\] distribution=\{.*2: \d+", done.err)
    assert {row["fold"] for row in cli.rows(info["path"])} == {2}
    rows = cli.table(Path(info["path"]) / "splits.csv")
    assert {row["fold"] for row in rows if row["split"] == "val"} == {"2"}
    assert "2" not in {row["fold"] for row in rows if row["split"] == "fit"}


def test_folders_of_splits_are_used_as_they_are(pictures: Path, cli: Any) -> None:
    root = Path("given")
    for name in CLASSES:
        files = sorted((pictures / name).iterdir())
        for split, part in (("train", files[:24]), ("val", files[24:32]), ("test", files[32:])):
            (root / split / name).mkdir(parents=True)
            for file in part:
                shutil.copy2(file, root / split / name)
    _, info = cli.train("data.root=given", "--test")
    assert [info["data"][split] for split in ("train", "val", "test")] == [72, 24, 24]
    rows = cli.table(Path(info["path"]) / "predictions" / "test.csv")
    assert all(row["path"].startswith("test/") for row in rows)
    assert (Path(info["path"]) / "report.html").read_text().count("data:image/") > 0


def test_table_of_ids_without_extension(pictures: Path, cli: Any) -> None:
    """CLS-21, CLS-22, CLS-48."""
    lines = ["ID,target"]
    for name in CLASSES:
        for number, file in enumerate(sorted((pictures / name).iterdir())):
            # With and without extension; .jpg is tried first and does not exist.
            file = f"{name}/{file.name if number % 2 else file.stem}"
            lines.append(f"{file},{name}")
    Path("train.csv").write_text("\n".join(lines) + "\n")
    done, info = cli.train("data.train_csv=train.csv", f"data.image_dir_train={pictures}")
    assert f"train_csv={Path('train.csv').absolute()}" in done.err
    assert f"image_dir_train={pictures}" in done.err
    assert sum(info["data"][split] for split in ("train", "val", "test")) == 120
    page = (Path(info["path"]) / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/") > 0


def test_split_then_train_on_the_manifest(pictures: Path, cli: Any) -> None:
    done = cli("split", pictures, "--out", "splits.csv", "data.test_fraction=0.25")
    assert done.code == 0, done.said
    assert "test 30" in done.out
    _, info = cli.train("data.manifest=splits.csv")
    assert info["data"]["test"] == 30
    page = (Path(info["path"]) / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/") > 0
    victim = sorted((pictures / "0_zero").iterdir())[0]
    shutil.copy2(sorted((pictures / "1_one").iterdir())[0], victim)
    done, _ = cli.train("data.manifest=splits.csv", code=1)
    assert victim.name in cli.screen(done, code=1)
    assert "data.verify_files=false" in cli.screen(done, code=1)


def test_demo_stays_in_its_folder(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sightline.categories

    asked: list[Any] = []
    monkeypatch.setattr(sightline.categories, "run_pipeline", asked.append)
    assert cli("demo").code == 0
    assert asked[0].source == "classify/digits"
    assert {one.split("=")[1].split("/")[0] for one in asked[0].overrides} == {"demo"}
    assert asked[0].plan.test is True


@pytest.mark.slow
def test_demo_from_end_to_end(cli: Any) -> None:
    done = cli("demo")
    assert done.code == 0, done.said
    assert sorted(path.name for path in Path().iterdir()) == ["demo"]
    value = float(re.search(r"test macro_f1 ([\d.]+)", done.out)[1])  # type: ignore[index]
    assert value >= 0.97
