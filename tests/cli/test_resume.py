"""Going on with a run: which one, with which configuration, and with which rates."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import Interrupted
from sightline.experiment.recording import logged
from sightline.runs import RunFolder
from sightline.trained import run_config


def longer(cli: Any, run: Path, *settings: object, code: int = 0) -> Any:
    done = cli("train", "--resume", run.name, *settings)
    assert done.code == code, done.said
    return done


def mark(run: Path, **fields: Any) -> None:
    """Change run.json by hand."""
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | fields))


def test_finished_run_is_not_resumed(trained: Path, cli: Any) -> None:
    before = (trained / "ckpt" / "latest_model.pth").read_bytes()
    screen = cli.screen(longer(cli, trained, code=1), code=1)
    assert "finished" in screen
    assert "--resume-anyway train.epochs" in screen
    assert (trained / "ckpt" / "latest_model.pth").read_bytes() == before
    screen = cli.screen(cli("train", "--resume"), code=1)
    assert "no unfinished run" in screen


def test_changed_config_is_refused_with_every_difference(trained: Path, cli: Any) -> None:
    config = (trained / "config.yaml").read_text()
    done = longer(cli, trained, "train.epochs=2", "train.lr=0.5", "data.augment.flip=0.5", code=1)
    screen = cli.screen(done, code=1)
    for line in ("train.epochs: 1 -> 2", "train.lr: 0.003 -> 0.5", "data.augment.flip: 0.0 -> 0.5"):
        assert line in screen
    assert "--resume-anyway train.epochs" in " ".join(screen.split())
    assert (trained / "config.yaml").read_text() == config
    # One of the three is meant: the other two are still refused.
    some = longer(cli, trained, "train.epochs=2", "train.lr=0.5", "--resume-anyway", "train.epochs",
                  code=1)  # fmt: skip
    assert "train.lr: 0.003 -> 0.5" in some.err
    assert "train.epochs: 1 -> 2" not in some.err


def test_many_differences_still_fit_a_screen(trained: Path, cli: Any) -> None:
    (trained.parent / "other.yaml").write_text("recipe: classify/basic\ndata: {root: elsewhere}\n")
    done = cli("train", trained.parent / "other.yaml", "--resume", trained.name)
    assert "more lines" in cli.screen(done, code=1)


def test_meant_changes_go_on_and_are_kept(trained: Path, cli: Any) -> None:
    wanted = ("train.epochs=3", "--resume-anyway", "train.epochs")
    done = longer(cli, trained, *wanted)
    assert "resumed after epoch 1" in done.err
    rows = [row for row in cli.rows(trained) if row["event"] == "epoch"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    info = cli.json(trained / "run.json")
    assert info["status"] == "finished"
    assert info["best"]["epoch"] in (1, 2, 3)
    assert "epochs: 1\n" in info["earlier_configs"][0]
    assert "epochs: 3\n" in (trained / "config.yaml").read_text()
    assert Path(info["data"]["root"]) == Path("pictures").absolute()
    assert list(Path("experiments/train").glob("2*/*")) == [trained.relative_to(Path.cwd())]
    # The same command again, as a script that restarts would give it.
    assert "nothing to resume" in longer(cli, trained, *wanted, code=1).err


def test_change_of_rates_is_in_force(trained: Path, cli: Any) -> None:
    longer(
        cli, trained, "train.epochs=2", "train.lr=0.0001", "train.weight_decay=0.2",
        *(word for key in ("epochs", "lr", "weight_decay")
          for word in ("--resume-anyway", f"train.{key}")),
    )  # fmt: skip
    rows = [row for row in cli.rows(trained) if row["event"] == "epoch"]
    assert rows[1]["lr"] <= 0.0001
    state = torch.load(trained / "ckpt" / "latest_model.pth", weights_only=True)
    groups = {group["name"]: group for group in state["optimizers"][0]["param_groups"]}
    assert {group["initial_lr"] for group in groups.values()} == {0.0001}
    assert groups["all/decayed"]["weight_decay"] == 0.2
    assert groups["all/plain"]["weight_decay"] == 0.0


def test_rates_stay_as_saved_without_a_change(trained: Path, cli: Any) -> None:
    """What a scheduler or a hook moved must not be reset by a resume."""
    path = trained / "ckpt" / "latest_model.pth"
    state = torch.load(path, weights_only=True)
    for group in state["optimizers"][0]["param_groups"]:
        group["betas"] = (0.8, 0.99)
        group["weight_decay"] = 0.03
    torch.save(state, path)
    longer(cli, trained, "train.epochs=2", "--resume-anyway", "train.epochs")
    group = torch.load(path, weights_only=True)["optimizers"][0]["param_groups"][0]
    assert group["betas"] == (0.8, 0.99)
    assert group["weight_decay"] == 0.03


def test_optimizer_cannot_be_swapped(trained: Path, cli: Any) -> None:
    done = longer(cli, trained, "train.optimizer=sgd", "--resume-anyway", "train", code=1)
    assert "train.optimizer cannot change" in cli.screen(done, code=1)


def test_misspelt_permission_is_refused(trained: Path, cli: Any) -> None:
    done = longer(cli, trained, "train.epochs=2", "--resume-anyway", "train.epoch", code=2)
    assert "did you mean train.epochs?" in cli.screen(done, code=2)


def test_latest_is_the_newest_unfinished_run(trained: Path, pictures: Path, cli: Any) -> None:
    # The finished run is newer than the failed one.
    _, failed = cli.train("data.root=pictures", "train.optimizer=nosuch", code=2)
    _, newer = cli.train("data.root=pictures")
    assert newer["status"] == "finished"
    assert failed["status"] == "failed"
    mark(trained, status="stopped")
    done = cli("train", "--resume", "train.epochs=1")
    # Its own configuration is at fault, so it fails again: but it was the one that was chosen.
    assert failed["id"] in done.err
    assert "nosuch" in done.err


def test_interrupted_run_is_resumed_without_a_name(trained: Path, cli: Any) -> None:
    mark(trained, status="stopped", stop_reason="SIGTERM")
    done = cli("train", "--resume")
    assert done.code == 0, done.said
    assert cli.json(trained / "run.json")["status"] == "finished"
    assert len([row for row in cli.rows(trained) if row["event"] == "epoch"]) == 1


def test_run_that_is_alive_is_not_resumed(trained: Path, cli: Any) -> None:
    from sightline.runs import process_identity

    mark(trained, status="running", process=process_identity())
    screen = cli.screen(longer(cli, trained, code=1), code=1)
    assert "still running" in screen
    assert str(os.getpid()) in screen
    assert "no unfinished run" in cli("train", "--resume").err


@pytest.mark.parametrize("where", [{"host": "elsewhere"}, {"pid": 2**22 + 1}])
def test_run_of_a_dead_or_unknown_process_is_resumed(
    where: dict[str, Any], trained: Path, cli: Any
) -> None:
    """A machine that was lost, or a container with another name, must not lock its run."""
    from sightline.runs import process_identity

    mark(trained, status="running", process=process_identity() | where)
    assert cli("train", "--resume").code == 0


def test_resume_needs_the_same_files(trained: Path, cli: Any) -> None:
    victim = next(Path("pictures/0_zero").iterdir())
    victim.write_bytes(next(Path("pictures/1_one").iterdir()).read_bytes())
    done = longer(cli, trained, "train.epochs=2", "--resume-anyway", "train.epochs", code=1)
    assert victim.name in cli.screen(done, code=1)


def test_a_calibration_is_made_again_for_the_weights_of_a_longer_training(
    trained: Path, cli: Any
) -> None:
    assert cli("calibrate", "latest", "--method", "vector").code == 0
    before = cli.json(trained / "calibration.json")["members"]["best_model.pth"]["sha256"]
    wanted = ("train.epochs=3", "train.lr=0.01")
    longer(cli, trained, *wanted, "--resume-anyway", "train.epochs", "--resume-anyway", "train.lr",
           "--test")  # fmt: skip
    after = cli.json(trained / "calibration.json")
    assert after["method"] == "vector"
    content = (trained / "ckpt/best_model.pth").read_bytes()
    assert after["members"]["best_model.pth"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert after["members"]["best_model.pth"]["sha256"] != before
    assert len(cli.json(trained / "run.json")["test_reads"]) == 2


def test_auto_is_the_batch_size_that_the_run_found(trained: Path, cli: Any) -> None:
    auto = "train.batch_size=auto"
    same = longer(cli, trained, auto, "train.effective_batch_size=16", code=1)
    assert "nothing to resume" in same.err
    other = longer(cli, trained, auto, "train.effective_batch_size=32", code=1)
    assert "train.batch_size: 16 -> 'auto'" in other.err


def test_a_run_made_of_others_has_no_training_to_go_on_with(trained: Path, cli: Any) -> None:
    mark(trained, kind="soup")
    before = (trained / "ckpt/best_model.pth").read_bytes()
    wanted = ("train.epochs=3", "--resume-anyway", "train.epochs")
    assert "made of other runs" in cli.screen(longer(cli, trained, *wanted, code=1), code=1)
    assert (trained / "ckpt/best_model.pth").read_bytes() == before


def test_a_log_ends_with_its_marker_after_sigterm(trained: Path) -> None:
    run = RunFolder.open(trained)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with (
            pytest.raises(Interrupted, match="outside of training"),
            logged(run, run_config(run), kind="pipeline") as file,
        ):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "[EXIT] PIPELINE INTERRUPTED code=143" in file.read_text()
