"""Calibrating a run: which rows are used, what is written, and what is refused afterwards."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sightline.calibrate import calibrate_logits, calibrate_run
from sightline.commands.calibrate import calibrate as command
from sightline.errors import DataError, RunError
from sightline.metrics.calibration import expected_calibration_error, log_softmax
from sightline.metrics.calibrators import Temperature, VectorScaling, fit_temperature
from sightline.runs import RunFolder, file_hash, read_rows
from sightline.trained.calibrated import read_calibration
from sightline.trained.saved_logits import Rows, read_saved_logits

NAMES = ("cat", "dog", "owl")


def proud(n: int, seed: int = 0, pride: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, len(NAMES))) * 2
    targets = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return (logits * pride).astype(np.float32), targets


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([columns, *rows])


def make_run(n: int, groups: Sequence[str] = (), folds: int = 0) -> RunFolder:
    """A run folder with checkpoints and a table of samples, as training leaves them."""
    data = f"{{folds: {folds}, valid_fold: all}}" if folds else "{}"
    text = f"task: classify\nproject: {{seed: 5}}\ndata: {data}\n"
    run = RunFolder.create(
        Path("exp"), name="r", task="classify", command=[], config_text=text, seeds={}
    )
    names = [f"best_fold{fold}.pth" for fold in range(folds)] or ["best_model.pth"]
    for name in names:
        (run.ckpt / name).write_bytes(b"weights of " + name.encode())
        os.utime(run.ckpt / name, (1e9, 1e9))
    rows = [
        [
            f"i{k}",
            f"i{k}.png",
            "cat",
            groups[k] if groups else "",
            "",
            "val",
            k % folds if folds else "",
            "",
        ]
        for k in range(n)
    ]
    write_csv(
        run.path / "splits.csv",
        ["id", "path", "label", "group", "camera", "split", "fold", "mask"],
        rows,
    )
    return run


def write_val(run: RunFolder, logits: np.ndarray, targets: np.ndarray, **about: Any) -> None:
    """What `evaluate` writes, in its format."""
    rows = [[f"i{k}", f"i{k}.png", NAMES[t], "cat", 0.5] for k, t in enumerate(targets)]
    write_csv(
        run.predictions / "val.csv", ["id", "path", "target", "prediction", "confidence"], rows
    )
    files = {f"ckpt/{one.name}": file_hash(one) for one in run.ckpt.glob("*.pth")}
    facts = {"checkpoint": "best_model.pth", "class_names": NAMES, "files": files} | about
    (run.predictions / "val.metrics.json").write_text(json.dumps(facts))
    np.save(run.predictions / "val.logits.npy", logits)


def write_oof(run: RunFolder, logits: np.ndarray, targets: np.ndarray, folds: int) -> None:
    write_val(run, logits, targets, checkpoint="best_fold0.pth, best_fold1.pth")
    write_csv(
        run.path / "oof" / "oof_ids.csv",
        ["id", "fold"],
        [[f"i{k}", k % folds] for k in range(len(targets))],
    )
    np.save(run.path / "oof" / "oof_logits.npy", logits)
    np.save(run.path / "oof" / "oof_targets.npy", targets)


def test_a_single_model_is_calibrated_on_its_validation_rows() -> None:
    run = make_run(300)
    logits, targets = proud(300)
    write_val(run, logits, targets)
    said: list[str] = []
    found = calibrate_run(run, "temperature", said.append)
    assert said == []
    assert found.member("best_model.pth") == fit_temperature(logits, targets)
    assert found.after["ece"] < 0.6 * found.before["ece"]
    assert found.after["nll"] < found.before["nll"]
    assert found.after["accuracy"] == found.before["accuracy"], "a temperature keeps every answer"
    probabilities = np.exp(log_softmax(logits))
    assert found.before["ece"] == pytest.approx(expected_calibration_error(probabilities, targets))

    plain = json.loads((run.path / "calibration.json").read_text())
    assert plain["method"] == "temperature"
    assert (plain["split"], plain["n"], plain["ensemble"]) == ("val", 300, None)
    member = plain["members"]["best_model.pth"]
    assert member["temperature"] == pytest.approx(3, rel=0.25)
    assert member["adopted"] is True
    assert len(member["sha256"]) == 64
    assert plain["version"]
    assert [one["n"] for one in plain["bins_before"]] != [one["n"] for one in plain["bins_after"]]
    assert sum(one["n"] for one in plain["bins_after"]) == 300
    (row,) = read_rows(run.metrics_file)
    assert row["event"] == "calibrate"
    assert row["ece_after"] == plain["after"]["ece"]

    read = read_calibration(run)
    assert read is not None
    assert read.as_dict() == found.as_dict()
    assert read.member("best_model.pth") == found.member("best_model.pth")


def test_the_numbers_after_are_not_those_of_the_fit_itself() -> None:
    logits, targets = proud(60, seed=3)
    found = calibrate_logits({"m": Rows(logits, targets)}, None, "temperature", 0)
    itself = log_softmax(fit_temperature(logits, targets).apply(logits))
    own = -itself[np.arange(60), targets].mean()
    assert found.after["nll"] > own


def test_a_calibration_repeats() -> None:
    rows = Rows(*proud(80, seed=1))
    first, second = (calibrate_logits({"m": rows}, None, "vector", 7) for _ in range(2))
    assert first.as_dict() == second.as_dict()


def test_a_well_calibrated_model_stays_and_that_is_said() -> None:
    run = make_run(200)
    logits, targets = proud(200, seed=4, pride=1.0)
    write_val(run, logits, targets)
    said: list[str] = []
    found = calibrate_run(run, say=said.append)
    assert found.member("best_model.pth") == Temperature(1.0)
    assert not found.members["best_model.pth"].adopted
    assert found.after == found.before
    assert said == [f"best_model.pth stays as it is: {found.members['best_model.pth'].why}"]


def test_each_fold_is_calibrated_on_the_rows_it_did_not_see() -> None:
    run = make_run(400, folds=2)
    logits, targets = proud(400)
    logits[1::2] *= 2  # the second fold's model is twice as proud
    write_oof(run, logits, targets, folds=2)
    found = calibrate_run(run, say=print)
    assert (found.split, found.n, list(found.members)) == (
        "oof",
        400,
        ["best_fold0.pth", "best_fold1.pth"],
    )
    for fold in range(2):
        expected = fit_temperature(logits[fold::2], targets[fold::2])
        assert found.member(f"best_fold{fold}.pth") == expected
        assert found.members[f"best_fold{fold}.pth"].n == 200
    (run.ckpt / "fold1").mkdir()
    os.link(run.ckpt / "best_fold1.pth", run.ckpt / "fold1" / "best_model.pth")
    read = read_calibration(run)
    assert read is not None
    assert read.member("fold1/best_model.pth") == found.member("best_fold1.pth")


def test_an_ensemble_gets_one_calibrator_for_the_mean() -> None:
    run = make_run(300)
    listed = {"members": [{"run": "../member", "checkpoint": None, "weight": 1.0}]}
    (run.path / "ensemble.json").write_text(json.dumps(listed))
    logits, targets = proud(300, pride=2.0)
    write_val(run, logits, targets)
    found = calibrate_run(run)
    assert not found.members
    assert found.ensemble == fit_temperature(logits, targets)
    read = read_calibration(run)
    assert read is not None
    assert read.ensemble == found.ensemble
    (run.path / "ensemble.json").write_text(json.dumps({"members": [{}]}))
    with pytest.raises(RunError, match="another ensemble"):
        _ = read.ensemble


def test_an_ensemble_of_calibrated_members_needs_their_calibrated_mean() -> None:
    member, run = make_run(4), make_run(300)
    listed = {"members": [{"run": str(member.path), "checkpoint": None, "weight": 1.0}]}
    (run.path / "ensemble.json").write_text(json.dumps(listed))
    (member.path / "calibration.json").write_text("{}")
    write_val(run, *proud(300))
    with pytest.raises(RunError, match="uncalibrated members"):
        calibrate_run(run)
    used = [member.ckpt / "best_model.pth", member.path / "calibration.json"]
    files = {os.path.relpath(file, run.path): file_hash(file) for file in used}
    write_val(run, *proud(300), files=files)
    assert calibrate_run(run).combined is not None
    for file in used:
        before = file.read_bytes()
        file.write_bytes(b"{ }")
        with pytest.raises(DataError, match=f"of another {file.name}"):
            calibrate_run(run)
        file.write_bytes(before)


def test_calibrators_that_together_raise_the_ece_are_taken_back() -> None:
    """Errors of a timid and a proud fold cancel; each alone is worth correcting, both are not."""
    members = {
        "timid": Rows(*proud(150, seed=3, pride=0.7)),
        "proud": Rows(*proud(150, seed=103, pride=1 / 0.7)),
    }
    alone = [calibrate_logits({n: rows}, None, "temperature", 0) for n, rows in members.items()]
    assert all(one.members[name].adopted for one, name in zip(alone, members, strict=True))
    found = calibrate_logits(members, None, "temperature", 0)
    assert found.after == found.before
    assert found.bins_after == found.bins_before
    for one in found.members.values():
        assert (one.adopted, one.calibrator) == (False, Temperature(1.0))
        assert "the ECE of all rows rises" in one.why
    assert len(found.notes) == 2


def test_vector_scaling_is_saved_by_class() -> None:
    run = make_run(400)
    logits, targets = proud(400)
    write_val(run, logits + np.array([4.0, 0, 0], np.float32), targets)
    found = calibrate_run(run, "vector")
    scaling = found.member("best_model.pth")
    assert isinstance(scaling, VectorScaling)
    assert len(scaling.scale) == len(scaling.bias) == 3
    assert found.after["accuracy"] > found.before["accuracy"]
    read = read_calibration(run)
    assert read is not None
    assert read.member("best_model.pth") == scaling


def test_vector_scaling_names_the_class_without_images() -> None:
    run = make_run(40)
    logits, targets = proud(40)
    write_val(run, logits, np.where(targets == 2, 0, targets))
    with pytest.raises(DataError, match="owl"):
        calibrate_run(run, "vector")
    assert calibrate_run(run, "temperature").n == 40, "a temperature does not need every class"


def test_a_handful_of_images_changes_nothing() -> None:
    run = make_run(6)
    write_val(run, *proud(6, pride=9))
    said: list[str] = []
    found = calibrate_run(run, say=said.append)
    assert found.member("best_model.pth") == Temperature(1.0)
    assert "too few" in said[0]


def test_groups_are_read_from_the_splits() -> None:
    run = make_run(60, groups=[f"g{k // 20}" for k in range(60)])
    write_val(run, *proud(60))
    rows = read_saved_logits(run).members["best_model.pth"]
    assert rows.groups is not None
    assert np.bincount(rows.groups).tolist() == [20, 20, 20]
    assert "too few" in calibrate_run(run).members["best_model.pth"].why


def test_no_rows_at_all_is_an_error() -> None:
    empty = Rows(np.empty((0, 3), np.float32), np.empty(0, np.int64))
    with pytest.raises(DataError, match="no validation images"):
        calibrate_logits({"m": empty}, None, "temperature", 0)
    with pytest.raises(DataError, match="nothing to calibrate"):
        calibrate_logits({}, None, "temperature", 0)


def test_a_calibration_of_an_older_checkpoint_is_refused() -> None:
    run = make_run(100)
    write_val(run, *proud(100))
    calibrate_run(run)
    (run.ckpt / "epoch_010.pth").write_bytes(b"other weights")
    read = read_calibration(run)
    assert read is not None
    with pytest.raises(RunError, match="not for the checkpoint epoch_010"):
        read.member("epoch_010.pth")
    (run.ckpt / "best_model.pth").write_bytes(b"trained on")
    with pytest.raises(RunError, match=r"(?s)another best_model.pth.*sightline calibrate"):
        read.member("best_model.pth")


def test_logits_of_another_checkpoint_are_refused_and_dates_say_nothing() -> None:
    run = make_run(100)
    write_val(run, *proud(100))
    # As after `cp -r`, unzip or git: every date is another.
    os.utime(run.ckpt / "best_model.pth", (4e9, 4e9))
    calibrate_run(run)
    (run.path / "calibration.json").unlink()
    (run.ckpt / "best_model.pth").write_bytes(b"trained on")
    os.utime(run.ckpt / "best_model.pth", (1e9, 1e9))
    with pytest.raises(DataError, match=r"(?s)of another best_model.pth.*sightline evaluate"):
        calibrate_run(run)
    (run.ckpt / "best_model.pth").unlink()
    with pytest.raises(DataError, match="is gone"):
        calibrate_run(run)
    assert not (run.path / "calibration.json").exists()


@pytest.mark.parametrize("gone", ["val.csv", "val.logits.npy", "val.metrics.json"])
def test_missing_and_damaged_files_say_what_to_do(gone: str) -> None:
    run = make_run(50)
    write_val(run, *proud(50))
    content = (run.predictions / gone).read_bytes()
    (run.predictions / gone).unlink()
    with pytest.raises(DataError, match="sightline evaluate"):
        calibrate_run(run)
    (run.predictions / gone).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="sightline evaluate"):
        calibrate_run(run)


def test_a_run_without_calibration_has_none_and_a_broken_one_is_an_error() -> None:
    run = make_run(50)
    assert read_calibration(run) is None
    for text in ("{", "[]", '{"method": "temperature"}'):
        (run.path / "calibration.json").write_text(text)
        with pytest.raises(RunError, match="cannot be read"):
            read_calibration(run)


def test_the_command_shows_before_and_after() -> None:
    run = make_run(300)
    write_val(run, *proud(300))
    shown = CliRunner().invoke(command, [str(run.path)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "BEFORE" in shown.output
    assert "1 of 1 adopted" in shown.output
    as_json = CliRunner().invoke(command, [str(run.path), "--json"], catch_exceptions=False)
    assert json.loads(as_json.stdout)["members"]["best_model.pth"]["adopted"] is True


def test_the_page_runs_as_printed(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (repository / "docs" / "calibration.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.S)
    random = np.random.default_rng(0)
    rows = [
        ["a" if right else "b", "a", sure]
        for sure, right in ((sure, random.random() < sure) for sure in random.uniform(0.5, 1, 600))
    ]
    write_csv(Path("predictions") / "val.csv", ["target", "prediction", "confidence"], rows)
    exec(compile(program, "calibration.md", "exec"), {})
    assert re.fullmatch(
        r"\d+% of the images get .* from confidence 0\.\d{3} up\n", capsys.readouterr().out
    )
