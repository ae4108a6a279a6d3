"""Cross-validation in one run: the same models as single folds, resumable, answering together."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml

if TYPE_CHECKING:
    from tests.cli.conftest import CommandLine

FOLDS = ("data.folds=3", "data.valid_fold=all")


def weights(file: Path) -> dict[str, Any]:
    return dict(torch.load(file, weights_only=True)["model"])


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def fold_results(run: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((run / "fold_results.yaml").read_text(encoding="utf-8")))


def test_a_fold_is_what_a_run_of_that_fold_alone_is(folds_run: Path, cli: CommandLine) -> None:
    _, alone = cli.train("data.root=pictures", "data.folds=3", "data.valid_fold=1")
    single = Path(alone["path"])
    assert same(weights(folds_run / "ckpt/best_fold1.pth"), weights(single / "ckpt/best_model.pth"))
    assert (single / "ckpt/best_fold1.pth").samefile(single / "ckpt/best_model.pth")
    ours = [r for r in cli.rows(folds_run) if r["event"] == "epoch" and r["fold"] == 1]
    theirs = [r for r in cli.rows(single) if r["event"] == "epoch"]
    keys = ("epoch", "step", "train_loss", "valid_loss", "macro_f1", "accuracy", "lr")
    assert [[r[k] for k in keys] for r in ours] == [[r[k] for k in keys] for r in theirs]


def test_out_of_fold_rows_are_those_of_the_model_that_did_not_see_them(
    folds_run: Path, cli: CommandLine
) -> None:
    logits = np.load(folds_run / "oof/oof_logits.npy")
    targets = np.load(folds_run / "oof/oof_targets.npy")
    rows = cli.table(folds_run / "oof/oof_ids.csv")
    splits = {r["id"]: r for r in cli.table(folds_run / "splits.csv")}
    names = cli.newest()["data"]["classes"]
    trained_on = [one for one, r in splits.items() if r["split"] != "test"]
    assert [r["id"] for r in rows] == trained_on, "in the order of the table"
    assert logits.shape == (len(rows), 3)
    assert logits.dtype == np.float32
    assert [names[t] for t in targets] == [splits[r["id"]]["label"] for r in rows]
    assert [r["fold"] for r in rows] == [splits[r["id"]]["fold"] for r in rows]

    for fold in range(3):
        held = [number for number, r in enumerate(rows) if r["fold"] == str(fold)]
        out = Path(f"alone{fold}.csv")
        files = [str(Path("pictures", rows[n]["id"])) for n in held]
        done = cli(
            "predict", "latest", *files, "--out", out, "--checkpoint", f"best_fold{fold}.pth"
        )
        assert done.code == 0, done.said
        said = [[float(r[f"prob_{name}"]) for name in names] for r in cli.table(out)]
        shifted = np.exp(logits[held] - logits[held].max(axis=1, keepdims=True))
        np.testing.assert_allclose(said, shifted / shifted.sum(axis=1, keepdims=True), atol=1e-5)


def test_fold_results_and_the_last_row_of_the_history(folds_run: Path, cli: CommandLine) -> None:
    results = fold_results(folds_run)
    scores = [one["best_f1"] for one in results["fold_results"]]
    assert [one["fold"] for one in results["fold_results"]] == [0, 1, 2]
    assert results["average_f1"] == pytest.approx(sum(scores) / 3)
    assert results["std_f1"] == pytest.approx(np.std(scores, ddof=1))
    assert sum(one["n_val"] for one in results["fold_results"]) == results["oof"]["macro_f1"]["n"]
    assert all((folds_run / one["model_path"]).is_file() for one in results["fold_results"])
    assert not list(folds_run.rglob(".*")), "nothing half-written is left"

    targets = np.load(folds_run / "oof/oof_targets.npy")
    hits = np.load(folds_run / "oof/oof_logits.npy").argmax(axis=1) == targets
    row = next(r for r in reversed(cli.rows(folds_run)) if r["event"] == "oof")
    assert (row["fold"], row["epoch"], row["n"]) == ("all", -1, len(targets))
    assert row["oof_accuracy"] == pytest.approx(hits.mean())


def test_the_test_is_answered_by_the_mean_of_the_folds(folds_run: Path, cli: CommandLine) -> None:
    names = cli.newest()["data"]["classes"]
    together = cli.table(folds_run / "predictions/test.csv")
    files = [str(Path("pictures", r["path"])) for r in together]
    parts = []
    for fold in range(3):
        checkpoint = f"best_fold{fold}.pth"
        cli("predict", "latest", *files, "--out", f"{fold}.csv", "--checkpoint", checkpoint)
        parts.append(
            [[float(r[f"prob_{name}"]) for name in names] for r in cli.table(f"{fold}.csv")]
        )
    said = [[float(r[f"prob_{name}"]) for name in names] for r in together]
    np.testing.assert_allclose(said, np.mean(parts, axis=0), atol=2e-6)


def test_a_missing_fold_is_named_and_nothing_is_written(folds_run: Path, cli: CommandLine) -> None:
    (folds_run / "ckpt/best_fold1.pth").unlink()
    before = (folds_run / "predictions/test.csv").read_bytes()
    outcome = cli("evaluate", "latest", "--split", "test")
    said = cli.screen(outcome, code=1)
    assert "best_fold1.pth" in said
    assert "best_fold0.pth" in said
    assert (folds_run / "predictions/test.csv").read_bytes() == before
    assert cli("predict", "latest", "pictures", "--out", "p.csv").code == 1
    assert not Path("p.csv").exists()


def test_a_killed_run_goes_on_with_its_first_unfinished_fold(
    folds_run: Path, cli: CommandLine
) -> None:
    command = [sys.executable, "-m", "sightline", "train", "classify/digits", *cli.tiny]
    process = subprocess.Popen(
        [*command, "data.root=pictures", *FOLDS, "train.epochs=12", "output.exp_dir=killed"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    try:
        while not list(Path("killed").glob("*/*/ckpt/fold1/latest_model.pth")):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    run = Path(cli.newest("killed")["path"])
    finished = fold_results(run)["fold_results"]
    assert [one["fold"] for one in finished] == [0]
    first = (run / "ckpt/best_fold0.pth").stat().st_mtime_ns

    outcome = cli("train", "--resume", "output.exp_dir=killed")
    assert outcome.code == 0, outcome.said
    assert "fold 0 was finished before" in outcome.said
    assert (run / "ckpt/best_fold0.pth").stat().st_mtime_ns == first
    cli("train", "classify/digits", *cli.tiny, "data.root=pictures", *FOLDS, "train.epochs=12",
        "output.exp_dir=whole")  # fmt: skip
    whole = Path(cli.newest("whole")["path"])
    for fold in range(3):
        name = f"ckpt/best_fold{fold}.pth"
        assert same(weights(run / name), weights(whole / name)), f"fold {fold} differs"
    keys = ("fold", "epoch", "step", "macro_f1")
    epochs = [
        [[r[key] for key in keys] for r in cli.rows(one) if r["event"] == "epoch"]
        for one in (run, whole)
    ]
    assert epochs[0] == epochs[1]


def test_too_few_pictures_for_the_folds(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    few = sorted((pictures / "7_seven").iterdir())
    for file in few[2:]:
        file.unlink()
    outcome = cli("train", "classify/digits", *cli.tiny, "data.root=pictures", "data.folds=5",
                  "data.valid_fold=all", "data.test_fraction=0")  # fmt: skip
    said = cli.screen(outcome, code=1)
    assert "7_seven (2)" in said
    assert "data.folds=2" in said
    assert not Path("experiments").exists()


def test_a_group_in_two_folds_is_a_leak(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["ID,target,fold,page"]
    for folder in sorted(pictures.iterdir()):
        for number, file in enumerate(sorted(folder.iterdir())):
            page = f"{folder.name}-{number // 3}"
            lines.append(f"{folder.name}/{file.name},{folder.name},{number % 2},{page}")
    Path("train.csv").write_text("\n".join(lines) + "\n")
    outcome = cli("train", "classify/digits", *cli.tiny, "data.train_csv=train.csv",
                  "data.image_dir_train=pictures", "data.folds=2", "data.fold_col=fold",
                  "data.group_col=page", "data.valid_fold=all", "data.test_fraction=0")  # fmt: skip
    said = cli.screen(outcome, code=1)
    assert "groups lie in several folds" in said
    assert "0_zero-0" in said


def test_a_class_that_validation_lacks(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in sorted(pictures.iterdir()):
        for number, file in enumerate(sorted(folder.iterdir())):
            split = "val" if number < 8 and folder.name != "1_one" else "train"
            target = Path("parted", split, folder.name, file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
    outcome = cli("train", "classify/digits", *cli.tiny, "data.root=parted")
    said = cli.screen(outcome, code=1)
    assert "1_one" in said
    assert "data.on_unvalidated_class=note" in said
    meant, _ = cli.train("data.root=parted", "data.on_unvalidated_class=note")
    assert "validation has no sample of: 1_one" in meant.said
